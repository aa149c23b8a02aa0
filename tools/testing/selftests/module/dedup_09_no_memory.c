// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 9 of Documentation/admin-guide/module-dedup.rst.
 *
 * If a record cannot be allocated, the load goes on.
 *
 * /proc/self/fail-nth makes the nth allocation of a system call fail, so each
 * of ours fails in turn.
 */

#include "dedup_harness.h"

FIXTURE(no_memory) {
};

FIXTURE_SETUP(no_memory)
{
	if (access(FAILSLAB, F_OK) || access(FAIL_NTH, F_OK))
		SKIP(return, "this kernel has no failslab");
	ASSERT_EQ(0, gates_load());
	gates_reset();
	/* Also allocations that may sleep. */
	ASSERT_EQ(0, spit(FAILSLAB "ignore-gfp-wait", "N"));
	ASSERT_EQ(0, spit(FAILSLAB "verbose", "0"));
}

FIXTURE_TEARDOWN(no_memory)
{
	unload("test_dedup");
}

TEST_F_TIMEOUT(no_memory, each_of_our_allocations, 120)
{
	int ours = 0, alone = 0, fd = open(TEST_KO, O_RDONLY);
	struct stats first = read_stats();
	int err;

	/* The last round meets an allocation of the loader, which complains. */
	log_expect("Call Trace:");

	/* Ours are the first ones of a call: from the copy of the arguments on. */
	for (int nth = 1; ; nth++) {
		struct stats before = read_stats();
		char text[16];
		int fail = open(FAIL_NTH, O_WRONLY);

		ASSERT_LE(0, fail);
		snprintf(text, sizeof(text), "%d", nth);
		ASSERT_LT(0, write(fail, text, strlen(text)));
		err = finit(fd, "tag=1", 0);
		ASSERT_LT(0, write(fail, "0", 1));
		close(fail);

		if (err)
			break;
		ours++;
		alone += stats_since(before).bypassed;
		EXPECT_TRUE(module_live("test_dedup"));
		EXPECT_EQ(0, unload("test_dedup"));
	}
	log_expect("nothing");
	TH_LOG("%d allocations failed", ours);
	EXPECT_EQ(ENOMEM, err);
	/* The arguments, the flight and its node. */
	EXPECT_COUNT(3, alone);
	/*
	 * Without a place in the wait graph, and unwatched, a leader still
	 * leads. What comes next is the loader's, which also knows allocations
	 * that it can do without.
	 */
	if (has_counters())
		EXPECT_LE(5, ours);
	EXPECT_COUNT(0, stats_since(first).died);
	close(fd);
}

TEST_HARNESS_MAIN
