/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How much memory the kernel holds.
 */
#ifndef _MODULE_TEST_MEMORY_H
#define _MODULE_TEST_MEMORY_H

/*
 * What the kernel holds of memory that it could not give back, in kB; -1 if it
 * has kmemleak, which keeps memory of its own, and tells of all that is lost.
 */
long kernel_memory(void);

/*
 * Whether the kernel has not grown by more than noise: KSFT_PASS or KSFT_FAIL,
 * or KSFT_SKIP if that was not measured.
 */
int memory_verdict(long before, long now);

#endif /* _MODULE_TEST_MEMORY_H */
