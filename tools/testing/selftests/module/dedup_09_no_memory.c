// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 9 of Documentation/admin-guide/module-dedup.rst.
 *
 * If a record cannot be allocated, the load goes on alone, and is
 * still one load.
 *
 * /proc/self/fail-nth makes the nth allocation of a system call fail, so each
 * of ours fails in turn.
 */

#include <fcntl.h>

#include "lib/faults.h"
#include "lib/harness.h"
#include "lib/log.h"

FIXTURE(no_memory) {
};

FIXTURE_SETUP(no_memory)
{
	if (!faults_init())
		SKIP(return, "this kernel has no failslab");
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
}

FIXTURE_TEARDOWN(no_memory)
{
	gates_open(~0);
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

		ASSERT_LE(0, fail_nth(nth));
		err = finit(fd, "tag=1", 0);
		ASSERT_LE(0, fail_nth(0));
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
	/* The arguments, and the ticket. */
	EXPECT_COUNT(2, alone);
	/* What comes next is the loader's. */
	if (has_counters())
		EXPECT_LE(2, ours);
	EXPECT_COUNT(0, stats_since(first).died);
	close(fd);
}

/*
 * Whichever record is missing, one of two callers loads the module. The other
 * one joins it, but for where the first one could not even be described.
 */
TEST_F_TIMEOUT(no_memory, one_load_without_each_of_our_allocations, 120)
{
	int joined = 0, read = 0, loads = 0;

	/* As above. */
	log_expect("Call Trace:");
	for (int nth = 1; ; nth++) {
		struct stats before = read_stats();
		bool alone;

		gates_reset();
		callers_init();
		callers_release();
		callers[0].failing = nth;
		caller_start(&callers[0], TEST_KO, "gate=0", 0);
		wait_entered_or_done(1, callers, 1);
		if (callers_done(callers, 1))
			break;

		alone = stats_since(before).bypassed;
		caller_add(&callers[1], TEST_KO, "gate=0", 0);
		gates_open(1);
		callers_wait(callers, 2);
		EXPECT_EQ(0, callers[0].err);
		EXPECT_EQ(1, gates_entered());
		if (!alone) {
			EXPECT_EQ(0, callers[1].err)
				TH_LOG("without allocation %d", nth);
			EXPECT_COUNT(1, stats_since(before).joined)
				TH_LOG("without allocation %d nobody could join", nth);
			loads++;
			joined += !callers[1].err;
			read += callers[1].read >= file_size(TEST_KO);
		}
		EXPECT_EQ(0, unload("test_dedup"));
	}
	log_expect("nothing");
	callers_wait(callers, 1);
	EXPECT_EQ(ENOMEM, callers[0].err);
	EXPECT_EQ(0, read);
	SAW("an allocation fails as a load begins, one more calls",
	    "%d of %d times one load is two",
	    loads - joined, loads);
}

/* The same for init_module(). */
TEST_F_TIMEOUT(no_memory, one_copy_without_each_of_our_allocations, 120)
{
	int alone = 0;

	/* What security modules allocate is for the first time only. */
	ASSERT_EQ(0, load_copy(TEST_KO, ""));
	ASSERT_EQ(0, unload("test_dedup"));
	/* As above. */
	log_expect("Call Trace:");
	for (int nth = 1; ; nth++) {
		struct stats before = read_stats(), since;

		gates_reset();
		callers_init();
		callers[0].failing = nth;
		copier_add(&callers[0], TEST_KO, "gate=0");
		wait_entered_or_done(1, callers, 1);
		if (callers_done(callers, 1))
			break;

		since = stats_since(before);
		EXPECT_COUNT(1, since.copies_led + since.bypassed);
		alone += since.bypassed;
		copier_add(&callers[1], TEST_KO, "gate=0");
		gates_open(1);
		callers_wait(callers, 2);
		EXPECT_EQ(0, callers[0].err);
		EXPECT_EQ(EEXIST, callers[1].err);
		EXPECT_EQ(1, gates_entered());
		if (!since.bypassed) {
			EXPECT_COUNT(1, stats_since(before).copies_joined)
				TH_LOG("without allocation %d nobody could join", nth);
		}
		EXPECT_EQ(0, unload("test_dedup"));
	}
	log_expect("nothing");
	callers_wait(callers, 1);
	EXPECT_EQ(ENOMEM, callers[0].err);
	/* The look at the image, and the ticket. */
	EXPECT_COUNT(2, alone);
}

TEST_HARNESS_MAIN
