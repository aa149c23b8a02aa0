/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes on CPUs of their own, and a CPU that one process takes from all
 * others: the last one.
 */
#ifndef _MODULE_TEST_CPU_H
#define _MODULE_TEST_CPU_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether there is another CPU beside the last one. */
bool cpu_has_others(void);

struct caller;

/* What a caller does before its call, to run on the last CPU only, or on the others only. */
void on_last_cpu(struct caller *c);
void on_other_cpus(struct caller *c);

/*
 * Lets a process have all of its CPU, or, as is usual, not quite: the scheduler
 * keeps a part of each second for all others.
 */
void cpu_allow_starving(bool allow);

/* From now on this process goes before all others on the last CPU. */
void cpu_take_last(void);

/*
 * Keeps the last CPU busy by a process that goes before all others. It is there
 * on return. It ends by itself if nobody ends it.
 */
pid_t cpu_starve_last(void);

#endif /* _MODULE_TEST_CPU_H */
