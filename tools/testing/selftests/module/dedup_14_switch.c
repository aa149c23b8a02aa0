// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 14 of Documentation/admin-guide/module-dedup.rst.
 *
 * Module.dedup= is on, c or off, and can be changed at any time.
 * Requests can be left out by themselves, with module.dedup_requests=.
 */

#include "lib/harness.h"
#include "lib/helpers.h"
#include "lib/requests.h"

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
	set_dedup_requests("Y");
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

TEST_F(mode, requests_values)
{
	static const char * const modes[] = { "N", "Y", "0", "1" };
	char buf[16];

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(0, spit(REQUESTS_PARAM, modes[i]));
		ASSERT_LT(0, slurp(REQUESTS_PARAM, buf, sizeof(buf)));
		EXPECT_STREQ(i % 2 ? "Y\n" : "N\n", buf);
	}
	EXPECT_EQ(-EINVAL, spit(REQUESTS_PARAM, "bogus"));
	ASSERT_LT(0, slurp(REQUESTS_PARAM, buf, sizeof(buf)));
	EXPECT_STREQ("Y\n", buf);
	/* This is not what the other one says. */
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

/* Loads are joined all the same. */
TEST_F(mode, requests_left_out)
{
	struct stats since;

	ASSERT_EQ(0, requests_load());
	self->before = read_stats();
	ASSERT_EQ(0, spit(REQUESTS_PARAM, "N"));
	ASSERT_EQ(0, helper_install());
	helper_script("wanted", "load " TEST_KO " gate=0\nanswer\n");
	requesters_start(callers, N, "wanted");
	callers_release();
	gates_wait_entered(1);
	for (int i = 0; i < N; i++)
		loader_settle(helper_pid("wanted", i));
	gates_open(1);
	callers_wait(callers, N);
	helper_restore();
	EXPECT_EQ(N, callers_with(callers, N, 0));
	EXPECT_EQ(N, helpers_started("wanted"));
	since = stats_since(self->before);
	EXPECT_EQ(1, since.led);
	EXPECT_EQ(N - 1, since.joined);
	EXPECT_EQ(0, since.requests_led + since.requests_joined + since.requests_alone);
}

TEST_HARNESS_MAIN
