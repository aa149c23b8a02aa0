// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 6 of Documentation/admin-guide/module-dedup.rst.
 *
 * An end that comes from the leader and not from the file is not shared. The
 * followers try again: one leads, the others follow that one.
 */

#include "dedup_harness.h"

#define FOLLOWERS 6
#define OWNER_KO MODULES_DIR "test_dedup_owner.ko"
#define BORROWER_KO MODULES_DIR "test_dedup_borrower.ko"

FIXTURE(private_end) {
	struct stats before;
};

FIXTURE_SETUP(private_end)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(private_end)
{
	gates_open(~0);
	unload("test_dedup");
}

static void nothing(int sig)
{
}

static void handle(struct caller *c)
{
	struct sigaction action = { .sa_handler = nothing };

	sigaction(SIGUSR1, &action, NULL);
}

static void handle_restart(struct caller *c)
{
	struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &action, NULL);
}

/* A leader at its gate, and followers asleep. */
static void start(const char *args)
{
	callers_release();
	callers[0].before = handle;
	caller_start(&callers[0], TEST_KO, args, 0);
	gates_wait_entered(1);
	callers_start(&callers[1], FOLLOWERS, TEST_KO, args, 0);
	callers_settle(&callers[1], FOLLOWERS);
}

/* The second leader comes to the gate, the others wait for it. */
static void go_on(struct __test_metadata *_metadata, const struct stats *before,
		  const char *what)
{
	struct stats since;

	callers_wait_retried(before, &callers[1], FOLLOWERS);
	wait_entered_or_done(2, &callers[1], FOLLOWERS);
	ksft_print_msg("saw: %s, 6 wait: %d of them get EINTR, ", what,
		       callers_with(&callers[1], FOLLOWERS, EINTR));
	gates_open(1);
	callers_wait(&callers[1], FOLLOWERS);
	printf("%d succeed\n", callers_with(&callers[1], FOLLOWERS, 0));
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, 0));
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));

	since = stats_since(*before);
	EXPECT_COUNT(2, since.led);
	EXPECT_COUNT(FOLLOWERS - 1, since.joined);
	EXPECT_COUNT(FOLLOWERS, since.retried);
	EXPECT_COUNT(0, since.interrupted);
}

TEST_F(private_end, killed_leader)
{
	start("gate=0");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	go_on(_metadata, &self->before, "the leader is killed");
}

TEST_F(private_end, killed_leader_whose_wait_is_interruptible)
{
	start("gate=0 interruptible=1");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	go_on(_metadata, &self->before, "the leader is killed in an interruptible wait");
}

TEST_F(private_end, interrupted_leader)
{
	start("gate=0 interruptible=1");
	kill(callers[0].pid, SIGUSR1);
	callers_wait(callers, 1);
	EXPECT_EQ(EINTR, callers[0].err);
	go_on(_metadata, &self->before, "the leader gets a signal");
}

/* The leader's call is restarted, and then one like any other. */
TEST_F(private_end, restarted_leader)
{
	struct stats since;

	callers_release();
	callers[0].before = handle_restart;
	caller_start(&callers[0], TEST_KO, "gate=0 interruptible=1 interrupted=-512", 0);
	gates_wait_entered(1);
	callers_start(&callers[1], FOLLOWERS, TEST_KO,
		      "gate=0 interruptible=1 interrupted=-512", 0);
	callers_settle(&callers[1], FOLLOWERS);
	kill(callers[0].pid, SIGUSR1);
	callers_wait_retried(&self->before, &callers[1], FOLLOWERS);
	wait_entered_or_done(2, callers, 1 + FOLLOWERS);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, 0));
	EXPECT_EQ(2, gates_entered());
	since = stats_since(self->before);
	EXPECT_COUNT(2, since.led);
	EXPECT_COUNT(FOLLOWERS, since.joined);
	EXPECT_COUNT(FOLLOWERS, since.retried);
	SAW("the leader gets a signal with SA_RESTART, 6 wait", "leader %s, %d of them succeed",
	    errno_name(callers[0].err), callers_with(&callers[1], FOLLOWERS, 0));
}

/* Wherever in the loader the signal finds the leader. */
TEST_F(private_end, interrupted_while_it_waits_for_symbols)
{
	struct stats since;

	caller_add(&callers[0], OWNER_KO, "gate=0", 0);
	gates_wait_entered(1);
	callers[1].before = handle;
	for (int i = 1; i <= FOLLOWERS; i++)
		caller_add(&callers[i], BORROWER_KO, "", 0);
	kill(callers[1].pid, SIGUSR1);
	callers_wait(&callers[1], 1);
	EXPECT_EQ(EINTR, callers[1].err);
	callers_wait_retried(&self->before, &callers[2], FOLLOWERS - 1);
	callers_settle(&callers[2], FOLLOWERS - 1);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(FOLLOWERS - 1, callers_with(&callers[2], FOLLOWERS - 1, 0));
	since = stats_since(self->before);
	EXPECT_COUNT(FOLLOWERS - 1, since.retried);
	EXPECT_COUNT(FOLLOWERS - 2, since.joined);
	EXPECT_EQ(0, unload("test_dedup_borrower"));
	EXPECT_EQ(0, unload("test_dedup_owner"));
	SAW("the leader gets a signal while it waits for symbols, 5 wait",
	    "leader %s, %d of them succeed", errno_name(callers[1].err),
	    callers_with(&callers[2], FOLLOWERS - 1, 0));
}

/* An error of that name that the module itself returns is for all. */
TEST_F(private_end, init_returns_eintr)
{
	start("gate=0 fail=-4");
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, EINTR));
	EXPECT_EQ(1, gates_entered());
}

/* Followers without a signal must not restart: they get EINTR. */
TEST_F(private_end, init_returns_erestartsys)
{
	start("gate=0 fail=-512");
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(512, callers[0].err);
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, EINTR));
	EXPECT_EQ(1, gates_entered());
}

TEST_HARNESS_MAIN
