/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations of the kernel that fail.
 */
#ifndef _MODULE_TEST_FAULTS_H
#define _MODULE_TEST_FAULTS_H

#include <stdbool.h>

/* Lets fail_nth() also fail allocations that may sleep. Returns whether it can fail any. */
bool faults_init(void);

/*
 * Makes the nth allocation of this task from here on fail; 0: none any more.
 * Returns how many were still to come, so 0 if one has failed, or -1.
 */
int fail_nth(int nth);

#endif /* _MODULE_TEST_FAULTS_H */
