// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 13 of Documentation/admin-guide/module-dedup.rst.
 *
 * What is in flight can be read at any time, tracepoints show what becomes of
 * each call, and a wait that takes long is reported once.
 */

#include <fcntl.h>
#include <signal.h>

#include "lib/harness.h"
#include "lib/helpers.h"
#include "lib/log.h"
#include "lib/process.h"
#include "lib/requests.h"

#define TRACING "/sys/kernel/tracing/"
#define EVENTS TRACING "events/module_dedup/"
#define COPIES 200
#define HEADER "kind\tage_ms\tfollowers\tleader\tname\twaits_for\n"

/* A line of the file, in its parts. */
struct line {
	char kind[16], leader[64], name[128], waits_for[512];
	long age, followers;
};

FIXTURE(seen) {
	struct stats before;
	int log;
};

static char text[1 << 20];

static void copy_name(char *path, size_t size, int i)
{
	snprintf(path, size, "/tmp/test_dedup_copy%d.ko", i);
}

static void clean_up(void)
{
	char path[64];

	gates_open(~0);
	unload("test_dedup");
	unload("test_dedup_b");
	for (int i = 0; i < COPIES; i++) {
		copy_name(path, sizeof(path), i);
		unlink(path);
	}
	spit(EVENTS "enable", "0");
}

FIXTURE_SETUP(seen)
{
	if (access(DEDUP_FILE, R_OK))
		SKIP(return, "this kernel does not show what is in flight");
	ASSERT_EQ(0, gates_load());
	ASSERT_EQ(0, requests_load());
	clean_up();
	gates_reset();
	callers_init();
	callers_release();
	ASSERT_EQ(0, helper_install());
	self->before = read_stats();
	self->log = log_open();
}

FIXTURE_TEARDOWN(seen)
{
	helper_restore();
	clean_up();
	close(self->log);
}

/* Takes the nth line of what was read apart. Returns false if there is none. */
static bool line_at(int n, struct line *line)
{
	const char *at = text;

	while (at && n--) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	return at && sscanf(at, "%15[^\t]\t%ld\t%ld\t%63[^\t]\t%127[^\t]\t%511[^\n]",
			    line->kind, &line->age, &line->followers, line->leader,
			    line->name, line->waits_for) == 6;
}

/* Reads the file, and finds the flight that a process leads. */
static bool flight_of(pid_t pid, struct line *line)
{
	char leader[32];

	snprintf(leader, sizeof(leader), "[%d]", pid);
	if (slurp(DEDUP_FILE, text, sizeof(text)) < 0)
		return false;
	for (int n = 1; line_at(n, line); n++) {
		if (strstr(line->leader, leader))
			return true;
	}
	return false;
}

TEST_F(seen, nothing_in_flight)
{
	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	EXPECT_STREQ(HEADER, text);
}

/* A load that does its work, and one that is in line behind it. */
TEST_F(seen, loads)
{
	struct line line;
	long age;

	caller_add(&callers[0], TEST_KO, "gate=0", 0);
	for (int i = 1; i < 5; i++)
		caller_add(&callers[i], TEST_KO, "gate=0", 0);
	for (int i = 5; i < 8; i++)
		caller_add(&callers[i], TEST_KO, "tag=1", 0);

	ASSERT_TRUE(flight_of(callers[0].pid, &line));
	EXPECT_EQ(0, strncmp(text, HEADER, strlen(HEADER)));
	EXPECT_STREQ("load", line.kind);
	EXPECT_STREQ("test_dedup.ko", line.name);
	EXPECT_EQ(4, line.followers);
	EXPECT_STREQ("-", line.waits_for);
	EXPECT_EQ(0, strncmp(line.leader, "dedup_13_seen[", 14));
	age = line.age;
	nap();

	ASSERT_TRUE(flight_of(callers[5].pid, &line));
	EXPECT_EQ(2, line.followers);
	EXPECT_NE(NULL, strstr(line.waits_for, "load of test_dedup by dedup_13_seen["));
	ASSERT_TRUE(flight_of(callers[0].pid, &line));
	EXPECT_LT(age, line.age);

	gates_open(1);
	callers_wait(callers, 8);
	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	EXPECT_STREQ(HEADER, text);
}

/*
 * A load that waits for a request, which waits for a helper that waits for
 * another load; and a request of somebody else, with one who has joined it.
 */
TEST_F(seen, requests)
{
	struct line line;
	char helper[64];

	caller_add(&callers[0], B_KO, "gate=0", 0);
	helper_script("wanted", "load " MODULES_DIR "test_dedup_b.ko gate=0\n");
	caller_start(&callers[1], TEST_KO, "request=wanted", 0);
	loader_settle(helper_pid("wanted", 0));
	helper_script("other", "load " MODULES_DIR "test_dedup_b.ko gate=0\n");
	requester_add(&callers[2], "other");
	loader_settle(helper_pid("other", 0));
	requester_add(&callers[3], "other");

	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	ASSERT_TRUE(line_at(1, &line));
	EXPECT_STREQ("test_dedup_b.ko", line.name);
	EXPECT_EQ(2, line.followers);
	ASSERT_TRUE(line_at(2, &line));
	EXPECT_STREQ("load", line.kind);
	EXPECT_STREQ("test_dedup.ko", line.name);
	snprintf(helper, sizeof(helper), "request for wanted with helper dedup_helper[%d]",
		 helper_pid("wanted", 0));
	EXPECT_STREQ(helper, line.waits_for);
	/* What a load requests is its own business, and in no line. */
	ASSERT_TRUE(line_at(3, &line));
	EXPECT_STREQ("request", line.kind);
	EXPECT_STREQ("other", line.name);
	EXPECT_EQ(1, line.followers);
	snprintf(helper, sizeof(helper), "request for other with helper dedup_helper[%d]",
		 helper_pid("other", 0));
	EXPECT_STREQ(helper, line.waits_for);
	snprintf(helper, sizeof(helper), "dedup_13_seen[%d]", callers[2].pid);
	EXPECT_STREQ(helper, line.leader);
	EXPECT_FALSE(line_at(4, &line));

	gates_open(1);
	callers_wait(callers, 4);
	EXPECT_EQ(4, callers_with(callers, 4, 0));
	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	EXPECT_STREQ(HEADER, text);
}

/* What was requested is seen for as long as the helper runs, whoever waits for it. */
TEST_F(seen, request_of_a_killed_requester)
{
	struct line line;

	helper_script("wanted", "gate\n");
	requester_add(&callers[0], "wanted");
	helpers_wait_started("wanted", 1);
	requester_add(&callers[1], "wanted");
	kill(callers[0].pid, SIGKILL);
	callers_wait(&callers[0], 1);
	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	ASSERT_TRUE(line_at(1, &line));
	EXPECT_STREQ("request", line.kind);
	EXPECT_STREQ("wanted", line.name);
	EXPECT_EQ(1, line.followers);
	helper_go("wanted");
	callers_wait(&callers[1], 1);
	EXPECT_EQ(0, callers[1].err);
	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	EXPECT_STREQ(HEADER, text);
}

/* A name cannot look like something else. */
TEST_F(seen, names_are_escaped)
{
	const char *path = "/tmp/test_dedup\tx\ny.ko";
	struct line line;

	ASSERT_EQ(0, copy_file(TEST_KO, path));
	caller_add(&callers[0], path, "gate=0", 0);
	unlink(path);
	ASSERT_TRUE(flight_of(callers[0].pid, &line));
	EXPECT_STREQ("test_dedup\\tx\\ny.ko", line.name);
	EXPECT_FALSE(line_at(2, &line));
	gates_open(1);
	callers_wait(callers, 1);
}

/* There are more flights than the file shows. */
TEST_F(seen, file_has_an_end)
{
	struct line line;
	char path[64];
	int n = 1;

	for (int i = 0; i < COPIES; i++) {
		copy_name(path, sizeof(path), i);
		ASSERT_EQ(0, copy_file(TEST_KO, path));
		caller_add(&callers[i], strdup(path), "gate=0", 0);
	}
	ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
	while (line_at(n, &line))
		n++;
	EXPECT_EQ(128, n - 1);
	EXPECT_NE(NULL, strstr(text, "\nand 72 more\n"));
	gates_open(1);
	callers_wait(callers, COPIES);
	EXPECT_EQ(1, callers_with(callers, COPIES, 0));
	EXPECT_EQ(COPIES - 1, callers_with(callers, COPIES, EEXIST));
}

/* Each line is whole, also while everything changes. */
TEST_F(seen, read_in_a_storm)
{
	atomic_int *over = shared_memory(sizeof(*over));
	const int storm = 16;
	pid_t pids[storm];
	long reads = 0, lines = 0;

	quick_removals();
	for (int i = 0; i < storm; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (int round = 0; round < 20; round++) {
			load(TEST_KO, i % 2 ? "" : "tag=1", 0);
			unload("test_dedup");
			request("storm");
		}
		atomic_fetch_add(over, 1);
		_exit(0);
	}
	while (atomic_load(over) < storm) {
		struct line line;
		int n = 1;

		ASSERT_LT(0, slurp(DEDUP_FILE, text, sizeof(text)));
		ASSERT_EQ(0, strncmp(text, HEADER, strlen(HEADER)));
		while (line_at(n, &line)) {
			EXPECT_TRUE(!strcmp(line.kind, "load") || !strcmp(line.kind, "request"));
			EXPECT_STREQ(*line.kind == 'l' ? "test_dedup.ko" : "storm", line.name);
			EXPECT_LE(0, line.followers);
			EXPECT_GE(storm, line.followers);
			n++;
			lines++;
		}
		for (char *at = text; (at = strchr(at, '\n')); at++)
			n--;
		ASSERT_EQ(0, n);
		reads++;
	}
	for (int i = 0; i < storm; i++)
		waitpid(pids[i], NULL, 0);
	TH_LOG("read %ld times, %ld flights", reads, lines);
	EXPECT_LT(0, lines);
}

/* How many calls have waited, and for how long. */
TEST_F(seen, time_waited)
{
	struct stats since;
	long long from, to;
	const int n = 10;

	callers_start(callers, n, TEST_KO, "gate=0", 0);
	callers_settle(callers, n);
	from = now_ns();
	nap();
	to = now_ns();
	gates_open(1);
	callers_wait(callers, n);
	since = stats_since(self->before);
	EXPECT_EQ(n - 1, since.joined);
	EXPECT_LE((n - 1) * ((to - from) / 1000), since.waited);
	EXPECT_LE((to - from) / 1000, since.longest);
	EXPECT_LE(since.waited, (n - 1) * since.longest);
}

/* How often an event is in the trace, with this in its text. */
static int events(const char *name, const char *with)
{
	const char *at = text;
	char event[64], line[512];
	int n = 0;

	snprintf(event, sizeof(event), ": module_%s%s: ",
		 strcmp(name, "request") ? "dedup_" : "", name);
	while (sscanf(at, "%511[^\n]", line) == 1) {
		n += strstr(line, event) && strstr(line, with);
		at += strcspn(at, "\n");
		at += strspn(at, "\n");
	}
	return n;
}

static void trace_begin(void)
{
	spit(TRACING "tracing_on", "1");
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
	spit(EVENTS "enable", "1");
}

static void trace_end(void)
{
	spit(EVENTS "enable", "0");
	slurp(TRACING "trace", text, sizeof(text));
}

TEST_F(seen, tracepoints)
{
	char leader[32];

	if (access(EVENTS, F_OK))
		SKIP(return, "this kernel has no tracepoints");
	trace_begin();
	/* One leads, three follow, of which one is killed; one is in line. */
	for (int i = 0; i < 4; i++)
		caller_add(&callers[i], TEST_KO, "gate=0", 0);
	caller_add(&callers[4], TEST_KO, "tag=1", 0);
	kill(callers[3].pid, SIGKILL);
	callers_wait(&callers[3], 1);
	gates_open(1);
	callers_wait(callers, 3);
	callers_wait(&callers[4], 1);
	trace_end();

	snprintf(leader, sizeof(leader), " leader=%d ", callers[0].pid);
	EXPECT_EQ(2, events("lead", "load test_dedup.ko "));
	EXPECT_EQ(1, events("lead", " waited_ns=0"));
	EXPECT_EQ(3, events("join", leader));
	EXPECT_EQ(1, events("join", " followers=3"));
	EXPECT_EQ(4, events("done", leader));
	EXPECT_EQ(1, events("done", " result=0 followers=2 waited_ns=0"));
	EXPECT_EQ(3, events("done", " result=0 "));
	EXPECT_EQ(1, events("done", " result=-512 "));
	EXPECT_EQ(1, events("done", " result=-17 "));
	EXPECT_EQ(5, events("done", ""));
	EXPECT_EQ(0, events("retry", "") + events("refuse", ""));
}

TEST_F(seen, tracepoints_of_requests)
{
	char leader[32], killed[32];

	if (access(EVENTS, F_OK))
		SKIP(return, "this kernel has no tracepoints");
	trace_begin();
	spit(TRACING "events/module/module_request/enable", "1");
	/* One leads, and is killed; the two others get the answer. */
	helper_script("slow", "gate\n");
	for (int i = 0; i < 3; i++)
		requester_add(&callers[i], "slow");
	helpers_wait_started("slow", 1);
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	helper_go("slow");
	callers_wait(&callers[1], 2);
	/* The helper of another one is killed; of the two others one leads then. */
	helper_script("dead", "gate\nexit 1\n");
	for (int i = 4; i < 7; i++)
		requester_add(&callers[i], "dead");
	helpers_wait_started("dead", 1);
	kill(helper_noted("dead", ".started", 0), SIGKILL);
	callers_wait(&callers[4], 1);
	helpers_wait_started("dead", 2);
	callers_settle(&callers[5], 2);
	helper_go("dead");
	callers_wait(&callers[5], 2);
	/* And a module that requests itself. */
	helper_script("self", "load " TEST_KO " request=self\n");
	caller_start(&callers[3], TEST_KO, "request=self", 0);
	callers_wait(&callers[3], 1);
	spit(TRACING "events/module/module_request/enable", "0");
	trace_end();

	snprintf(leader, sizeof(leader), " leader=%d ", callers[0].pid);
	EXPECT_EQ(3, events("request", "slow wait=1 "));
	EXPECT_EQ(1, events("lead", "request slow "));
	EXPECT_EQ(2, events("join", leader));
	EXPECT_EQ(0, events("retry", leader));
	/* The end of a run is that of its helper, whatever became of the leader. */
	EXPECT_EQ(1, events("done", " result=0 followers=2 "));
	EXPECT_EQ(3, events("done", "request slow leader="));
	EXPECT_EQ(0, events("done", " result=-512 "));

	snprintf(killed, sizeof(killed), " leader=%d ", callers[4].pid);
	EXPECT_EQ(2, events("lead", "request dead "));
	EXPECT_EQ(2, events("join", killed));
	EXPECT_EQ(2, events("retry", killed));
	EXPECT_EQ(3, events("done", "request dead leader="));
	EXPECT_EQ(1, events("done", " result=9 followers=2 "));
	EXPECT_EQ(1, events("done", " result=256 followers=1 waited_ns="));
	EXPECT_EQ(1, events("done", " result=256 followers=0 "));
	EXPECT_EQ(1, events("refuse", "load test_dedup.ko leader="));
}

/* All wait for more than 10 s, and one of them says so. */
TEST_F_SLOW(seen, long_wait_is_told_once)
{
	static char report[65536];
	char waiter[64], loader[64], helper[64];
	const char *const names[] = {
		waiter, "load of test_dedup by ", loader, "request for late", helper, "Call Trace:",
	};
	const int n = 64;
	long *slept = calloc(n, sizeof(*slept));
	long long begun = now_ns();

	log_expect("Call Trace:");
	helper_script("late", "gate\n");
	caller_start(&callers[0], TEST_KO, "request=late", 0);
	helpers_wait_started("late", 1);
	for (int i = 1; i < n; i++) {
		caller_add(&callers[i], TEST_KO, "request=late", 0);
		slept[i] = process_sleeps(callers[i].pid);
		if (i != 2)
			continue;
		/*
		 * The first one watches. If it leaves, then whoever has waited
		 * longest is woken to do so.
		 */
		kill(callers[1].pid, SIGKILL);
		while (process_sleeps(callers[2].pid) < slept[2] + 1)
			nap();
		if (log_find(self->log, REPORTED)) {
			helper_go("late");
			SKIP(return, "the first one had waited 10 s before it was killed");
		}
	}
	/* That one wakes once more when it is time, and nobody else. */
	log_wait_reported(self->log, "Call Trace:", report, sizeof(report));
	while (process_sleeps(callers[2].pid) < slept[2] + 2)
		nap();
	callers_settle(&callers[2], n - 2);
	for (int i = 3; i < n; i++)
		EXPECT_EQ(slept[i], process_sleeps(callers[i].pid));
	EXPECT_LE(9900000000LL, now_ns() - begun);
	/* Who waits, for what, who loads that, what it waits for in turn, and where. */
	snprintf(waiter, sizeof(waiter), "dedup_13_seen[%d]", callers[2].pid);
	snprintf(loader, sizeof(loader), "dedup_13_seen[%d]", callers[0].pid);
	snprintf(helper, sizeof(helper), "dedup_helper[%d]", helper_noted("late", ".started", 0));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		EXPECT_NE(NULL, strcasestr(report, names[i]))
			TH_LOG("no \"%s\" in the report", names[i]);
	}
	EXPECT_EQ(NULL, log_find(self->log, REPORTED));
	log_expect("nothing");
	EXPECT_EQ(0, callers_done(callers, n));
	helper_go("late");
	callers_wait(callers, n);
	EXPECT_EQ(n - 1, callers_with(callers, n, 0));
}

/*
 * One who has waited for 10 s does so behind another one, and goes on to wait when
 * it is the turn of that one: which has only begun.
 */
TEST_F_SLOW(seen, wait_behind_others_is_told_once)
{
	long long begun;
	pid_t waiter;
	long slept;

	log_expect("Call Trace:");
	caller_add(&callers[0], TEST_KO, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	caller_add(&callers[1], TEST_KO, "gate=1 fail=-5", 0);
	/* What a helper has started looks every second whether it waits for itself. */
	helper_script("late", "load " TEST_KO "\n");
	requester_add(&callers[2], "late");
	waiter = helper_pid("late", 0);
	loader_settle(waiter);
	begun = now_ns();
	while (now_ns() - begun < 10 * NSEC_PER_SEC)
		nap();
	slept = process_sleeps(waiter);
	while (process_sleeps(waiter) < slept + 3)
		nap();
	EXPECT_NE(NULL, log_find(self->log, REPORTED));
	gates_open(1);
	callers_wait(callers, 1);
	gates_wait_entered(2);
	slept = process_sleeps(waiter);
	while (process_sleeps(waiter) < slept + 3)
		nap();
	EXPECT_EQ(NULL, log_find(self->log, REPORTED));
	log_expect("nothing");
	gates_open(3);
	callers_wait(&callers[1], 2);
	EXPECT_EQ(2, callers_with(callers, 2, EIO));
	EXPECT_EQ(0, callers[2].err);
	EXPECT_EQ(0, helper_result("late", 0));
}

TEST_HARNESS_MAIN
