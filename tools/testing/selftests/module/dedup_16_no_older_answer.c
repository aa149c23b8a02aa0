// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 16 of Documentation/admin-guide/module-dedup.rst.
 *
 * Nobody gets an answer that is older than the question. A load that
 * has failed takes no more followers, even if its leader is not back yet: who
 * calls then has perhaps done something about what it failed for.
 */

#include <signal.h>

#include "lib/cpu.h"
#include "lib/harness.h"
#include "lib/log.h"
#include "lib/process.h"

#define CONF "/tmp/test_dedup_conf"
#define OPEN "gate=0 path=" CONF
#define BASE_KO MODULES_DIR "test_dedup_base.ko"
#define USER_KO MODULES_DIR "test_dedup_user_a.ko"
#define FOLLOWERS 3
#define TRIES 50

FIXTURE(no_older_answer) {
	struct stats before;
};

static void clean_up(void)
{
	gates_hold_going(-1);
	gates_open(~0);
	unload("test_dedup");
	unload("test_dedup_user_a");
	unload("test_dedup_base");
	unlink(CONF);
}

FIXTURE_SETUP(no_older_answer)
{
	ASSERT_EQ(0, gates_load());
	clean_up();
	gates_reset();
	callers_init();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(no_older_answer)
{
	clean_up();
}

/* Init does not find a file. While that is cleaned up the file is made. */
TEST_F(no_older_answer, after_init_has_failed)
{
	struct caller *early = &callers[1], *late = &callers[1 + FOLLOWERS];

	gates_hold_going(1);
	caller_add(&callers[0], TEST_KO, OPEN, 0);
	gates_wait_entered(1);
	callers_start(early, FOLLOWERS, TEST_KO, OPEN, 0);
	callers_settle(early, FOLLOWERS);
	gates_open(1);
	gates_wait_going(1);
	EXPECT_EQ(0, callers_done(callers, 1));

	ASSERT_EQ(0, write_file(CONF, "", 0));
	callers_start(late, FOLLOWERS, TEST_KO, OPEN, 0);
	callers_settle(late, FOLLOWERS);
	gates_open(3);
	callers_wait(callers, 1 + 2 * FOLLOWERS);

	/* Whoever had asked before gets that answer, with one load for all. */
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, ENOENT));
	EXPECT_EQ(FOLLOWERS, callers_with(late, FOLLOWERS, 0))
		TH_LOG("%d got an answer from before they asked",
		       callers_with(late, FOLLOWERS, ENOENT));
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));
	EXPECT_COUNT(2 * FOLLOWERS - 1, stats_since(self->before).joined);
	SAW("init fails, the reason is mended, then 3 call", "%d of them fail, %d succeed",
	    callers_with(late, FOLLOWERS, ENOENT), callers_with(late, FOLLOWERS, 0));
}

/* The same if nobody has followed: then nobody need be told. */
TEST_F(no_older_answer, after_a_parameter_was_refused)
{
	gates_hold_going(1);
	caller_add(&callers[0], TEST_KO, "gate=x", 0);
	gates_wait_going(1);
	caller_add(&callers[1], TEST_KO, "gate=x", 0);
	gates_open(3);
	callers_wait(callers, 2);
	EXPECT_EQ(2, callers_with(callers, 2, EINVAL));
	EXPECT_COUNT(0, stats_since(self->before).joined);
	EXPECT_COUNT(2, stats_since(self->before).led);
}

/*
 * Takes the CPU away from a leader whose load has failed, before it is back: it
 * waits for a grace period then, with the lock of the list of modules, for which
 * this process waits in turn. When it gets that it goes before the leader, and
 * never lets it run again.
 */
static pid_t stop_failed_leader(const struct caller *leader, atomic_int *ready,
				atomic_int *stopped)
{
	static char modules[65536];
	pid_t pid = fork();
	int log;

	if (pid)
		return pid;
	log = log_open();
	cpu_take_last();
	atomic_store(ready, 1);
	while (!log_find(log, "test_dedup_user_a: Unknown symbol"))
		nap();
	while (!process_sleeps_deeply(leader->pid)) {
		if (atomic_load(&leader->done))
			_exit(0);
		nap();
	}
	slurp("/proc/modules", modules, sizeof(modules));
	if (atomic_load(&leader->done))
		_exit(0);
	atomic_store(stopped, 1);
	for (;;)
		;
}

/* A module that is needed is not there. While that is cleaned up it is loaded. */
TEST_F(no_older_answer, after_a_symbol_was_missing)
{
	atomic_int *shared = shared_memory(2 * sizeof(*shared));
	atomic_int *ready = &shared[0], *stopped = &shared[1];
	pid_t busy = 0;
	int base;

	if (!cpu_has_others())
		SKIP(return, "the leader needs a CPU of its own");
	cpu_allow_starving(true);
	for (int i = 0; i < TRIES && !atomic_load(stopped); i++) {
		callers_init();
		callers[0].before = on_last_cpu;
		callers_start(callers, 1, USER_KO, "", 0);
		atomic_store(ready, 0);
		busy = stop_failed_leader(&callers[0], ready, stopped);
		while (!atomic_load(ready))
			nap();
		callers_release();
		while (!atomic_load(stopped) && !atomic_load(&callers[0].done))
			nap();
		if (!atomic_load(stopped)) {
			/* It was quicker. */
			kill(busy, SIGKILL);
			waitpid(busy, NULL, 0);
			callers_wait(callers, 1);
		}
	}
	if (!atomic_load(stopped)) {
		cpu_allow_starving(false);
		SKIP(return, "the leader was always back too soon");
	}

	base = load(BASE_KO, "", 0);
	caller_add(&callers[1], USER_KO, "", 0);
	kill(busy, SIGKILL);
	waitpid(busy, NULL, 0);
	cpu_allow_starving(false);
	callers_wait(callers, 2);
	EXPECT_EQ(0, base);
	EXPECT_EQ(ENOENT, callers[0].err);
	EXPECT_EQ(0, callers[1].err);
	EXPECT_TRUE(module_live("test_dedup_user_a"));
	SAW("a module is missing, then loaded, then the one that needs it is loaded", "%s",
	    errno_name(callers[1].err));
}

TEST_HARNESS_MAIN
