// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 8 of Documentation/admin-guide/module-dedup.rst.
 *
 * A wait that could never end, because what it waits for waits for
 * the very caller, fails with EDEADLK. All others finish. What the kernel cannot
 * know to be one is reported after 10 s.
 *
 * An init function requests a module, and waits for the program that the kernel
 * starts to get it: dedup_helper, which does what the test tells it.
 */

#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/harness.h"
#include "lib/helpers.h"
#include "lib/log.h"
#include "lib/process.h"

#define DEPUTY_KO MODULES_DIR "test_dedup_deputy.ko"
#define COPY "/tmp/test_dedup_copy.ko"
#define THREADS 200
/* More lines than the kernel writes of one kind, also if two intervals meet. */
#define MANY 40

FIXTURE(recursion) {
	struct stats before;
	int log;
};

static void unload_all(void)
{
	gates_open(~0);
	unload("test_dedup_borrower");
	unload("test_dedup_owner");
	unload("test_dedup");
	unload("test_dedup_b");
	unload("test_dedup_c");
	unload("test_dedup_big");
	unload("test_dedup_deputy");
	unlink(COPY);
}

FIXTURE_SETUP(recursion)
{
	ASSERT_EQ(0, gates_load());
	/* The test before may have been killed, with all that it had started. */
	unload_all();
	gates_reset();
	callers_init();
	callers_release();
	ASSERT_EQ(0, helper_install());
	log_wait_room();
	self->before = read_stats();
	self->log = log_open();
}

FIXTURE_TEARDOWN(recursion)
{
	helper_restore();
	/* Of a test that has failed. */
	helper_go("self");
	unload_all();
	close(self->log);
}

/* One wait was refused, and the log has a line on it that names all this. */
static void refused(struct __test_metadata *_metadata, struct _test_data_recursion *self,
		    pid_t who, const char *const *names)
{
	const char *line = log_find(self->log, REFUSED);
	char text[64];

	EXPECT_COUNT(1, stats_since(self->before).refused);
	if (!has_counters())
		return;
	ASSERT_NE(NULL, line);
	snprintf(text, sizeof(text), "dedup_helper[%d] would wait", who);
	EXPECT_NE(NULL, strstr(line, text))
		TH_LOG("no \"%s\" in %s", text, line);
	for (; *names; names++) {
		EXPECT_NE(NULL, strstr(line, *names))
			TH_LOG("no \"%s\" in %s", *names, line);
	}
	EXPECT_EQ(NULL, log_find(self->log, REFUSED));
}

/* The init of a module requests "self", whose helper calls for that module. */
static void one_module(struct __test_metadata *_metadata, struct _test_data_recursion *self,
		       const char *script, const char *what)
{
	char leader[64];
	int err;

	helper_script("self", script);
	caller_start(&callers[0], TEST_KO, "request=self", 0);
	err = helper_result("self", 0);
	callers_wait(callers, 1);
	EXPECT_EQ(EDEADLK, err);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_TRUE(module_live("test_dedup"));
	EXPECT_EQ(1, gates_entered());
	snprintf(leader, sizeof(leader), "dedup_08_recurs[%d]", callers[0].pid);
	refused(_metadata, self, helper_pid("self", 0),
		(const char *const[]){ "test_dedup", leader, "request for self", "helper", NULL });
	ksft_print_msg("saw: init requests itself, %s: helper gets %s, leader %s\n", what,
		       errno_name(err), errno_name(callers[0].err));
}

#define SELF "load " TEST_KO " request=self\n"

TEST_F(recursion, same_call)
{
	one_module(_metadata, self, SELF, "same arguments");
}

TEST_F(recursion, other_arguments)
{
	one_module(_metadata, self, "load " TEST_KO " tag=5\n", "other arguments");
}

TEST_F(recursion, copy_of_the_file)
{
	ASSERT_EQ(0, copy_file(TEST_KO, COPY));
	one_module(_metadata, self, "load " COPY "\n", "a copy of the file");
}

TEST_F(recursion, init_module)
{
	one_module(_metadata, self, "init " TEST_KO "\n", "init_module()");
}

TEST_F(recursion, init_module_by_both)
{
	callers[0].copy = true;
	one_module(_metadata, self, "init " TEST_KO "\n", "init_module() by both");
}

TEST_F(recursion, helper_forks)
{
	one_module(_metadata, self, "fork\n" SELF, "helper forks");
}

TEST_F(recursion, helper_forks_three_times)
{
	one_module(_metadata, self, "fork\nfork\nfork\n" SELF, "helper forks three times");
}

TEST_F(recursion, helper_forks_for_a_copy)
{
	ASSERT_EQ(0, copy_file(TEST_KO, COPY));
	one_module(_metadata, self, "fork\nload " COPY "\n", "helper forks, a copy");
}

/* Those who wait for the same load have nothing to do with it. */
TEST_F(recursion, others_follow)
{
	helper_script("self", "gate\n" SELF);
	helper_start("self", &callers[0], TEST_KO, "request=self");
	for (int i = 1; i < 5; i++)
		caller_add(&callers[i], TEST_KO, "request=self", 0);
	helper_go("self");
	EXPECT_EQ(EDEADLK, helper_result("self", 0));
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, 0));
	EXPECT_COUNT(1, stats_since(self->before).refused);
	EXPECT_COUNT(4, stats_since(self->before).joined);
}

/* Two modules request each other. They are loaded by this command of the helper. */
static void two_modules(struct __test_metadata *_metadata, struct _test_data_recursion *self,
			const char *command)
{
	char script[128];

	snprintf(script, sizeof(script), "%s " B_KO " request=a\n", command);
	helper_script("b", script);
	snprintf(script, sizeof(script), "%s " TEST_KO " request=b\n", command);
	helper_script("a", script);
	caller_start(&callers[0], TEST_KO, "request=b", 0);
	EXPECT_EQ(EDEADLK, helper_result("a", 0));
	EXPECT_EQ(0, helper_result("b", 0));
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_TRUE(module_live("test_dedup"));
	EXPECT_TRUE(module_live("test_dedup_b"));
	refused(_metadata, self, helper_pid("a", 0),
		(const char *const[]){ "load of test_dedup by", "loads test_dedup_b,",
				       "request for a", "request for b", NULL });
}

TEST_F(recursion, two_modules)
{
	two_modules(_metadata, self, "load");
	SAW("two modules request each other", "inner %s, both live", errno_name(EDEADLK));
}

/* The same by init_module(): the innermost one follows the first one. */
TEST_F(recursion, two_copies)
{
	callers[0].copy = true;
	two_modules(_metadata, self, "init");
	EXPECT_COUNT(2, stats_since(self->before).copies_led);
}

TEST_F(recursion, three_modules)
{
	helper_script("b", "load " B_KO " request=c\n");
	helper_script("c", "fork\nload " C_KO " request=a\n");
	helper_script("a", "load " TEST_KO " request=b\n");
	caller_start(&callers[0], TEST_KO, "request=b", 0);
	EXPECT_EQ(EDEADLK, helper_result("a", 0));
	EXPECT_EQ(0, helper_result("c", 0));
	EXPECT_EQ(0, helper_result("b", 0));
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_TRUE(module_live("test_dedup_c"));
	refused(_metadata, self, helper_pid("a", 0),
		(const char *const[]){ "load of test_dedup by", "loads test_dedup_b,",
				       "loads test_dedup_c,", NULL });
	SAW("a chain of three", "innermost %s, all live", errno_name(EDEADLK));
}

static const char *hop_name(int i)
{
	static char name[32];

	snprintf(name, sizeof(name), "dedup_hop_%02d", i);
	return name;
}

static const char *hop_path(int i)
{
	static char path[64];

	snprintf(path, sizeof(path), "/tmp/%s.ko", hop_name(i));
	return path;
}

/*
 * As long a chain as there can be, with all helpers that there can be at a time:
 * each of them follows a load, which has requested the next one.
 */
TEST_F_SLOW(recursion, chain_of_fifty)
{
	const int last = PLACES - 1;
	char args[64], script[128];

	for (int i = 0; i < PLACES; i++) {
		int next = (i + 1) % PLACES;

		ASSERT_EQ(0, copy_module(B_KO, "test_dedup_b", hop_path(i), hop_name(i)));
		snprintf(args, sizeof(args), "request=%s", hop_name(next));
		snprintf(script, sizeof(script), "gate\nload %s %s\n", hop_path(next), args);
		helper_script(hop_name(i), script);
	}
	for (int i = 0; i < PLACES; i++) {
		snprintf(args, sizeof(args), "request=%s", hop_name(i));
		helper_start(hop_name(i), &callers[i], strdup(hop_path(i)), strdup(args));
	}
	for (int i = 0; i < last; i++) {
		helper_go(hop_name(i));
		loader_settle(helper_pid(hop_name(i), 0));
	}
	helper_go(hop_name(last));
	EXPECT_EQ(EDEADLK, helper_result(hop_name(last), 0));
	callers_wait(callers, PLACES);
	EXPECT_EQ(PLACES, callers_with(callers, PLACES, 0));
	EXPECT_EQ(PLACES, gates_entered());
	refused(_metadata, self, helper_pid(hop_name(last), 0),
		(const char *const[]){ "load of dedup_hop_00 by", "request for dedup_hop_00",
				       "load of dedup_hop_01 by", "...", NULL });
	quick_removals();
	for (int i = 0; i < PLACES; i++) {
		EXPECT_EQ(0, unload(hop_name(i)));
		unlink(hop_path(i));
	}
}

/* The requested module needs a symbol of the one that requests it. */
TEST_F(recursion, symbols)
{
	helper_script("self", "load " BORROWER_KO "\n");
	caller_start(&callers[0], OWNER_KO, "request=self", 0);
	EXPECT_EQ(EDEADLK, helper_result("self", 0));
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	refused(_metadata, self, helper_pid("self", 0),
		(const char *const[]){ "test_dedup_owner ", "request for self", NULL });
	EXPECT_EQ(0, load(BORROWER_KO, "", 0));
	SAW("init requests a module that needs its symbols", "%s", errno_name(EDEADLK));
}

/* On the way there is another request, by a system call of the helper. */
TEST_F(recursion, helper_requests_in_turn)
{
	helper_script("self", "socket 31\n");
	helper_script("net-pf-31", SELF);
	caller_start(&callers[0], TEST_KO, "request=self", 0);
	EXPECT_EQ(EDEADLK, helper_result("net-pf-31", 0));
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	refused(_metadata, self, helper_pid("net-pf-31", 0),
		(const char *const[]){ "request for self", "request for net-pf-31", NULL });
}

/*
 * A circle that is closed while a child of the helper waits for a name. Whoever
 * follows the child has nothing to do with that, and tries again.
 */
static void refused_leader(struct __test_metadata *_metadata, struct _test_data_recursion *self,
			   const char *script, bool copy)
{
	ASSERT_EQ(0, copy_file(TEST_KO, COPY));
	helper_script("self", script);
	helper_start("self", &callers[0], TEST_KO, "request=self");
	loader_settle(helper_pid("self", 0));
	for (int i = 1; i < 3; i++) {
		callers[i].copy = copy;
		caller_add(&callers[i], COPY, "", 0);
	}
	helper_go("self");
	EXPECT_EQ(EDEADLK, helper_result("self", 0));
	callers_wait(callers, 3);
	EXPECT_EQ(0, callers[0].err);
	/* They waited for the name, too, which took no circle. */
	EXPECT_EQ(2, callers_with(&callers[1], 2, EEXIST));
	EXPECT_COUNT(1, stats_since(self->before).refused);
	EXPECT_COUNT(2, stats_since(self->before).retried);
}

TEST_F(recursion, refused_leader_has_followers)
{
	refused_leader(_metadata, self, "spawn\nload " COPY "\ngate\nwait\n", false);
}

TEST_F(recursion, refused_leader_of_a_copy_has_followers)
{
	refused_leader(_metadata, self, "spawn\ninit " COPY "\ngate\nwait\n", true);
}

/*
 * The requested module makes the request to which it owes its load. That is a
 * request of its own, the helper of which meets the circle.
 */
static void same_request(struct __test_metadata *_metadata, struct _test_data_recursion *self,
			 const char *script, const char *what)
{
	char leader[64];

	helper_script("self", script);
	caller_start(&callers[0], B_KO, "request=self", 0);
	ASSERT_EQ(EDEADLK, helper_result("self", 0));
	EXPECT_EQ(0, helper_result("self", 1));
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(2, helpers_started("self"));
	EXPECT_EQ(0, module_param("test_dedup", "requested"));
	EXPECT_EQ(0, module_param("test_dedup_b", "requested"));
	snprintf(leader, sizeof(leader), "dedup_helper[%d]", helper_pid("self", 0));
	refused(_metadata, self, helper_pid("self", 1),
		(const char *const[]){ "test_dedup", leader, "request for self", NULL });
	ksft_print_msg("saw: what was requested makes the same request, %s: its helper gets %s\n",
		       what, errno_name(helper_result("self", 0)));
}

TEST_F(recursion, same_request)
{
	same_request(_metadata, self, SELF, "at once");
}

TEST_F(recursion, same_request_by_a_child)
{
	same_request(_metadata, self, "fork\n" SELF, "in a child");
}

/*
 * A load makes the request of somebody else, the helper of which needs the
 * load. If it joined that request it would wait for itself; but it does not.
 */
TEST_F(recursion, request_that_somebody_else_makes)
{
	struct stats since;

	helper_script("self", "gate\n" SELF);
	helper_start("self", &callers[0], B_KO, "request=self");
	caller_start(&callers[1], TEST_KO, "request=self", 0);
	while (helpers_started("self") < 2 && !in_flight("\tflight of self by "))
		nap();
	ASSERT_EQ(2, helpers_started("self"));
	helper_go("self");
	EXPECT_EQ(EDEADLK, helper_result("self", 0));
	/* The load may be over before it calls. */
	EXPECT_TRUE(helper_result("self", 1) == 0 || helper_result("self", 1) == EEXIST);
	callers_wait(callers, 2);
	EXPECT_EQ(2, callers_with(callers, 2, 0));
	EXPECT_EQ(0, module_param("test_dedup", "requested"));
	EXPECT_EQ(0, module_param("test_dedup_b", "requested"));
	since = stats_since(self->before);
	EXPECT_COUNT(0, since.requests_joined);
	EXPECT_COUNT(2, since.requests_alone);
	refused(_metadata, self, helper_noted("self", ".started", 1),
		(const char *const[]){ "test_dedup", "request for self", NULL });
}

/* Whoever can close circles cannot fill the log with them. */
TEST_F(recursion, many_are_not_all_told)
{
	char script[MANY * 64] = "";
	long long first = 0, last = 0;
	int told = 0;
	const char *line;

	if (!has_counters())
		SKIP(return, "this kernel refuses nothing");
	for (int i = 0; i < MANY; i++)
		strcat(script, "load " TEST_KO " tag=5\n");
	helper_script("self", script);
	caller_start(&callers[0], TEST_KO, "request=self", 0);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(EDEADLK, helper_result("self", MANY - 1));
	EXPECT_COUNT(MANY, stats_since(self->before).refused);
	while ((line = log_find(self->log, REFUSED))) {
		last = log_time(line);
		first = told++ ? first : last;
	}
	EXPECT_LE(1, told);
	EXPECT_GE(LOG_BURST * ((last - first) / LOG_INTERVAL + 2), told);
	SAW("40 waits are refused", "%s", told < MANY ? "some are told" : "all are told");
}

/* A wait for symbols that a signal ends: there is one reason, whatever was needed. */
TEST_F(recursion, interrupted_wait_for_symbols_is_told_once)
{
	int gave_up = 0, unknown = 0;
	const char *line;

	caller_add(&callers[0], OWNER_KO, "gate=0", 0);
	gates_wait_entered(1);
	caller_add(&callers[1], BORROWER_KO, "", 0);
	kill(callers[1].pid, SIGKILL);
	callers_wait(&callers[1], 1);
	gates_open(1);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	while ((line = log_find(self->log, "test_dedup_borrower: "))) {
		gave_up += !!strstr(line, "gave up waiting");
		unknown += !!strstr(line, "Unknown symbol");
	}
	EXPECT_GE(1, gave_up);
	EXPECT_GE(1, unknown);
	EXPECT_LE(1, gave_up + unknown);
	SAW("a wait for the 2 symbols of a module is interrupted", "%d lines in the log",
	    gave_up + unknown);
}

/*
 * The kernel cannot know that a thread of its own asks on the loader's behalf,
 * so it says who waits for what, and whose request that is, and where the
 * loader sleeps: so one can see the circle.
 */
TEST_F_SLOW(recursion, deputy_is_reported)
{
	static char text[65536];
	char waiter[64], loader[64];
	const char *const names[] = {
		waiter, "load of test_dedup_deputy by ", loader, "Call Trace:",
		"[test_dedup_deputy]", "request for deputy", "dedup_deputy[",
	};
	int told = 0;
	pid_t helper;

	if (!has_counters())
		SKIP(return, "this kernel reports nothing");
	log_expect("Call Trace:");
	helper_script("deputy", "load " DEPUTY_KO "\n");
	caller_start(&callers[0], DEPUTY_KO, "", 0);
	helper = helper_pid("deputy", 0);
	log_wait_reported(self->log, "[test_dedup_deputy]", text, sizeof(text));
	log_expect("nothing");

	snprintf(waiter, sizeof(waiter), "dedup_helper[%d]", helper);
	snprintf(loader, sizeof(loader), "dedup_08_recurs[%d]", callers[0].pid);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		EXPECT_NE(NULL, strcasestr(text, names[i]))
			TH_LOG("no \"%s\" in the report", names[i]);
		told += !!strcasestr(text, names[i]);
	}
	SAW("init waits for a kernel thread that requests it",
	    "the report has %d of 7: waiter, file, loader, its stack, request, and who made it",
	    told);

	/* What nobody can know only ends if somebody ends it. */
	EXPECT_EQ(0, callers_done(callers, 1));
	kill(helper, SIGKILL);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_COUNT(0, stats_since(self->before).refused);
	EXPECT_EQ(NULL, log_find(self->log, REPORTED));
}

/* Nor can whoever makes many wait for long. */
TEST_F_SLOW(recursion, many_long_waits_are_not_all_reported)
{
	static char paths[MANY][64];
	long long begun, first = 0, last = 0;
	int reported = 0;
	const char *line;

	if (!has_counters())
		SKIP(return, "this kernel reports nothing");
	log_expect("Call Trace:");
	/* All are one module, so one is at its gate, and the others wait for its name. */
	for (int i = 0; i < MANY; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/tmp/test_dedup_copy%d.ko", i);
		ASSERT_EQ(0, copy_file(TEST_KO, paths[i]));
		caller_add(&callers[2 * i], paths[i], "gate=0", 0);
		caller_add(&callers[2 * i + 1], paths[i], "gate=0", 0);
	}
	/* If this is too short for some of them there are only fewer to tell of. */
	begun = now_ns();
	while (now_ns() - begun < 11 * NSEC_PER_SEC)
		nap();
	callers_settle(callers, 2 * MANY);
	while ((line = log_find(self->log, REPORTED))) {
		last = log_time(line);
		first = reported++ ? first : last;
	}
	log_expect("nothing");
	EXPECT_LE(1, reported);
	EXPECT_GE(LOG_BURST * ((last - first) / LOG_INTERVAL + 2), reported);
	SAW("40 calls wait for 10 s", "%s", reported < MANY ? "some are told" : "all are told");
	gates_open(1);
	callers_wait(callers, 2 * MANY);
	for (int i = 0; i < MANY; i++)
		unlink(paths[i]);
}

/* What follows is no circle, however much it may look like one. */

static void no_alarm(struct __test_metadata *_metadata, struct _test_data_recursion *self)
{
	EXPECT_COUNT(0, stats_since(self->before).refused);
	EXPECT_EQ(NULL, log_find(self->log, REFUSED));
}

/* Waits until a process that waits has looked again, more than once. */
static void look_again(pid_t pid)
{
	long first = process_sleeps(pid), now;

	/* Not on kernels where nobody looks. */
	if (!has_counters())
		return;
	while ((now = process_sleeps(pid)) >= 0 && now < first + 3)
		nap();
}

/* Children load what their parent is loading, as those of udevd may. */
TEST_F(recursion, leader_is_an_ancestor)
{
	callers_hold();
	callers_start(&callers[1], 8, TEST_KO, "gate=0", 0);
	/* One more, to open the gate when all wait for the parent. */
	if (!fork()) {
		gates_wait_entered(1);
		callers_release();
		callers_settle(&callers[1], 8);
		gates_open(1);
		_exit(0);
	}
	EXPECT_EQ(0, load(TEST_KO, "gate=0", 0));
	callers_wait(&callers[1], 8);
	EXPECT_EQ(8, callers_with(&callers[1], 8, 0));
	EXPECT_EQ(1, gates_entered());
	no_alarm(_metadata, self);
}

/* The same below a helper, who waits for its child. */
TEST_F(recursion, leader_is_an_ancestor_within_a_helper)
{
	helper_script("outer", "spawn\nload " TEST_KO " gate=0\n"
				"load " TEST_KO " gate=0\n");
	caller_start(&callers[0], B_KO, "request=outer gate=1", 0);
	loader_settle(helper_pid("outer", 0));
	loader_settle(helper_pid("outer", 1));
	gates_wait_entered(1);
	gates_open(3);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(0, helper_result("outer", 0));
	EXPECT_EQ(0, helper_result("outer", 1));
	no_alarm(_metadata, self);
}

static atomic_int threads_good;
static atomic_int thread_ids[THREADS];

static void *thread_load(void *id)
{
	atomic_store((atomic_int *)id, gettid());
	if (!load(TEST_KO, "gate=0", 0))
		atomic_fetch_add(&threads_good, 1);
	return NULL;
}

TEST_F(recursion, threads_of_one_process)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, thread_load, &thread_ids[i]));
	gates_wait_entered(1);
	for (int i = 0; i < THREADS; i++) {
		while (!atomic_load(&thread_ids[i]))
			nap();
		loader_settle(atomic_load(&thread_ids[i]));
	}
	gates_open(1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(THREADS, atomic_load(&threads_good));
	EXPECT_EQ(1, gates_entered());
	no_alarm(_metadata, self);
}

/* A child of the helper waits for as long as the helper is at its gate. */
static void helper_goes_on(struct __test_metadata *_metadata, struct _test_data_recursion *self,
			   const char *script)
{
	helper_script("self", script);
	caller_start(&callers[0], TEST_KO, "request=self", 0);
	loader_settle(helper_pid("self", 0));
	look_again(helper_pid("self", 0));
	helper_go("self");
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(0, helper_result("self", 0));
	no_alarm(_metadata, self);
}

/* The helper does not wait for its child. */
TEST_F(recursion, child_in_the_background)
{
	helper_goes_on(_metadata, self, "spawn\n" SELF "gate\n");
}

/* The helper waits, but for another child. */
TEST_F(recursion, child_in_the_background_and_another)
{
	helper_goes_on(_metadata, self, "spawn\n" SELF "fork\ngate\n");
}

/* A thread of the helper goes on. */
TEST_F(recursion, helper_with_threads)
{
	helper_script("self", "thread\n" SELF);
	caller_start(&callers[0], TEST_KO, "request=self", 0);
	loader_settle(helper_pid("self", 0));
	look_again(helper_pid("self", 0));
	/* It does nothing useful, but who knows. */
	kill(helper_pid("self", 0), SIGKILL);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	no_alarm(_metadata, self);
}

/* The leader's helper is busy; another helper waits for that leader. */
TEST_F(recursion, helper_is_busy)
{
	helper_script("slow", "gate\n");
	helper_script("other", "load " TEST_KO " request=slow\n");
	helper_start("slow", &callers[0], TEST_KO, "request=slow");
	caller_start(&callers[1], B_KO, "request=other", 0);
	loader_settle(helper_pid("other", 0));
	look_again(helper_pid("other", 0));
	helper_go("slow");
	callers_wait(callers, 2);
	EXPECT_EQ(2, callers_with(callers, 2, 0));
	EXPECT_EQ(0, helper_result("other", 0));
	no_alarm(_metadata, self);
}

/* The helper is dead, its child lives on. */
TEST_F(recursion, helper_died)
{
	helper_script("self", "orphan\nload " TEST_KO " request=self\n");
	caller_start(&callers[0], TEST_KO, "request=self gate=0", 0);
	gates_wait_entered(1);
	/* Other arguments, so it is behind. */
	loader_settle(helper_pid("self", 0));
	gates_open(1);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(EEXIST, helper_result("self", 0));
	no_alarm(_metadata, self);
}

/* Whoever asked is dead, the helper goes on, and loads the module itself. */
TEST_F(recursion, requester_was_killed)
{
	helper_script("self", "gate\nload " TEST_KO " gate=0\n");
	helper_start("self", &callers[0], TEST_KO, "request=self gate=0");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	helper_go("self");
	/* The killed one may have come to its gate. */
	loader_settle(helper_pid("self", 0));
	gates_open(1);
	EXPECT_EQ(0, helper_result("self", 0));
	EXPECT_TRUE(module_live("test_dedup"));
	no_alarm(_metadata, self);
}

/* Another process has the process id that the dead helper had. */
TEST_F(recursion, process_id_is_used_again)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t helper, pid;
	int status;

	helper_script("self", "load " B_KO "\nexit 1\n");
	caller_start(&callers[0], TEST_KO, "request=self gate=0", 0);
	EXPECT_EQ(0, helper_result("self", 0));
	helper = helper_pid("self", 0);
	gates_wait_entered(2);

	args.set_tid = (uintptr_t)&helper;
	args.set_tid_size = 1;
	/* It is in use until somebody has waited for the helper. */
	while ((pid = syscall(SYS_clone3, &args, sizeof(args))) < 0 && errno == EEXIST)
		nap();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(load(TEST_KO, "request=self gate=0", 0));
	EXPECT_EQ(helper, pid);
	loader_settle(pid);
	gates_open(1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	no_alarm(_metadata, self);
}

/*
 * A leader whose followers have not run yet starts to wait for the load on
 * whose behalf they followed.
 */
TEST_F(recursion, next_load_before_the_followers_run)
{
	int n = rounds() / 20;

	ASSERT_EQ(0, copy_file(B_KO, COPY));
	quick_removals();
	for (int i = 0; i < n; i++) {
		int status;
		pid_t pid;

		gates_reset();
		callers_init();
		callers_release();
		helper_script("outer", "load " TEST_KO " gate=0\n");
		pid = fork();
		if (!pid) {
			int err = load(TEST_KO, "gate=0", 0);

			/* By name, for the other load. */
			_exit(err ?: load(COPY, "", 0));
		}
		gates_wait_entered(1);
		caller_start(&callers[0], B_KO, "request=outer", 0);
		loader_settle(helper_pid("outer", 0));
		gates_open(1);
		callers_wait(callers, 1);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, callers[0].err);
		ASSERT_EQ(EEXIST, WEXITSTATUS(status));
		ASSERT_EQ(0, helper_result("outer", 0));
		ASSERT_EQ(0, unload("test_dedup"));
		ASSERT_EQ(0, unload("test_dedup_b"));
	}
	no_alarm(_metadata, self);
}

/* Circles among loads that have nothing to do with them. */
TEST_F(recursion, in_a_storm)
{
	atomic_int *wrong = shared_memory(sizeof(*wrong));
	pid_t storm[8];

	quick_removals();
	for (int i = 0; i < 8; i++) {
		storm[i] = fork();
		if (storm[i])
			continue;
		for (;;) {
			int err = load(BIG_KO, "", 0);

			if (err && err != EEXIST && err != EBUSY)
				atomic_fetch_add(wrong, 1);
			unload("test_dedup_big");
		}
	}
	for (int i = 0; i < 10; i++) {
		helper_script("self", i % 2 ? SELF : "fork\n" SELF);
		caller_start(&callers[i], TEST_KO, "request=self", 0);
		EXPECT_EQ(EDEADLK, helper_result("self", 0));
		callers_wait(&callers[i], 1);
		EXPECT_EQ(0, callers[i].err);
		EXPECT_EQ(0, unload("test_dedup"));
	}
	for (int i = 0; i < 8; i++) {
		kill(storm[i], SIGKILL);
		waitpid(storm[i], NULL, 0);
	}
	EXPECT_EQ(0, atomic_load(wrong));
	EXPECT_COUNT(10, stats_since(self->before).refused);
}

TEST_HARNESS_MAIN
