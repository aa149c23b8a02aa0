// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

int test_limit(void)
{
	const char *text = getenv("DEDUP_TEST_LIMIT");

	return text && atoi(text) > 0 ? atoi(text) : 30;
}

int rounds(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 16 || test_limit() > 60 ? 100 : 1000;
}
