// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 13 of Documentation/admin-guide/module-dedup.rst.
 *
 * The counters can be read at any time, each call is counted as one thing, and
 * the lines of before are all there.
 */

#include <signal.h>

#include "lib/harness.h"

FIXTURE(counters) {
	struct stats before;
};

FIXTURE_SETUP(counters)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(counters)
{
	gates_open(~0);
	unload("test_dedup");
}

static const char * const lines[] = {
	"Mods ever loaded", "Mods failed on kread", "Mods failed on decompress",
	"Mods failed on becoming", "Mods failed on load", "Total module size",
	"Total mod text size", "Failed kread bytes", "Failed decompress bytes",
	"Failed becoming bytes", "Failed kmod bytes", "Virtual mem wasted bytes",
	"Average mod size", "Average mod text size",
	"Flights led", "Calls joined", "Joined bytes saved", "Most followers at once",
	"Followers interrupted", "Same file, other call", "Retried after leader end",
	"Late duplicates", "Copies led", "Copies joined", "Late copies", "Copy bytes saved",
	"Calls not joinable", "Leaders that died", "Deadlocks refused",
	"Requests led", "Requests joined", "Requests not joinable", "Total time waited (us)",
	"Longest wait (us)",
};

TEST_F(counters, every_line_once_and_in_the_same_form)
{
	char buf[65536], expected[64];

	ASSERT_LT(0, slurp(STATS, buf, sizeof(buf)));
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char *hit;

		snprintf(expected, sizeof(expected), "%25s\t", lines[i]);
		hit = strstr(buf, expected);
		ASSERT_NE(NULL, hit)
			TH_LOG("no line '%s'", lines[i]);
		EXPECT_EQ(NULL, strstr(hit + 1, expected));
		EXPECT_NE(0, strspn(strchr(hit, '\t') + 1, "0123456789"));
	}
}

TEST_F(counters, each_call_is_one_thing)
{
	struct stats since;
	const int n = 60;

	/* One leads, 19 follow; 20 wait behind it, of which 19 follow; 20 cannot be compared. */
	callers_release();
	caller_start(&callers[0], TEST_KO, "gate=0", 0);
	gates_wait_entered(1);
	for (int i = 1; i < n; i++)
		caller_start(&callers[i], TEST_KO, i < 20 ? "gate=0" : i < 40 ? "tag=1" : NULL, 0);
	callers_settle(callers, n);
	EXPECT_COUNT(20, stats_since(self->before).bypassed);
	kill(callers[10].pid, SIGKILL);
	callers_wait(&callers[10], 1);
	gates_open(1);
	callers_wait(callers, n);

	since = stats_since(self->before);
	EXPECT_COUNT(2, since.led);
	EXPECT_COUNT(18 + 19, since.joined);
	EXPECT_COUNT((18 + 19) * file_size(TEST_KO), since.bytes);
	EXPECT_COUNT(1, since.interrupted);
	EXPECT_COUNT(1, since.behind);
	EXPECT_EQ(n, since.led + since.joined + since.interrupted + since.bypassed);
}

TEST_F(counters, read_while_a_flight_is_up)
{
	long long last = self->before.led;

	callers_start(callers, 64, TEST_KO, "gate=0", 0);
	callers_release();
	for (int i = 0; i < 200; i++) {
		struct stats now = read_stats();

		ASSERT_LE(last, now.led);
		last = now.led;
	}
	callers_settle(callers, 64);
	gates_open(1);
	callers_wait(callers, 64);
	EXPECT_EQ(64, callers_with(callers, 64, 0));
	EXPECT_COUNT(63, stats_since(self->before).joined);
}

TEST_HARNESS_MAIN
