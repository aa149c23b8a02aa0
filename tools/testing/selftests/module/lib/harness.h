/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kselftest harness, as the module load de-duplication selftests use it, and
 * what most of them need. They also run on kernels without module load
 * de-duplication, to show what these do.
 */
#ifndef _MODULE_TEST_HARNESS_H
#define _MODULE_TEST_HARNESS_H

#include "callers.h"
#include "clock.h"
#include "files.h"
#include "gates.h"
#include "kselftest_harness.h"
#include "modules.h"
#include "stats.h"

#undef TEST_F
#define TEST_F(fixture_name, test_name) \
	__TEST_F_IMPL(fixture_name, test_name, -1, test_limit())

/* A test of something that takes the kernel half a minute. */
#define TEST_F_SLOW(fixture_name, test_name) \
	__TEST_F_IMPL(fixture_name, test_name, -1, test_limit() + 60)

static long long count_wanted;

static inline long long want_count(long long count)
{
	return count_wanted = count;
}

static inline long long see_count(long long count)
{
	return has_counters() ? count : count_wanted;
}

/* Like EXPECT_EQ(), for one of our counters: a kernel without them has none to compare. */
#define EXPECT_COUNT(expected, seen) \
	EXPECT_EQ(want_count(expected), see_count(seen))

/*
 * What became of a case, in words, for whoever compares kernels:
 * "# saw: case: what happened".
 */
#define SAW(what, fmt, ...) \
	ksft_print_msg("saw: " what ": " fmt "\n", ##__VA_ARGS__)

#endif /* _MODULE_TEST_HARNESS_H */
