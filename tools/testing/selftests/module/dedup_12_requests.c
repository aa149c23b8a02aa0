// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 12 of Documentation/admin-guide/module-dedup.rst.
 *
 * Concurrent requests for one name run one modprobe, and nobody pays
 * for it. Guarantee 16: no answer is older than its question.
 *
 * A module of the tests makes the requests, and dedup_helper, or the real
 * modprobe, gets them. What takes the kernel some seconds is in
 * dedup_12_requests_slow.c.
 */

#include <signal.h>

#include "lib/cpu.h"
#include "lib/faults.h"
#include "lib/process.h"
#include "lib/requests_fixture.h"

#define N 60

/* Waits until so many helpers were started, or these callers are over. */
static void helpers_wait_started_or_over(const char *name, int helpers, const struct caller *c,
					 int n)
{
	while (helpers_started(name) < helpers && callers_done(c, n) < n)
		nap();
}

/* Many want the same, and the helper takes a while. */
TEST_F(requests, one_helper_that_succeeds)
{
	long long begun;
	int helpers;

	helper_script("slow", "gate\nexit 0\n");
	requesters_start(callers, N, "slow");
	begun = now_ns();
	callers_release();
	callers_settle(callers, N);
	helpers_wait_started("slow", 1);
	EXPECT_EQ(0, callers_done(callers, N));
	helper_go("slow");
	callers_wait(callers, N);
	helpers = helpers_started("slow");
	EXPECT_GE(helpers_at_most(begun), helpers);
	EXPECT_EQ(N, callers_with(callers, N, 0));
	EXPECT_COUNT(helpers, stats_since(self->before).requests_led);
	EXPECT_COUNT(N - helpers, stats_since(self->before).requests_joined);
	/* They are no loads. */
	EXPECT_EQ(self->before.led, read_stats().led);
	EXPECT_EQ(self->before.joined, read_stats().joined);
	SAW("60 requests for a name, helper exits with 0", "%d helpers, %d get it",
	    helpers, callers_with(callers, N, 0));
}

/* All but one have asked after the helper had begun: they share one more. */
TEST_F(requests, one_helper_that_fails)
{
	long long begun = now_ns();
	int helpers;

	helper_script("slow", "gate\nexit 3\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	for (int i = 1; i < N; i++)
		requester_add(&callers[i], "slow");
	EXPECT_EQ(0, callers_done(callers, N));
	helper_go("slow");
	callers_wait(callers, N);
	helpers = helpers_started("slow");
	EXPECT_LE(2, helpers);
	EXPECT_GE(helpers_at_most(begun) + 1, helpers);
	EXPECT_EQ(N, callers_with(callers, N, STATUS(3)));
	EXPECT_COUNT(helpers, stats_since(self->before).requests_led);
	EXPECT_COUNT(N - helpers, stats_since(self->before).requests_joined);
	EXPECT_EQ(self->before.led, read_stats().led);
	EXPECT_EQ(self->before.joined, read_stats().joined);
	SAW("60 requests for a name, helper exits with 3", "%d helpers, %d get it",
	    helpers, callers_with(callers, N, STATUS(3)));
}

/*
 * Who asks while a helper runs does not get its failure, and who asks while the
 * next one runs does not get that of this one.
 */
TEST_F(requests, failure_is_for_who_asked_before)
{
	helper_script("slow", "gate\nexit 1\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	helper_script_next("slow", "gate go2\nexit 2\n");
	for (int i = 1; i < 6; i++)
		requester_add(&callers[i], "slow");
	helper_go("slow");
	callers_wait(&callers[0], 1);
	EXPECT_EQ(STATUS(1), callers[0].err);
	helpers_wait_started_or_over("slow", 2, &callers[1], 5);
	/* On stock all five have one of their own. */
	callers_settle(&callers[1], 5);
	while (!has_counters() && helpers_started("slow") < 6)
		nap();
	helper_script_next("slow", "exit 3\n");
	for (int i = 6; i < 9; i++)
		requester_add(&callers[i], "slow");
	helper_go2("slow");
	callers_wait(&callers[1], 8);
	EXPECT_EQ(5, callers_with(&callers[1], 5, STATUS(2)));
	EXPECT_EQ(3, callers_with(&callers[6], 3, STATUS(3)));
	EXPECT_COUNT(3, helpers_started("slow"));
	EXPECT_COUNT(3, stats_since(self->before).requests_led);
	EXPECT_COUNT(6, stats_since(self->before).requests_joined);
	SAW("a request fails, five have asked meanwhile", "%d get a later answer",
	    callers_with(&callers[1], 5, STATUS(2)));
}

/* Success is also for those who ask when the module is there already. */
TEST_F(requests, success_is_for_all)
{
	helper_script("late", "load " TEST_KO "\ngate\n");
	requester_add(&callers[0], "late");
	EXPECT_EQ(0, helper_result("late", 0));
	for (int i = 1; i < 5; i++)
		requester_add(&callers[i], "late");
	helper_go("late");
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, 0));
	EXPECT_EQ(1, helpers_started("late"));
	EXPECT_COUNT(4, stats_since(self->before).requests_joined);
}

/* But not for those who ask when a module has been removed since. */
TEST_F(requests, module_is_removed_meanwhile)
{
	helper_script("late", "load " TEST_KO "\ngate\n");
	requester_add(&callers[0], "late");
	EXPECT_EQ(0, helper_result("late", 0));
	requester_add(&callers[1], "late");
	ASSERT_EQ(0, unload("test_dedup"));
	for (int i = 2; i < 6; i++)
		requester_add(&callers[i], "late");
	helper_go("late");
	callers_wait(callers, 6);
	EXPECT_EQ(6, callers_with(callers, 6, 0));
	EXPECT_TRUE(module_live("test_dedup"));
	/* Those four share one, too. */
	EXPECT_COUNT(2, helpers_started("late"));
	EXPECT_COUNT(4, stats_since(self->before).requests_joined);
	SAW("a module is removed while its modprobe lingers, and requested again", "it is %s",
	    module_live("test_dedup") ? "loaded" : "not loaded");
}

/* They do not even wait for the run from before the removal. */
TEST_F(requests, run_from_before_a_removal_is_not_joined)
{
	helper_script("late", "load " TEST_KO "\ngate\n");
	requester_add(&callers[0], "late");
	EXPECT_EQ(0, helper_result("late", 0));
	ASSERT_EQ(0, unload("test_dedup"));
	helper_script_next("late", "load " TEST_KO "\ngate go2\n");
	requester_add(&callers[1], "late");
	helpers_wait_started("late", 2);
	EXPECT_COUNT(0, stats_since(self->before).waited);
	/* Whoever comes next joins that one. */
	requester_add(&callers[2], "late");
	helper_go2("late");
	callers_wait(&callers[1], 2);
	EXPECT_EQ(2, callers_with(&callers[1], 2, 0));
	EXPECT_TRUE(module_live("test_dedup"));
	EXPECT_EQ(0, callers_done(callers, 1));
	helper_go("late");
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_COUNT(2, helpers_started("late"));
	EXPECT_COUNT(2, stats_since(self->before).requests_led);
	EXPECT_COUNT(1, stats_since(self->before).requests_joined);
}

/* Nothing is kept: the next request is a new one. */
TEST_F(requests, nothing_is_cached)
{
	helper_script("again", "exit 1\n");
	EXPECT_EQ(STATUS(1), request("again"));
	helper_script("again", "exit 0\n");
	EXPECT_EQ(0, request("again"));
	EXPECT_EQ(1, helpers_started("again"));
	EXPECT_EQ(0, request("again"));
	EXPECT_EQ(2, helpers_started("again"));
	EXPECT_COUNT(3, stats_since(self->before).requests_led);
	EXPECT_COUNT(0, stats_since(self->before).requests_joined);
}

/* Of those who wait none takes the place of a request for something else. */
TEST_F(requests, other_names_are_not_delayed)
{
	const int many = 200;
	long long begun;
	int result;

	helper_script("slow", "gate\n");
	helper_script("other", "exit 2\n");
	requesters_start(callers, many, "slow");
	begun = now_ns();
	callers_release();
	callers_settle(callers, many);
	result = request("other");
	EXPECT_EQ(STATUS(2), result);
	EXPECT_EQ(0, callers_done(callers, many));
	helper_go("slow");
	callers_wait(callers, many);
	EXPECT_EQ(many, callers_with(callers, many, 0));
	EXPECT_GE(helpers_at_most(begun), helpers_started("slow"));
	SAW("200 wait for a slow name, one requests another", "%s",
	    result < 0 ? errno_name(-result) : "it is served at once");
}

static void handler(int sig)
{
}

static void handle(struct caller *c)
{
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler }, NULL);
}

/* A signal ends the wait of who is killed, and of nobody else. */
TEST_F(requests, follower_is_killed)
{
	helper_script("slow", "gate\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	callers[2].before = handle;
	for (int i = 1; i < 5; i++)
		requester_add(&callers[i], "slow");
	kill(callers[1].pid, SIGKILL);
	callers_wait(&callers[1], 1);
	kill(callers[2].pid, SIGUSR1);
	callers_settle(&callers[2], 1);
	EXPECT_EQ(0, callers_done(callers, 5));
	helper_go("slow");
	callers_wait(&callers[0], 1);
	callers_wait(&callers[2], 3);
	EXPECT_EQ(4, callers_with(callers, 5, 0));
	EXPECT_EQ(1, helpers_started("slow"));
	EXPECT_COUNT(1, stats_since(self->before).interrupted);
	EXPECT_COUNT(3, stats_since(self->before).requests_joined);
}

/* The helper goes on if its requester is killed, and all others get the answer. */
TEST_F(requests, leader_is_killed)
{
	helper_script("slow", "gate\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	for (int i = 1; i < 5; i++)
		requester_add(&callers[i], "slow");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	/* One comes later, and it is still the same. */
	requester_add(&callers[5], "slow");
	callers_settle(&callers[1], 5);
	EXPECT_EQ(0, callers_done(&callers[1], 5));
	helper_go("slow");
	callers_wait(&callers[1], 5);
	EXPECT_EQ(5, callers_with(&callers[1], 5, 0));
	EXPECT_EQ(1, helpers_started("slow"));
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(5, stats_since(self->before).requests_joined);
	EXPECT_COUNT(0, stats_since(self->before).retried);
}

/* If that helper fails they share another one. */
TEST_F(requests, leader_is_killed_and_helper_fails)
{
	helper_script("slow", "gate\nexit 4\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	helper_script_next("slow", "gate go2\nexit 5\n");
	for (int i = 1; i < 5; i++)
		requester_add(&callers[i], "slow");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	helper_go("slow");
	helpers_wait_started("slow", 2);
	callers_settle(&callers[1], 4);
	EXPECT_EQ(0, callers_done(&callers[1], 4));
	helper_go2("slow");
	callers_wait(&callers[1], 4);
	EXPECT_EQ(4, callers_with(&callers[1], 4, STATUS(5)));
	EXPECT_EQ(2, helpers_started("slow"));
	EXPECT_COUNT(2, stats_since(self->before).requests_led);
	EXPECT_COUNT(3, stats_since(self->before).requests_joined);
}

/* The end of a helper that a signal has killed is for its own requester only. */
TEST_F(requests, helper_is_killed)
{
	const int n = 20;
	long long begun;
	int failed;

	helper_script("slow", "gate\n");
	requesters_start(callers, n, "slow");
	begun = now_ns();
	callers_release();
	callers_settle(callers, n);
	helpers_wait_started("slow", has_counters() ? 1 : n);
	kill(helper_noted("slow", ".started", 0), SIGKILL);
	while (!callers_done(callers, n))
		nap();
	helper_go("slow");
	callers_wait(callers, n);
	failed = callers_with(callers, n, SIGKILL);
	EXPECT_EQ(1, failed);
	EXPECT_EQ(n - 1, callers_with(callers, n, 0));
	EXPECT_COUNT(true, helpers_started("slow") <= helpers_at_most(begun) + 1);
	EXPECT_COUNT(helpers_started("slow"), stats_since(self->before).requests_led);
	EXPECT_COUNT(n - helpers_started("slow"), stats_since(self->before).requests_joined);
	SAW("20 request a module, one modprobe is killed", "%d fail", failed);
}

/* Who does not wait for the answer joins nobody, and is joined by nobody. */
TEST_F(requests, nowait_is_alone)
{
	helper_script("slow", "gate\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	EXPECT_EQ(0, request("&slow"));
	EXPECT_EQ(0, request("&slow"));
	EXPECT_COUNT(2, stats_since(self->before).requests_alone);
	helper_go("slow");
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	/* They have begun, but who knows how far they are. */
	if (__test_passed(_metadata))
		helpers_wait_started("slow", 3);
	EXPECT_EQ(3, helpers_started("slow"));
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(0, stats_since(self->before).requests_joined);
}

/* The same if it waits for its turn, since all places for helpers are taken. */
TEST_F(requests, nowait_is_alone_in_line)
{
	struct caller *more = &callers[PLACES];

	helper_script("slow", "exit 6\n");
	places_take(callers);
	requester_add(&more[0], "&slow");
	requester_add(&more[1], "slow");
	requester_add(&more[2], "&slow");
	places_free(callers);
	callers_wait(more, 3);
	EXPECT_EQ(PLACES, callers_with(callers, PLACES, 0));
	EXPECT_EQ(0, more[0].err);
	EXPECT_EQ(STATUS(6), more[1].err);
	EXPECT_EQ(0, more[2].err);
	EXPECT_COUNT(2, stats_since(self->before).requests_alone);
	if (__test_passed(_metadata))
		helpers_wait_started("slow", 3);
	EXPECT_COUNT(PLACES + 1, stats_since(self->before).requests_led);
	EXPECT_COUNT(0, stats_since(self->before).requests_joined);
	EXPECT_COUNT(0, stats_since(self->before).retried);
}

/* A load joins no request, and nobody joins a request of a load. */
TEST_F(requests, loader_is_alone)
{
	helper_script("slow", "gate\n");
	helper_script("other", "gate\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	caller_start(&callers[1], TEST_KO, "request=slow", 0);
	/* Its init function waits for the answer. */
	while (!process_sleeps_deeply(callers[1].pid) && !callers_done(&callers[1], 1))
		nap();
	requester_add(&callers[2], "slow");

	helper_start("other", &callers[3], B_KO, "request=other");
	requester_add(&callers[4], "other");
	requester_add(&callers[5], "other");
	helper_go("slow");
	helper_go("other");
	callers_wait(callers, 6);
	EXPECT_EQ(6, callers_with(callers, 6, 0));
	EXPECT_COUNT(2, helpers_started("slow"));
	EXPECT_COUNT(2, helpers_started("other"));
	EXPECT_COUNT(2, stats_since(self->before).requests_alone);
	EXPECT_COUNT(2, stats_since(self->before).requests_led);
	EXPECT_COUNT(2, stats_since(self->before).requests_joined);
}

/*
 * The helper of a load's request is refused, for that load would wait for it.
 * Who makes the same request, and is not part of that circle, does not notice.
 */
TEST_F_SLOW(requests, refused_request_is_private)
{
	helper_script("self", "gate\nload " TEST_KO " request=self gate=0\nanswer\n");
	caller_start(&callers[0], TEST_KO, "request=self gate=0", 0);
	callers_release();
	helpers_wait_started("self", 1);
	requester_add(&callers[1], "self");
	helpers_wait_started("self", 2);
	EXPECT_COUNT(0, stats_since(self->before).waited);
	helper_go("self");
	gates_wait_entered(1);
	/* One of the two helpers was refused, the other one follows the load. */
	EXPECT_EQ(EDEADLK, helper_result("self", 0));
	EXPECT_LE(0, helper_pid("self", 1));
	loader_settle(helper_noted("self", ".started", 1));
	EXPECT_EQ(0, callers_done(callers, 2));
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(STATUS(1), module_param("test_dedup", "requested"));
	EXPECT_EQ(0, callers[1].err);
	EXPECT_EQ(0, helper_result("self", 1));
	EXPECT_COUNT(1, stats_since(self->before).refused);
	EXPECT_COUNT(1, stats_since(self->before).requests_alone);
	EXPECT_COUNT(0, stats_since(self->before).retried);
}

#define OUTER "request slow\nrequest other\n"

/* Who works for a request joins none, and is joined by nobody. */
static void alone_below_a_helper(struct __test_metadata *_metadata,
				 struct _test_data_requests *self, const char *script)
{
	/* Who it is that makes these requests. */
	const char *who = strstr(script, "exec") ? "inner" : "outer";

	helper_script("slow", "gate\n");
	helper_script("other", "gate\n");
	helper_script("outer", script);
	helper_script("inner", OUTER);
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	requester_add(&callers[1], "outer");
	/* It asks for what somebody else wants already, */
	requester_settle(helper_pid(who, 0));
	requester_add(&callers[2], "slow");
	helper_go("slow");
	EXPECT_EQ(0, helper_result(who, 0));
	/* and is the first one to ask for this. */
	requester_settle(helper_pid(who, 1));
	requester_add(&callers[3], "other");
	requester_add(&callers[4], "other");
	helper_go("other");
	EXPECT_EQ(0, helper_result(who, 1));
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, 0));
	EXPECT_COUNT(2, helpers_started("slow"));
	EXPECT_COUNT(2, helpers_started("other"));
	EXPECT_COUNT(2, stats_since(self->before).requests_alone);
	EXPECT_COUNT(3, stats_since(self->before).requests_led);
	EXPECT_COUNT(2, stats_since(self->before).requests_joined);
	EXPECT_COUNT(0, stats_since(self->before).refused);
}

TEST_F_SLOW(requests, helper_is_alone)
{
	alone_below_a_helper(_metadata, self, OUTER);
}

TEST_F_SLOW(requests, helper_is_alone_after_exec)
{
	alone_below_a_helper(_metadata, self, "fork\nexec inner\n");
}

TEST_F_SLOW(requests, child_of_a_helper_is_alone)
{
	alone_below_a_helper(_metadata, self, "fork\nfork\n" OUTER);
}

TEST_F_SLOW(requests, orphan_of_a_helper_is_alone)
{
	alone_below_a_helper(_metadata, self, "pipe\norphan\n" OUTER);
}

/* Its helper is long over, but who knows who waits for it. */
TEST_F_SLOW(requests, daemon_of_a_helper_is_alone)
{
	alone_below_a_helper(_metadata, self, "leave\n" OUTER);
}

/*
 * A wrapper around modprobe opens a socket of the family that was requested,
 * and waits for the output of whoever does so. The second instance gives up.
 */
static void wrapper(struct __test_metadata *_metadata, struct _test_data_requests *self,
		    const char *script, const char *what)
{
	long long begun = now_ns(), took;

	helper_script("net-pf-31", script);
	requester_add(&callers[0], "net-pf-31");
	callers_wait(callers, 1);
	took = now_ns() - begun;
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(2, helpers_started("net-pf-31"));
	EXPECT_GT(PLACE_WAIT, took);
	EXPECT_COUNT(0, stats_since(self->before).waited);
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(1, stats_since(self->before).requests_alone);
	EXPECT_COUNT(0, stats_since(self->before).refused);
	ksft_print_msg("saw: modprobe is a script that needs what was requested, %s: %s\n", what,
		       took < PLACE_WAIT ? "it is over at once" : "it takes seconds");
}

TEST_F_SLOW(requests, wrapper_with_a_pipe)
{
	wrapper(_metadata, self, "once\npipe\nsocket 31\n", "with a pipe");
}

TEST_F_SLOW(requests, wrapper_with_a_pipe_from_an_orphan)
{
	wrapper(_metadata, self, "once\npipe\norphan\nsocket 31\n", "with a pipe from an orphan");
}

TEST_F_SLOW(requests, wrapper_with_children)
{
	wrapper(_metadata, self, "once\nspawn\nsocket 31\nwait\n", "with children");
}

TEST_F_SLOW(requests, wrapper_without_children)
{
	wrapper(_metadata, self, "once\nsocket 31\n", "by itself");
}

/* A kernel thread waits for nobody who could wait for it: it joins, and is joined. */
TEST_F(requests, kernel_threads_join)
{
	const int n = 20;
	long long begun;
	int helpers;

	helper_script("slow", "gate\n");
	begun = now_ns();
	for (int i = 0; i < n; i++)
		requester_add(&callers[i], i % 2 ? "slow" : "*slow");
	EXPECT_EQ(0, callers_done(callers, n));
	helper_go("slow");
	callers_wait(callers, n);
	helpers = helpers_started("slow");
	EXPECT_EQ(n, callers_with(callers, n, 0));
	EXPECT_GE(helpers_at_most(begun), helpers);
	EXPECT_COUNT(helpers, stats_since(self->before).requests_led);
	EXPECT_COUNT(n - helpers, stats_since(self->before).requests_joined);
	EXPECT_COUNT(0, stats_since(self->before).requests_alone);
}

/* Each request is counted as one thing. */
TEST_F(requests, counted_once)
{
	struct stats since;

	helper_script("slow", "gate\n");
	helper_script("outer", "request slow\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	for (int i = 1; i < 10; i++)
		requester_add(&callers[i], "slow");
	kill(callers[5].pid, SIGKILL);
	callers_wait(&callers[5], 1);
	requester_add(&callers[10], "outer");
	requester_settle(helper_pid("outer", 0));
	EXPECT_EQ(0, request("&slow"));
	helper_go("slow");
	callers_wait(callers, 5);
	callers_wait(&callers[6], 5);
	since = stats_since(self->before);
	EXPECT_COUNT(2, since.requests_led);
	EXPECT_COUNT(8, since.requests_joined);
	EXPECT_COUNT(1, since.interrupted);
	EXPECT_COUNT(2, since.requests_alone);
	EXPECT_COUNT(0, since.led + since.joined + since.bypassed);
}

/*
 * The helper has ended, and the requester that started it does not run. Who has
 * joined gets the answer, and who asks now asks for the state of things after
 * that.
 */
TEST_F_SLOW(requests, leader_gets_no_cpu)
{
	pid_t busy, gone;

	if (!cpu_has_others())
		SKIP(return, "the leader needs a CPU of its own");
	if (!has_counters())
		SKIP(return, "this kernel has no leaders");
	cpu_allow_starving(true);
	helper_script("twice", "gate\n");
	callers[0].before = on_last_cpu;
	for (int i = 1; i < 6; i++)
		callers[i].before = on_other_cpus;
	requester_add(&callers[0], "twice");
	helpers_wait_started("twice", 1);
	for (int i = 1; i < 4; i++)
		requester_add(&callers[i], "twice");
	helper_script_next("twice", "exit 2\n");

	busy = cpu_starve_last();
	helper_go("twice");
	callers_wait(&callers[1], 3);
	requester_add(&callers[4], "twice");
	requester_add(&callers[5], "twice");
	callers_wait(&callers[4], 2);
	/* All that is over, and the one who began it is none the wiser. */
	EXPECT_EQ(0, callers_done(callers, 1));
	gone = waitpid(busy, NULL, WNOHANG);
	EXPECT_EQ(0, gone);
	if (!gone) {
		kill(busy, SIGKILL);
		waitpid(busy, NULL, 0);
	}
	callers_wait(callers, 1);
	cpu_allow_starving(false);
	EXPECT_EQ(4, callers_with(callers, 4, 0));
	EXPECT_EQ(2, callers_with(&callers[4], 2, STATUS(2)));
	EXPECT_LE(2, helpers_started("twice"));
}

static void not_joined(struct __test_metadata *_metadata, struct _test_data_requests *self)
{
	struct stats since;

	helper_script("slow", "gate\n");
	requesters_start(callers, 5, "slow");
	callers_release();
	helpers_wait_started("slow", 5);
	helper_go("slow");
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, 0));
	since = stats_since(self->before);
	EXPECT_EQ(0, since.requests_led + since.requests_joined + since.requests_alone);
}

TEST_F(requests, off)
{
	set_dedup("off");
	not_joined(_metadata, self);
}

TEST_F(requests, c)
{
	set_dedup("c");
	not_joined(_metadata, self);
}

TEST_F(requests, left_out)
{
	if (!has_counters())
		SKIP(return, "this kernel joins none");
	ASSERT_EQ(0, spit(REQUESTS_PARAM, "N"));
	not_joined(_metadata, self);
}

static void one_for_five(struct __test_metadata *_metadata)
{
	helpers_wait_started("slow", 1);
	helper_go("slow");
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, 0));
	EXPECT_EQ(1, helpers_started("slow"));
}

TEST_F(requests, switched_off_meanwhile)
{
	helper_script("slow", "gate\n");
	requesters_start(callers, 5, "slow");
	callers_release();
	callers_settle(callers, 5);
	set_dedup("off");
	one_for_five(_metadata);
}

TEST_F(requests, left_out_meanwhile)
{
	struct stats since;

	if (!has_counters())
		SKIP(return, "this kernel joins none");
	helper_script("slow", "gate\n");
	requesters_start(callers, 5, "slow");
	callers_release();
	callers_settle(callers, 5);
	set_dedup_requests("N");
	one_for_five(_metadata);
	/* This is a new one. */
	helper_script("slow", "exit 1\n");
	EXPECT_EQ(STATUS(1), request("slow"));
	since = stats_since(self->before);
	EXPECT_EQ(1, since.requests_led);
	EXPECT_EQ(4, since.requests_joined);
	EXPECT_EQ(0, since.requests_alone);
}

/* How many of the allocations that the kernel makes for a request must not fail. */
static int needed(struct __test_metadata *_metadata)
{
	int failed = 0;

	for (int nth = 1; nth <= 20; nth++) {
		int result = request_failing("fast", nth);

		EXPECT_TRUE(!result || result == -ENOMEM)
			TH_LOG("allocation %d: %d", nth, result);
		failed += !!result;
	}
	return failed;
}

/* If there is no memory for us a request is what it is without us. */
TEST_F(requests, no_memory)
{
	int off, on, round = 0;

	if (!faults_init())
		SKIP(return, "this kernel has no failslab");
	helper_script("fast", "exit 0\n");
	/* Now and then an allocation makes the allocator itself need one. */
	do {
		set_dedup("off");
		off = needed(_metadata);
		set_dedup("on");
		on = needed(_metadata);
	} while (off != on && ++round < 3);
	EXPECT_LT(0, off);
	EXPECT_EQ(off, on);
	EXPECT_COUNT(true, stats_since(self->before).requests_alone > 0);
}

/* One finds no memory for a helper when it gets a place. It has that to itself. */
TEST_F_SLOW(requests, no_memory_for_the_leader)
{
	struct caller *leader = &callers[PLACES], *more = leader + 1;
	int nth = 0;

	if (!faults_init())
		SKIP(return, "this kernel has no failslab");
	helper_script("fast", "exit 0\n");
	helper_script("slow", "exit 0\n");
	while (++nth <= 20 && request_failing("fast", nth) != -ENOMEM)
		;
	ASSERT_GE(20, nth);
	places_take(callers);
	leader->failing = nth;
	requester_add(leader, "slow");
	for (int i = 0; i < 3; i++)
		requester_add(&more[i], "slow");
	places_free(callers);
	callers_wait(leader, 4);
	EXPECT_EQ(3, callers_with(more, 3, 0));
	/* The allocator itself may have needed one more, or less. */
	if (leader->err != -ENOMEM)
		SKIP(return, "another allocation failed");
}

/* The real modprobe, an alias, and a module that it has to load before. */
TEST_F(requests, modprobe_with_alias_and_softdep)
{
	long long begun, led;

	if (!helper_use_modprobe())
		SKIP(return, "there is no modprobe");
	requesters_start(callers, N, "dedup-test-alias");
	begun = now_ns();
	callers_release();
	gates_wait_entered(1);
	callers_settle(callers, N);
	EXPECT_EQ(0, callers_done(callers, N));
	gates_open(8);
	callers_wait(callers, N);
	EXPECT_EQ(N, callers_with(callers, N, 0));
	EXPECT_TRUE(module_live("test_dedup_alias"));
	EXPECT_TRUE(module_live("test_dedup_base"));
	led = stats_since(self->before).requests_led;
	EXPECT_COUNT(true, led >= 1 && led <= helpers_at_most(begun));
	EXPECT_COUNT(N - led, stats_since(self->before).requests_joined);
}

/*
 * Init requests its own module by an alias, and the real modprobe gets it: that
 * of a load is alone, and fails as it waits for the load for which it runs.
 */
TEST_F(requests, modprobe_of_a_module_that_requests_itself)
{
	int requested;

	if (!helper_use_modprobe())
		SKIP(return, "there is no modprobe");
	EXPECT_EQ(0, request("dedup-test-self"));
	EXPECT_TRUE(module_live("test_dedup_self"));
	requested = module_param("test_dedup_self", "requested");
	EXPECT_EQ(STATUS(1), requested);
	EXPECT_COUNT(1, stats_since(self->before).refused);
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(1, stats_since(self->before).requests_alone);
	EXPECT_COUNT(true, !!log_find(self->log, REFUSED));
	SAW("init requests its own module by an alias, with modprobe",
	    "that modprobe exits with %d, the module is live", requested >> 8);
}

TEST_HARNESS_MAIN
