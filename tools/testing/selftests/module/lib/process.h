/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel shows of a process.
 */
#ifndef _MODULE_TEST_PROCESS_H
#define _MODULE_TEST_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

/* The letter for its state, or 0 if it is gone. */
char process_state(pid_t pid);

/* The number of the system call that it is in, -1 if it is in none, or -ESRCH if it is gone. */
int process_call(pid_t pid);

/* Whether it sleeps, and no signal that it handles would wake it. */
bool process_sleeps_deeply(pid_t pid);

/* How often it has slept, or -1. */
long process_sleeps(pid_t pid);

/* How many bytes this process has read. */
long bytes_read(void);

#endif /* _MODULE_TEST_PROCESS_H */
