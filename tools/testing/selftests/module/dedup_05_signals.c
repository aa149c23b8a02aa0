// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 5 of Documentation/admin-guide/module-dedup.rst.
 *
 * A signal ends the wait of the follower that gets it, restartably, and of no
 * other task.
 */

#include <signal.h>
#include <sys/ptrace.h>

#include "lib/harness.h"

#define N 5
/* Who is interrupted. */
#define VICTIM 3

/* Signals that were handled, in memory that the test sees. */
static atomic_int *handled;

FIXTURE(signals) {
	struct stats before;
};

FIXTURE_SETUP(signals)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(signals)
{
	gates_open(~0);
	unload("test_dedup");
}

static void count_signal(int sig)
{
	atomic_fetch_add(handled, 1);
}

static void handle(int sa_flags)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = sa_flags };

	sigaction(SIGUSR1, &action, NULL);
}

static void handle_plain(struct caller *c)
{
	handle(0);
}

static void handle_restart(struct caller *c)
{
	handle(SA_RESTART);
}

/* A leader at its gate, and followers asleep. */
static void start(void (*before)(struct caller *c))
{
	handled = shared_memory(sizeof(*handled));
	callers_release();
	for (int i = 0; i < N; i++)
		callers[i].before = before;
	caller_start(&callers[0], TEST_KO, "gate=0", 0);
	gates_wait_entered(1);
	for (int i = 1; i < N; i++)
		caller_start(&callers[i], TEST_KO, "gate=0", 0);
	callers_settle(callers, N);
}

static void signal_victim(int sig)
{
	kill(callers[VICTIM].pid, sig);
	while (!atomic_load(handled))
		nap();
}

TEST_F(signals, plain_signal)
{
	start(handle_plain);
	signal_victim(SIGUSR1);
	callers_wait(&callers[VICTIM], 1);
	EXPECT_EQ(EINTR, callers[VICTIM].err);
	EXPECT_COUNT(1, stats_since(self->before).interrupted);
	for (int i = 0; i < N; i++)
		EXPECT_EQ(i == VICTIM, atomic_load(&callers[i].done));

	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(N - 1, callers_with(callers, N, 0));
	EXPECT_COUNT(N - 2, stats_since(self->before).joined);
}

TEST_F(signals, restarted_after_the_handler)
{
	start(handle_restart);
	signal_victim(SIGUSR1);
	callers_settle(&callers[VICTIM], 1);
	EXPECT_FALSE(atomic_load(&callers[VICTIM].done));

	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(N, callers_with(callers, N, 0));
	EXPECT_COUNT(1, stats_since(self->before).interrupted);
	EXPECT_COUNT(N - 1, stats_since(self->before).joined);
	SAW("a follower gets a signal with SA_RESTART", "it returns %s",
	    errno_name(callers[VICTIM].err));
}

TEST_F(signals, killed_follower)
{
	int status;

	start(NULL);
	kill(callers[VICTIM].pid, SIGKILL);
	/* At once: the gate is still closed. */
	ASSERT_EQ(callers[VICTIM].pid, waitpid(callers[VICTIM].pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_FALSE(atomic_load(&callers[VICTIM].done));

	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(N - 1, callers_with(callers, N, 0));
	EXPECT_TRUE(module_live("test_dedup"));
}

TEST_F(signals, all_followers_killed)
{
	start(NULL);
	for (int i = 1; i < N; i++)
		kill(callers[i].pid, SIGKILL);
	callers_wait(&callers[1], N - 1);
	gates_open(1);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_COUNT(N - 1, stats_since(self->before).interrupted);
}

/* A debugger comes and goes: the call notices nothing. */
TEST_F(signals, debugger)
{
	pid_t pid;
	int status;

	start(NULL);
	pid = callers[VICTIM].pid;
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, pid, NULL, NULL));
	/* Asleep again. Later, and it could find the module live. */
	callers_settle(&callers[VICTIM], 1);

	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(N, callers_with(callers, N, 0));
	SAW("a debugger attaches to a follower, and goes", "it returns %s",
	    errno_name(callers[VICTIM].err));
}

/* The same for one that waits behind another call, and has a follower. */
TEST_F(signals, killed_in_line)
{
	caller_add(&callers[0], TEST_KO, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	caller_add(&callers[1], TEST_KO, "tag=1", 0);
	caller_add(&callers[2], TEST_KO, "tag=1", 0);
	caller_add(&callers[3], TEST_KO, "tag=2", 0);
	kill(callers[1].pid, SIGKILL);
	callers_wait(&callers[1], 1);

	gates_open(1);
	callers_wait(callers, 4);
	EXPECT_EQ(EIO, callers[0].err);
	/* Two different calls: one of them made the module live. */
	EXPECT_EQ(1, callers_with(&callers[2], 2, 0));
	EXPECT_EQ(1, callers_with(&callers[2], 2, EEXIST));
	EXPECT_COUNT(1, stats_since(self->before).interrupted);
}

TEST_HARNESS_MAIN
