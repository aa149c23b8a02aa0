/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Time, and how much of it a test may take. No test waits for a time to pass
 * unless that is what it is about.
 */
#ifndef _MODULE_TEST_CLOCK_H
#define _MODULE_TEST_CLOCK_H

#define NSEC_PER_SEC 1000000000LL

/* The monotonic clock, in ns. */
long long now_ns(void);

/* Sleeps for a millisecond, in loops that wait for something. */
void nap(void);

/*
 * Seconds after which a test counts as hanging. No test needs this number to be
 * right; a kernel where many tests hang, or that is slow, may get another limit
 * in the environment, as DEDUP_TEST_LIMIT.
 */
int test_limit(void);

/*
 * How often to repeat a load and unload: each interrupts all CPUs many times,
 * which takes long where many CPUs are emulated by few, or where the kernel
 * checks everything that it does.
 */
int rounds(void);

#endif /* _MODULE_TEST_CLOCK_H */
