// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 3 of Documentation/admin-guide/module-dedup.rst.
 *
 * A call that returns 0 returns after the module was live, and joined before
 * anybody could have removed it.
 */

#include <fcntl.h>
#include <sched.h>

#include "lib/harness.h"

#define LOADERS 4

FIXTURE(live) {
};

FIXTURE_SETUP(live)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	quick_removals();
}

FIXTURE_TEARDOWN(live)
{
	gates_open(~0);
	unload("test_dedup");
}

TEST_F(live, followers_return_after_the_module_is_live)
{
	callers_start(callers, 16, TEST_KO, "gate=0", 0);
	callers_release();
	callers_settle(callers, 16);
	EXPECT_EQ(0, callers_done(callers, 16));
	EXPECT_FALSE(module_live("test_dedup"));
	gates_open(1);
	callers_wait(callers, 16);
	EXPECT_EQ(16, callers_with(callers, 16, 0));
	EXPECT_TRUE(module_live("test_dedup"));
}

/* One process for the whole test: loads and checks, as often as it is told. */
static void loader(int n, const atomic_int *round, atomic_int *over, atomic_int *wrong)
{
	int fd = open(TEST_KO, O_RDONLY);

	for (int i = 1; i <= n; i++) {
		int err;

		while (atomic_load(round) < i)
			nap();
		err = finit(fd, "", 0);
		/* EBUSY: it met, by name, a module that somebody was removing. */
		if (err && err != EEXIST && err != EBUSY)
			atomic_fetch_add(wrong, 1);
		atomic_fetch_add(over, 1);
	}
}

/*
 * Several loaders and one that removes the module as soon as it can, while the
 * last followers return. Then nobody but the remover is left, and what its own
 * call says must be true: a call that joined a load which had already given up
 * its module would return 0 with no module there.
 */
TEST_F_TIMEOUT(live, removal_races_the_last_followers, 600)
{
	atomic_int *shared = shared_memory(3 * sizeof(*shared));
	atomic_int *round = &shared[0], *over = &shared[1], *wrong = &shared[2];
	int n = rounds(), removed = 0, ghosts = 0;
	pid_t pids[LOADERS];

	for (int i = 0; i < LOADERS; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (pids[i] == 0) {
			loader(n, round, over, wrong);
			_exit(0);
		}
	}

	for (int i = 1; i <= n; i++) {
		int err;

		atomic_store(round, i);
		while (unload("test_dedup") && atomic_load(over) < i * LOADERS)
			sched_yield();
		/* It was removed, or everybody is done. */
		err = load(TEST_KO, "", 0);
		if (!err)
			ghosts += !module_live("test_dedup") &&
				  atomic_load(over) == i * LOADERS;
		while (atomic_load(over) < i * LOADERS)
			nap();
		/* It joined a leader that had met the module on its way out. */
		if (err == EBUSY)
			err = load(TEST_KO, "", 0);
		EXPECT_TRUE(!err || err == EEXIST);
		/* All have returned: whoever was last found or made it live. */
		EXPECT_TRUE(module_live("test_dedup"));
		removed += !unload("test_dedup");
	}

	for (int i = 0; i < LOADERS; i++)
		waitpid(pids[i], NULL, 0);
	EXPECT_EQ(n, removed);
	EXPECT_EQ(0, ghosts);
	EXPECT_EQ(0, atomic_load(wrong));
	munmap(shared, 3 * sizeof(*shared));
}

TEST_HARNESS_MAIN
