/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workers, of dedup_chaos and dedup_fuzz: processes that do things at random, and
 * a parent that sees to it that none of them hangs.
 *
 * All choices of a worker follow from the seed, the round and its number, so a
 * seed repeats what is tried, though not in which order processes come to it.
 */
#ifndef _MODULE_TEST_WORKERS_H
#define _MODULE_TEST_WORKERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "kselftest.h"

#define MAX_WORKERS 256
/* Beyond all that a system call may return. */
#define ERRNOS 1024

/* What the user asked for, or what was the default. */
extern unsigned long long seed;
extern long calls_wanted;
extern int processes;

/* What a worker tells the parent. Lives in memory that all of them share. */
struct worker {
	pid_t pid;
	/* Steps that it has begun. */
	atomic_ulong steps;
	/* What it does now, for people. */
	atomic_uintptr_t doing;
};

extern struct worker *workers;
extern int workers_count;

/*
 * Reads the options of the program, and prints the heading of its results. Loads
 * the gates. Ends the program if the kernel has no module load de-duplication.
 */
void workers_begin(int argc, char **argv, int default_processes);

/* Where the random numbers of a worker of a round begin. */
unsigned long long seed_of(unsigned int round, unsigned int worker);

void workers_start(int n, void (*run)(int number, struct worker *w));

/* A worker says what it is about to do. */
void doing(struct worker *w, const char *what);

/*
 * Waits until all workers are over. Returns how many were killed, or -1 if some
 * hang, or ended in another way: these are shown.
 */
int workers_wait(void);

/* Whether all modules are live, and not on their way to or from that. Shows one that is not. */
bool all_modules_live(void);

/* Whether nothing is in flight. Shows what is. */
bool nothing_left_in_flight(void);

/* Tells the host what is done now. */
__printf(1, 2) void tell_host(const char *fmt, ...);

/* Tells the host how many calls were made, twenty times in all. */
void progress(long calls);

#endif /* _MODULE_TEST_WORKERS_H */
