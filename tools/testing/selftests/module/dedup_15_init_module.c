// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 15 of Documentation/admin-guide/module-dedup.rst.
 *
 * init_module() is not joined.
 */

#include <sys/syscall.h>

#include "lib/harness.h"

#define N 4

static char *image;
static size_t image_len;

static int init(const char *args)
{
	return syscall(SYS_init_module, image, image_len, args) ? errno : 0;
}

FIXTURE(init_module) {
};

FIXTURE_SETUP(init_module)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
}

FIXTURE_TEARDOWN(init_module)
{
	gates_open(~0);
	unload("test_dedup");
}

TEST_F(init_module, loads_and_is_not_joined)
{
	struct stats before, since;
	char path[64], buf[512];
	int good = 0;
	pid_t pids[N];

	image = read_file(TEST_KO, &image_len);
	ASSERT_NE(NULL, image);
	before = read_stats();

	for (int i = 0; i < N; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (pids[i] == 0)
			_exit(init("gate=0"));
	}
	/* One is at its gate, the others wait for the name. */
	for (int i = 0; i < N; i++) {
		snprintf(path, sizeof(path), "/proc/%d/syscall", pids[i]);
		while (slurp(path, buf, sizeof(buf)) <= 0 || atoi(buf) != SYS_init_module)
			nap();
	}
	gates_wait_entered(1);
	gates_open(1);

	for (int i = 0; i < N; i++) {
		int status;

		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		good += WEXITSTATUS(status) == 0;
		if (WEXITSTATUS(status))
			EXPECT_EQ(EEXIST, WEXITSTATUS(status));
	}
	EXPECT_EQ(1, good);
	EXPECT_TRUE(module_live("test_dedup"));

	since = stats_since(before);
	EXPECT_COUNT(0, since.led);
	EXPECT_COUNT(0, since.joined);
	EXPECT_COUNT(0, since.bypassed);
	EXPECT_EQ(0, unload("test_dedup"));
}

TEST_HARNESS_MAIN
