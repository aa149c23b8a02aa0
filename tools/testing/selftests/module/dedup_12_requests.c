// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 12 of Documentation/admin-guide/module-dedup.rst.
 *
 * Concurrent requests for one name run one modprobe, and get its result.
 *
 * A module of the tests makes the requests, and dedup_helper, or the real
 * modprobe, gets them.
 */

#include <sched.h>

#include "dedup_harness.h"
#include "dedup_helper.h"

#define N 60

FIXTURE(requests) {
	struct stats before;
	char modprobe[256];
	int log;
};

static void unload_all(void)
{
	gates_open(~0);
	unload("test_dedup");
	unload("test_dedup_alias");
	unload("test_dedup_base");
	unload("test_dedup_self");
}

FIXTURE_SETUP(requests)
{
	ASSERT_EQ(0, gates_load());
	ASSERT_EQ(0, requests_load());
	unload_all();
	gates_reset();
	callers_init();
	set_dedup("on");
	ASSERT_EQ(0, helper_install(self->modprobe, sizeof(self->modprobe)));
	self->before = read_stats();
	self->log = log_open();
}

FIXTURE_TEARDOWN(requests)
{
	helper_restore(self->modprobe);
	set_dedup("on");
	unload_all();
	close(self->log);
}

/* Many want the same, and the helper takes a while. */
static void one_helper(struct __test_metadata *_metadata, struct _test_data_requests *self,
		       const char *script, int result)
{
	int helpers;

	helper_script("slow", script);
	requesters_start(callers, N, "slow");
	callers_release();
	callers_settle(callers, N);
	helpers_wait_started("slow", 1);
	helpers = helpers_started("slow");
	EXPECT_EQ(0, callers_done(callers, N));
	helper_go("slow");
	callers_wait(callers, N);
	EXPECT_EQ(1, helpers);
	EXPECT_EQ(1, helpers_started("slow"));
	EXPECT_EQ(N, callers_with(callers, N, result));
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(N - 1, stats_since(self->before).requests_joined);
	/* They are no loads. */
	EXPECT_EQ(self->before.led, read_stats().led);
	EXPECT_EQ(self->before.joined, read_stats().joined);
	ksft_print_msg("saw: %d requests for a name, helper exits with %d: %d helpers, %d get it\n",
		       N, result >> 8, helpers_started("slow"), callers_with(callers, N, result));
}

TEST_F(requests, one_helper_that_succeeds)
{
	one_helper(_metadata, self, "gate\nexit 0\n", 0);
}

TEST_F(requests, one_helper_that_fails)
{
	one_helper(_metadata, self, "gate\nexit 3\n", STATUS(3));
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
	int result;

	helper_script("slow", "gate\n");
	helper_script("other", "exit 2\n");
	requesters_start(callers, many, "slow");
	callers_release();
	callers_settle(callers, many);
	result = request("other");
	EXPECT_EQ(STATUS(2), result);
	EXPECT_EQ(0, callers_done(callers, many));
	helper_go("slow");
	callers_wait(callers, many);
	EXPECT_EQ(many, callers_with(callers, many, 0));
	EXPECT_EQ(1, helpers_started("slow"));
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
	helper_script("slow", "gate\nexit 1\n");
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
	EXPECT_EQ(4, callers_with(callers, 5, STATUS(1)));
	EXPECT_EQ(1, helpers_started("slow"));
	EXPECT_COUNT(1, stats_since(self->before).interrupted);
	EXPECT_COUNT(3, stats_since(self->before).requests_joined);
}

/* Nobody else gets the end of a leader that is killed: they ask again, once. */
TEST_F(requests, leader_is_killed)
{
	helper_script("slow", "gate\nexit 4\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	/* So few are woken by the leader itself: all are when it is gone. */
	for (int i = 1; i < 5; i++)
		requester_add(&callers[i], "slow");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	helpers_wait_started("slow", 2);
	callers_settle(&callers[1], 4);
	helper_go("slow");
	callers_wait(&callers[1], 4);
	EXPECT_EQ(4, callers_with(&callers[1], 4, STATUS(4)));
	EXPECT_EQ(2, helpers_started("slow"));
	EXPECT_COUNT(2, stats_since(self->before).requests_led);
	EXPECT_COUNT(4, stats_since(self->before).retried);
	EXPECT_COUNT(3, stats_since(self->before).requests_joined);
}

/* Who does not wait for the answer does not wait for that of another one. */
TEST_F(requests, nowait_duplicates_return)
{
	helper_script("slow", "gate\nexit 5\n");
	requester_add(&callers[0], "slow");
	helpers_wait_started("slow", 1);
	EXPECT_EQ(0, request("&slow"));
	EXPECT_EQ(0, request("&slow"));
	EXPECT_EQ(0, callers_done(callers, 1));
	helper_go("slow");
	callers_wait(callers, 1);
	EXPECT_EQ(STATUS(5), callers[0].err);
	EXPECT_EQ(1, helpers_started("slow"));
	EXPECT_COUNT(2, stats_since(self->before).requests_joined);
}

/*
 * All helpers that there may be at a time are busy, so one who does not wait
 * for the answer waits for its turn. Who follows it gets an answer of its own.
 */
TEST_F(requests, nowait_leader_has_no_result)
{
	const int most = 50;
	char name[32];

	helper_script("slow", "exit 6\n");
	for (int i = 0; i < most; i++) {
		snprintf(name, sizeof(name), "busy%d", i);
		helper_script(name, "gate\n");
		requester_add(&callers[i], strdup(name));
	}
	for (int i = 0; i < most; i++) {
		snprintf(name, sizeof(name), "busy%d", i);
		helpers_wait_started(name, 1);
	}
	requester_add(&callers[most], "&slow");
	requester_add(&callers[most + 1], "slow");
	for (int i = 0; i < most; i++) {
		snprintf(name, sizeof(name), "busy%d", i);
		helper_go(name);
	}
	callers_wait(callers, most + 2);
	EXPECT_EQ(most, callers_with(callers, most, 0));
	EXPECT_EQ(STATUS(6), callers[most + 1].err);
	EXPECT_COUNT(1, stats_since(self->before).retried);
	EXPECT_COUNT(0, stats_since(self->before).requests_joined);
}

/*
 * The helper of a load's request is refused, for that load would wait for it.
 * Who follows the request, and is not part of that circle, asks again.
 */
TEST_F(requests, refused_request_is_private)
{
	int requested = -1;
	char text[16];

	helper_script("self", "gate\nload " TEST_KO " request=self gate=0\nanswer\n");
	caller_start(&callers[0], TEST_KO, "request=self gate=0", 0);
	callers_release();
	helpers_wait_started("self", 1);
	requester_add(&callers[1], "self");
	helper_go("self");
	helpers_wait_started("self", 2);
	gates_wait_entered(1);
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(0, callers[0].err);
	if (slurp("/sys/module/test_dedup/parameters/requested", text, sizeof(text)) > 0)
		requested = atoi(text);
	EXPECT_EQ(STATUS(1), requested);
	EXPECT_EQ(0, callers[1].err);
	EXPECT_EQ(EDEADLK, helper_result("self", 0));
	EXPECT_COUNT(1, stats_since(self->before).refused);
	EXPECT_COUNT(1, stats_since(self->before).retried);
}

/* Keeps a processor busy, from now on, with something that goes before all else. */
static pid_t occupy(int cpu)
{
	atomic_int *there = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cpu_set_t set;
	pid_t pid = fork();

	if (pid) {
		while (!atomic_load(there))
			nap();
		munmap(there, 4096);
		return pid;
	}
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 1 });
	atomic_store(there, 1);
	for (;;)
		;
}

/*
 * Lets it do so, if this is 0: otherwise the scheduler gives so many ns of each
 * second to all else.
 */
static void set_fair_server(int cpu, const char *runtime)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/sched/fair_server/cpu%d/runtime", cpu);
	spit(path, runtime);
}

static void on_last_cpu(struct caller *c)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * The helper has ended, and its leader has not run since. Who asks now asks
 * for the state of things after that.
 */
TEST_F(requests, helper_has_ended)
{
	int last = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	pid_t busy, helper;

	if (last < 1)
		SKIP(return, "the leader needs a CPU of its own");
	if (!has_counters())
		SKIP(return, "this kernel has no leaders");
	spit("/proc/sys/kernel/sched_rt_runtime_us", "-1");
	set_fair_server(last, "0");
	helper_script("twice", "gate\nexit 1\n");
	callers[0].before = on_last_cpu;
	requester_add(&callers[0], "twice");
	helpers_wait_started("twice", 1);
	helper = helper_noted("twice", ".started", 0);
	requester_add(&callers[1], "twice");
	ASSERT_EQ(0, write_file(helper_file("twice", ""), "exit 2\n", 7));

	busy = occupy(last);
	helper_go("twice");
	while (!kill(helper, 0))
		nap();
	requester_add(&callers[2], "twice");
	requester_add(&callers[3], "twice");
	EXPECT_EQ(0, callers_done(callers, 2));
	kill(busy, SIGKILL);
	waitpid(busy, NULL, 0);
	callers_wait(callers, 4);
	set_fair_server(last, "50000000");
	spit("/proc/sys/kernel/sched_rt_runtime_us", "950000");
	EXPECT_EQ(2, callers_with(callers, 2, STATUS(1)));
	EXPECT_EQ(2, callers_with(&callers[2], 2, STATUS(2)));
	EXPECT_EQ(2, helpers_started("twice"));
}

static void not_joined(struct __test_metadata *_metadata, struct _test_data_requests *self,
		       const char *mode)
{
	struct stats since;

	set_dedup(mode);
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
	not_joined(_metadata, self, "off");
}

TEST_F(requests, c)
{
	not_joined(_metadata, self, "c");
}

TEST_F(requests, switched_off_meanwhile)
{
	helper_script("slow", "gate\nexit 7\n");
	requesters_start(callers, 5, "slow");
	callers_release();
	callers_settle(callers, 5);
	set_dedup("off");
	helpers_wait_started("slow", 1);
	helper_go("slow");
	callers_wait(callers, 5);
	EXPECT_EQ(5, callers_with(callers, 5, STATUS(7)));
	EXPECT_EQ(1, helpers_started("slow"));
}

/*
 * The helper waits for a process that makes the same request: no kernel can
 * see that. It goes on when that process has got tired, and asked by itself.
 */
TEST_F_SLOW(requests, helper_waits_for_who_follows_it)
{
	helper_script("circle", "gate\nexit 8\n");
	requester_add(&callers[0], "circle");
	helpers_wait_started("circle", 1);
	/* What the next helper does. The first one has read what it is to do. */
	ASSERT_EQ(0, write_file(helper_file("circle", ""), "exit 9\n", 7));
	requester_add(&callers[1], "circle");
	callers_wait(&callers[1], 1);
	EXPECT_EQ(STATUS(9), callers[1].err);
	EXPECT_EQ(0, callers_done(callers, 1));
	helper_go("circle");
	callers_wait(callers, 1);
	EXPECT_EQ(STATUS(8), callers[0].err);
	EXPECT_EQ(2, helpers_started("circle"));
	EXPECT_COUNT(1, stats_since(self->before).requests_alone);
	EXPECT_COUNT(true, read_stats().longest >= 29900000);
	if (has_counters()) {
		const char *line = log_find(self->log, "has waited 10 s");

		ASSERT_NE(NULL, line);
		EXPECT_NE(NULL, strstr(line, "request for circle with helper dedup_helper["));
	}
}

/* How many of the allocations that the kernel makes for a request must not fail. */
static int needed(struct __test_metadata *_metadata)
{
	int failed = 0;

	for (int nth = 1; nth <= 20; nth++) {
		int file = open(REQUEST_FILE, O_RDWR), fail = open(FAIL_NTH, O_WRONLY);
		char text[16] = "";

		ASSERT_LE(0, file);
		ASSERT_LE(0, fail);
		snprintf(text, sizeof(text), "%d", nth);
		ASSERT_LT(0, write(fail, text, strlen(text)));
		ASSERT_EQ(4, write(file, "fast", 4));
		ASSERT_LT(0, write(fail, "0", 1));
		ASSERT_LT(0, read(file, text, sizeof(text) - 1));
		EXPECT_TRUE(!atoi(text) || atoi(text) == -ENOMEM)
			TH_LOG("allocation %d: %s", nth, text);
		failed += !!atoi(text);
		close(fail);
		close(file);
	}
	return failed;
}

/* If there is no memory for us a request is what it is without us. */
TEST_F(requests, no_memory)
{
	int off, on, round = 0;

	if (access(FAILSLAB, F_OK) || access(FAIL_NTH, F_OK))
		SKIP(return, "this kernel has no failslab");
	ASSERT_EQ(0, spit(FAILSLAB "ignore-gfp-wait", "N"));
	ASSERT_EQ(0, spit(FAILSLAB "verbose", "0"));
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

/* The real modprobe, an alias, and a module that it has to load before. */
TEST_F(requests, modprobe_with_alias_and_softdep)
{
	if (access("/sbin/modprobe", X_OK))
		SKIP(return, "there is no modprobe");
	helper_restore("/sbin/modprobe");
	requesters_start(callers, N, "dedup-test-alias");
	callers_release();
	gates_wait_entered(1);
	callers_settle(callers, N);
	EXPECT_EQ(0, callers_done(callers, N));
	gates_open(8);
	callers_wait(callers, N);
	EXPECT_EQ(N, callers_with(callers, N, 0));
	EXPECT_TRUE(module_live("test_dedup_alias"));
	EXPECT_TRUE(module_live("test_dedup_base"));
	EXPECT_COUNT(1, stats_since(self->before).requests_led);
	EXPECT_COUNT(N - 1, stats_since(self->before).requests_joined);
}

/* Init requests its own module by an alias, and the real modprobe gets it. */
TEST_F(requests, modprobe_of_a_module_that_requests_itself)
{
	char result[16];

	if (access("/sbin/modprobe", X_OK))
		SKIP(return, "there is no modprobe");
	helper_restore("/sbin/modprobe");
	EXPECT_EQ(0, request("dedup-test-self"));
	EXPECT_TRUE(module_live("test_dedup_self"));
	ASSERT_LT(0, slurp("/sys/module/test_dedup_self/parameters/requested", result,
			   sizeof(result)));
	EXPECT_EQ(-EDEADLK, atoi(result));
	EXPECT_COUNT(1, stats_since(self->before).refused);
	SAW("init requests its own module by an alias, with modprobe", "init gets %s",
	    errno_name(-atoi(result)));
}

TEST_HARNESS_MAIN
