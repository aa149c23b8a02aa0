// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 12 of Documentation/admin-guide/module-dedup.rst.
 *
 * Concurrent requests for one name run one modprobe, and nobody pays
 * for it. This is the part that takes some seconds, for that is how long the
 * kernel waits for a place for a helper.
 */

#include <signal.h>

#include "lib/requests_fixture.h"

/* More of them than this are not joined. */
#define FLIGHTS 256

/*
 * There is no place for a helper. Who asks later than others, for the same,
 * waits for one as long as they did, and does not give up with them.
 */
TEST_F_SLOW(requests, late_one_waits_for_a_place_by_itself)
{
	struct caller *more = &callers[PLACES];
	long long begun;

	helper_script("wanted", "exit 0\n");
	places_take(callers);
	begun = now_ns();
	requester_add(&more[0], "wanted");
	while (now_ns() - begun < PLACE_WAIT / 2)
		nap();
	for (int i = 1; i < 4; i++)
		requester_add(&more[i], "wanted");
	callers_wait(&more[0], 1);
	EXPECT_EQ(-ETIME, more[0].err);
	EXPECT_EQ(0, helpers_started("wanted"));
	places_free(callers);
	callers_wait(&more[1], 3);
	EXPECT_EQ(3, callers_with(&more[1], 3, 0));
	EXPECT_COUNT(1, helpers_started("wanted"));
	SAW("one gives up waiting for a place, another one came 2.5 s later", "it gets %s",
	    more[1].err < 0 ? errno_name(-more[1].err) : "one");
}

/*
 * Many want the same, and that takes long. Now and then one of them tries again,
 * so there are places for others.
 */
TEST_F_SLOW(requests, many_for_a_slow_name)
{
	const int many = 120;
	int served, result;
	long long begun;

	helper_script("slow", "gate\n");
	helper_script("other", "exit 2\n");
	requesters_start(callers, many, "slow");
	begun = now_ns();
	callers_release();
	helpers_wait_started("slow", 3);
	callers_settle(callers, many);
	result = request("other");
	EXPECT_EQ(STATUS(2), result);
	EXPECT_EQ(0, callers_done(callers, many));
	helper_go("slow");
	callers_wait(callers, many);
	EXPECT_GE(helpers_at_most(begun), helpers_started("slow"));
	served = callers_with(callers, many, 0);
	EXPECT_EQ(many, served);
	/* And the one for the other name. */
	EXPECT_COUNT(helpers_started("slow") + 1, stats_since(self->before).requests_led);
	EXPECT_COUNT(many - helpers_started("slow"), stats_since(self->before).requests_joined);
	EXPECT_EQ(NULL, log_find(self->log, "kmod busy with"));
	SAW("120 wait for a slow name, one requests another", "%d are served, the other one %s",
	    served, result < 0 ? errno_name(-result) : "is");
}

/*
 * The first helper needs somebody who asks for the same: no kernel can see that.
 * After a while one of those who wait tries again, and all others get its answer.
 */
static void second_helper(struct __test_metadata *_metadata, struct _test_data_requests *self,
			  const char *script, int answer)
{
	const int n = 20;

	helper_script("circle", "gate\nexit 8\n");
	requester_add(&callers[0], "circle");
	helpers_wait_started("circle", 1);
	helper_script_next("circle", script);
	for (int i = 1; i < n; i++)
		requester_add(&callers[i], "circle");
	callers_wait(&callers[1], n - 1);
	EXPECT_EQ(n - 1, callers_with(&callers[1], n - 1, answer));
	EXPECT_EQ(0, callers_done(callers, 1));
	helper_go("circle");
	callers_wait(callers, 1);
	EXPECT_EQ(STATUS(8), callers[0].err);
	EXPECT_COUNT(2, helpers_started("circle"));
	EXPECT_COUNT(2, stats_since(self->before).requests_led);
	EXPECT_COUNT(n - 2, stats_since(self->before).requests_joined);
	EXPECT_COUNT(0, stats_since(self->before).requests_alone);
	EXPECT_COUNT(true, read_stats().longest >= 4900000);
	/* It would be 10 s for a load. */
	EXPECT_EQ(NULL, log_find(self->log, "has waited 10 s"));
}

TEST_F_SLOW(requests, second_helper_succeeds)
{
	second_helper(_metadata, self, "exit 0\n", 0);
}

TEST_F_SLOW(requests, second_helper_fails)
{
	second_helper(_metadata, self, "exit 9\n", STATUS(9));
}

/* Who joins when there are two helpers already gets the answer of either. */
TEST_F_SLOW(requests, first_helper_succeeds_after_all)
{
	helper_script("circle", "gate\n");
	requester_add(&callers[0], "circle");
	helpers_wait_started("circle", 1);
	helper_script_next("circle", "gate go2\nexit 9\n");
	requester_add(&callers[1], "circle");
	requester_add(&callers[2], "circle");
	helpers_wait_started("circle", 2);
	callers_settle(&callers[1], 2);
	requester_add(&callers[3], "circle");
	helper_go("circle");
	callers_wait(&callers[0], 1);
	callers_wait(&callers[3], 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(0, callers[3].err);
	helper_go2("circle");
	callers_wait(&callers[1], 2);
	/* One of these has begun the second one. */
	EXPECT_EQ(1, callers_with(&callers[1], 2, 0));
	EXPECT_EQ(1, callers_with(&callers[1], 2, STATUS(9)));
	EXPECT_EQ(2, helpers_started("circle"));
	EXPECT_COUNT(2, stats_since(self->before).requests_joined);
}

/*
 * A follower has lost patience with the first helper, and was served by one of its
 * own. Others come later: a third helper runs for them, who have not left the
 * first one, so its end is not for them.
 */
static void third_helper(struct __test_metadata *_metadata, struct _test_data_requests *self,
			 const char *first)
{
	helper_script("slow", first);
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	helper_script_next("slow", "exit 0\n");
	requester_add(&callers[1], "slow");
	callers_wait(&callers[1], 1);
	EXPECT_EQ(0, callers[1].err);
	EXPECT_EQ(2, helpers_started("slow"));
	helper_script_next("slow", "gate go2\n");
	requester_add(&callers[2], "slow");
	helpers_wait_started("slow", 3);
	helper_script_next("slow", "exit 7\n");
	requester_add(&callers[3], "slow");
	helper_go("slow");
	callers_wait(callers, 1);
}

TEST_F_SLOW(requests, first_helper_fails_while_a_third_one_runs)
{
	third_helper(_metadata, self, "gate\nexit 8\n");
	EXPECT_EQ(STATUS(8), callers[0].err);
	helper_go2("slow");
	callers_wait(&callers[2], 2);
	EXPECT_EQ(0, callers[2].err);
	EXPECT_COUNT(0, callers[3].err);
	EXPECT_COUNT(3, helpers_started("slow"));
	EXPECT_COUNT(1, stats_since(self->before).requests_joined);
	EXPECT_COUNT(0, stats_since(self->before).retried);
}

TEST_F_SLOW(requests, first_helper_succeeds_while_a_third_one_runs)
{
	third_helper(_metadata, self, "gate\n");
	EXPECT_EQ(0, callers[0].err);
	/* This is for nobody else, and so they see that they had to wait for it. */
	kill(helper_noted("slow", ".started", 2), SIGKILL);
	callers_wait(&callers[2], 2);
	EXPECT_EQ(SIGKILL, callers[2].err);
	EXPECT_EQ(STATUS(7), callers[3].err);
	EXPECT_EQ(4, helpers_started("slow"));
	EXPECT_COUNT(0, stats_since(self->before).requests_joined);
	EXPECT_COUNT(1, stats_since(self->before).retried);
}

/*
 * Each helper needs what was requested. There are no more places at last, and so
 * it ends, as it does on stock.
 */
static void recursion(struct __test_metadata *_metadata, struct _test_data_requests *self,
		      const char *script, const char *what)
{
	int served = 0;

	helper_script("again", script);
	requester_add(&callers[0], "again");
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(PLACES, helpers_started("again"));
	EXPECT_EQ(ETIME, helper_result("again", 0));
	for (int i = 1; i < PLACES; i++)
		served += !helper_noted("again", ".result", i);
	EXPECT_EQ(PLACES - 1, served);
	EXPECT_COUNT(0, stats_since(self->before).waited);
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(PLACES, stats_since(self->before).requests_alone);
	EXPECT_COUNT(0, stats_since(self->before).refused);
	ksft_print_msg("saw: each modprobe requests the same, %s: %s\n", what,
		       errno_name(helper_result("again", 0)));
}

TEST_F_SLOW(requests, recursion_with_a_pipe)
{
	recursion(_metadata, self, "pipe\nrequest again\n", "with a pipe");
}

TEST_F_SLOW(requests, recursion_with_a_pipe_from_an_orphan)
{
	recursion(_metadata, self, "pipe\norphan\nrequest again\n", "with a pipe from an orphan");
}

TEST_F_SLOW(requests, recursion_with_children)
{
	recursion(_metadata, self, "fork\nrequest again\n", "in a child");
}

TEST_F_SLOW(requests, recursion_without_children)
{
	recursion(_metadata, self, "request again\n", "by itself");
}

/* More names than are kept. Most of them wait for a place, and so are under way. */
TEST_F_SLOW(requests, too_many_names)
{
	const int more = 10, names = FLIGHTS + more;
	struct caller *others = &callers[names];
	struct stats since;
	long long begun;
	bool shown;
	int missed;

	places_take(callers);
	callers_hold();
	for (int i = PLACES; i < names; i++) {
		char name[32];

		snprintf(name, sizeof(name), "name%d", i);
		requesters_start(&callers[i], 1, strdup(name));
	}
	begun = now_ns();
	callers_release();
	callers_settle(&callers[PLACES], names - PLACES);
	/* There is no room for this one. */
	helper_script("another", "exit 3\n");
	requester_add(&others[0], "another");
	requester_add(&others[1], "another");
	since = stats_since(self->before);
	/* Those that go alone have no line, and do not count. */
	shown = in_flight("\nand 128 more\n");
	missed = callers_done(&callers[PLACES], names - PLACES);
	EXPECT_TRUE(!missed || now_ns() - begun >= PLACE_WAIT);
	places_free(callers);
	callers_wait(&callers[PLACES], names - PLACES + 2);
	if (missed)
		SKIP(return, "this machine is too slow");
	EXPECT_COUNT(true, shown);
	EXPECT_COUNT(more + 2, since.requests_alone);
	EXPECT_COUNT(0, since.requests_joined);
	/* They have no script. */
	for (int i = PLACES; i < names; i++)
		EXPECT_TRUE(callers[i].err == STATUS(125) || callers[i].err == -ETIME);
	for (int i = 0; i < 2; i++)
		EXPECT_TRUE(others[i].err == STATUS(3) || others[i].err == -ETIME);
	/* There is room again. */
	helper_script("another", "gate\n");
	for (int i = 0; i < 5; i++)
		requester_add(&callers[i], "another");
	helpers_wait_started("another", 1);
	helper_go("another");
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, 0));
	EXPECT_COUNT(1, helpers_started("another"));
}

TEST_HARNESS_MAIN
