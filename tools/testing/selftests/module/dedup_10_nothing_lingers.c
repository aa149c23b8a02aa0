// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 10 of Documentation/admin-guide/module-dedup.rst.
 *
 * When the leader is done its flight is gone. A failed load is retried by the
 * next caller; load, unload, load again at once works.
 */

#include <fcntl.h>

#include "lib/harness.h"

FIXTURE(nothing_lingers) {
	struct stats before;
};

FIXTURE_SETUP(nothing_lingers)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	quick_removals();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(nothing_lingers)
{
	unload("test_dedup");
}

TEST_F_TIMEOUT(nothing_lingers, load_and_unload_again, 300)
{
	int n = rounds(), loaded = 0, unloaded = 0;

	for (int i = 0; i < n; i++) {
		loaded += !load(TEST_KO, "", 0);
		unloaded += !unload("test_dedup");
	}
	EXPECT_EQ(n, loaded);
	EXPECT_EQ(n, unloaded);
	EXPECT_EQ(n, gates_entered());
	EXPECT_COUNT(n, stats_since(self->before).led);
}

TEST_F(nothing_lingers, a_failure_is_retried)
{
	for (int i = 1; i <= 10; i++) {
		EXPECT_EQ(EIO, load(TEST_KO, "fail=-5", 0));
		EXPECT_EQ(i, gates_entered());
	}
	EXPECT_EQ(0, load(TEST_KO, "", 0));
}

/* The flight held a reference to the file; the filesystem can go again. */
TEST_F(nothing_lingers, no_file_is_kept_open)
{
	int fd;

	ASSERT_EQ(0, copy_file(TEST_KO, "/tmp/test_dedup_kept.ko"));
	EXPECT_EQ(0, load("/tmp/test_dedup_kept.ko", "", 0));
	/* A lease for writing is given only if nobody else has the file open. */
	fd = open("/tmp/test_dedup_kept.ko", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, fcntl(fd, F_SETLEASE, F_WRLCK));
	close(fd);
	unlink("/tmp/test_dedup_kept.ko");
}

TEST_HARNESS_MAIN
