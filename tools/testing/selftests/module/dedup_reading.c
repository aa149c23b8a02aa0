// SPDX-License-Identifier: GPL-2.0
/*
 * What a storm costs while somebody reads what is in flight, and the
 * statistics, in a loop; and what it costs while nobody does.
 *
 * Meant for a machine with one CPU whose clock counts instructions. Prints for
 * both, as KEY=VALUE words on one line, the processor time of the storm, the
 * reader's, and how often it has read.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/callers.h"
#include "lib/clock.h"
#include "lib/files.h"
#include "lib/gates.h"
#include "lib/modules.h"
#include "lib/stats.h"

#define N 255

static long long nanoseconds(const struct rusage *usage)
{
	return (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000LL +
	       (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000LL;
}

/* Of all children that have been waited for. */
static long long children(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return nanoseconds(&usage);
}

static void read_all(atomic_int *stop, atomic_long *reads)
{
	static char buf[1 << 20];

	while (!atomic_load(stop)) {
		if (slurp(DEDUP_FILE, buf, sizeof(buf)) <= 0 || slurp(STATS, buf, sizeof(buf)) <= 0)
			exit(1);
		atomic_fetch_add(reads, 1);
	}
}

static void storm(const char *name, bool reading)
{
	struct shared {
		atomic_int stop;
		atomic_long reads;
	} *shared = shared_memory(sizeof(struct shared));
	struct rusage usage = { };
	long long before, cost;
	pid_t reader = 0;

	if (reading) {
		reader = fork();
		if (!reader) {
			read_all(&shared->stop, &shared->reads);
			_exit(0);
		}
		while (!atomic_load(&shared->reads))
			nap();
	}
	gates_reset();
	callers_init();
	before = children();
	callers_start(callers, N, TEST_KO, "gate=0", 0);
	callers_release();
	callers_settle(callers, N);
	gates_open(1);
	callers_wait(callers, N);
	cost = children() - before;
	atomic_store(&shared->stop, 1);
	if (reader)
		wait4(reader, NULL, 0, &usage);
	printf("%s_ok=%d %s_storm_ns=%lld %s_reader_ns=%lld %s_reads=%ld ", name,
	       callers_with(callers, N, 0), name, cost, name, nanoseconds(&usage), name,
	       atomic_load(&shared->reads));
	unload("test_dedup");
}

int main(void)
{
	if (gates_load())
		return 1;
	/* The first one also fills caches. */
	storm("first", false);
	storm("alone", false);
	storm("read", true);
	printf("\n");
	return 0;
}
