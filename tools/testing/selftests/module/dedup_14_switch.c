// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 14 of Documentation/admin-guide/module-dedup.rst.
 *
 * module.dedup= is on, c or off, and can be changed at any time. So can
 * module.dedup_requests=, which leaves out requests alone.
 */

#include "dedup_harness.h"

#define N 8

FIXTURE(mode) {
	struct stats before;
};

FIXTURE_SETUP(mode)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	set_dedup("on");
	self->before = read_stats();
}

FIXTURE_TEARDOWN(mode)
{
	gates_open(~0);
	set_dedup("on");
	unload("test_dedup");
}

TEST_F(mode, values)
{
	static const char * const modes[] = { "off", "c", "on" };
	char buf[16];

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(0, spit(DEDUP_PARAM, modes[i]));
		ASSERT_LT(0, slurp(DEDUP_PARAM, buf, sizeof(buf)));
		EXPECT_STREQ(modes[i], strtok(buf, "\n"));
	}
	EXPECT_EQ(-EINVAL, spit(DEDUP_PARAM, "bogus"));
	EXPECT_EQ(-EINVAL, spit(DEDUP_PARAM, "1"));
	ASSERT_LT(0, slurp(DEDUP_PARAM, buf, sizeof(buf)));
	EXPECT_STREQ("on\n", buf);
}

static void storm(const char *mode)
{
	set_dedup(mode);
	callers_start(callers, N, TEST_KO, "gate=0", 0);
	callers_release();
	callers_settle(callers, N);
	gates_open(1);
	callers_wait(callers, N);
}

TEST_F(mode, off_joins_nothing)
{
	struct stats since;

	storm("off");
	EXPECT_EQ(1, callers_with(callers, N, 0));
	EXPECT_EQ(N - 1, callers_with(callers, N, EEXIST));
	since = stats_since(self->before);
	EXPECT_LE((N - 1) * file_size(TEST_KO), since.wasted);
	EXPECT_EQ(0, since.led + since.joined + since.bypassed);
}

TEST_F(mode, c_joins_without_us)
{
	struct stats since;

	storm("c");
	EXPECT_EQ(N, callers_with(callers, N, 0));
	since = stats_since(self->before);
	EXPECT_EQ(0, since.wasted);
	EXPECT_EQ(0, since.led + since.joined + since.bypassed);
}

TEST_F(mode, flights_that_are_up_finish)
{
	struct stats since;

	callers_start(callers, N, TEST_KO, "gate=0", 0);
	callers_release();
	callers_settle(callers, N);
	set_dedup("off");
	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(N, callers_with(callers, N, 0));
	since = stats_since(self->before);
	EXPECT_COUNT(1, since.led);
	EXPECT_COUNT(N - 1, since.joined);
}

TEST_HARNESS_MAIN
