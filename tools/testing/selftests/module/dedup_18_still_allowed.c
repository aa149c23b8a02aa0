// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 18 of Documentation/admin-guide/module-dedup.rst.
 *
 * A caller that has waited is checked again before it loads a module
 * itself, by whatever way it came to that.
 *
 * What changes meanwhile is kernel.modules_disabled, which cannot be undone
 * before the next boot. So this is left out unless DEDUP_TEST_MODULES_DISABLED
 * is set, and then it has to be the last test of all.
 */

#include <fcntl.h>
#include <signal.h>

#include "lib/faults.h"
#include "lib/harness.h"

#define ALLOW "DEDUP_TEST_MODULES_DISABLED"
#define DISABLED "/proc/sys/kernel/modules_disabled"
#define OTHERS 4

FIXTURE(still_allowed) {
	struct stats before;
};

FIXTURE_SETUP(still_allowed)
{
	if (!getenv(ALLOW))
		SKIP(return, "no module could be loaded after it, until the next boot: " ALLOW
		     "=1 allows that");
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(still_allowed)
{
	gates_open(~0);
}

/* Which of the allocations of a call is that of its ticket, or 0. */
static int ticket_allocation(void)
{
	int alone = 0, nth = 0, err = 0, fd;

	if (!has_counters() || !faults_init())
		return 0;
	fd = open(C_KO, O_RDONLY | O_CLOEXEC);
	/* Without memory for its arguments a call goes alone, too. */
	while (alone < 2 && !err) {
		struct stats before = read_stats();

		fail_nth(++nth);
		err = finit(fd, "tag=1", 0);
		fail_nth(0);
		unload("test_dedup_c");
		alone += stats_since(before).bypassed;
	}
	close(fd);
	return err ? 0 : nth;
}

TEST_F(still_allowed, modules_are_disabled_meanwhile)
{
	struct caller *in_line = &callers[1], *leader = &callers[1 + OTHERS];
	struct caller *followers = leader + 1, *without_memory = followers + OTHERS;
	struct caller *copier = without_memory + 1, *copiers = copier + 1;
	struct stats since;
	int err;

	without_memory->failing = ticket_allocation();
	gates_reset();
	self->before = read_stats();
	/* These wait for their turn: two that are the same call, and two more. */
	caller_add(&callers[0], TEST_KO, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	caller_add(&in_line[0], TEST_KO, "tag=1", 0);
	caller_add(&in_line[1], TEST_KO, "tag=1", 0);
	caller_add(&in_line[2], TEST_KO, "tag=2", 0);
	caller_add(&in_line[3], TEST_KO, "tag=3", 0);
	/* These follow, and have to try again if their leader is killed. */
	caller_add(leader, B_KO, "gate=1", 0);
	gates_wait_entered(2);
	callers_start(followers, OTHERS, B_KO, "gate=1", 0);
	callers_settle(followers, OTHERS);
	/* And this one, which will have no memory for a ticket then. */
	caller_add(without_memory, B_KO, "gate=1", 0);
	/* These follow a copy. */
	copier_add(copier, C_KO, "gate=2");
	gates_wait_entered(3);
	copiers_start(copiers, OTHERS, C_KO, "gate=2");
	callers_settle(copiers, OTHERS);
	EXPECT_EQ(0, callers_done(callers, 4 + 3 * OTHERS));
	EXPECT_EQ(self->before.bypassed, read_stats().bypassed);

	ASSERT_EQ(0, spit(DISABLED, "1"));
	err = load(C_KO, "", 0);
	EXPECT_EQ(EPERM, err);

	kill(leader->pid, SIGKILL);
	kill(copier->pid, SIGKILL);
	callers_wait(leader, 1);
	callers_wait(copier, 1);
	gates_open(~0);
	callers_wait(callers, 1 + OTHERS);
	callers_wait(followers, OTHERS + 1);
	callers_wait(copiers, OTHERS);
	/* It had begun to load before. */
	EXPECT_EQ(EIO, callers[0].err);
	EXPECT_EQ(OTHERS, callers_with(in_line, OTHERS, EPERM));
	EXPECT_EQ(OTHERS, callers_with(followers, OTHERS, EPERM));
	EXPECT_EQ(EPERM, without_memory->err);
	EXPECT_EQ(OTHERS, callers_with(copiers, OTHERS, EPERM));
	EXPECT_EQ(3, gates_entered());
	EXPECT_FALSE(module_live("test_dedup"));
	EXPECT_FALSE(module_live("test_dedup_b"));
	EXPECT_FALSE(module_live("test_dedup_c"));
	SAW("modules_disabled=1 is set while 4 wait in line and 4 follow",
	    "%d and %d get EPERM, %d and %d succeed", callers_with(in_line, OTHERS, EPERM),
	    callers_with(followers, OTHERS, EPERM), callers_with(in_line, OTHERS, 0),
	    callers_with(followers, OTHERS, 0));

	since = stats_since(self->before);
	EXPECT_COUNT(0, since.interrupted);
	EXPECT_COUNT(0, since.late);
	EXPECT_COUNT(!!without_memory->failing, since.bypassed);
}

TEST_HARNESS_MAIN
