// SPDX-License-Identifier: GPL-2.0
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "cpu.h"
#include "files.h"

static int last_cpu(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) - 1;
}

bool cpu_has_others(void)
{
	return last_cpu() > 0;
}

void on_last_cpu(struct caller *c)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(last_cpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

void on_other_cpus(struct caller *c)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	CPU_CLR(last_cpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

void cpu_allow_starving(bool allow)
{
	char path[64];

	spit("/proc/sys/kernel/sched_rt_runtime_us", allow ? "-1" : "950000");
	snprintf(path, sizeof(path), "/sys/kernel/debug/sched/fair_server/cpu%d/runtime",
		 last_cpu());
	spit(path, allow ? "0" : "50000000");
}

void cpu_take_last(void)
{
	on_last_cpu(NULL);
	sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 1 });
}

pid_t cpu_starve_last(void)
{
	atomic_int *there = shared_memory(sizeof(*there));
	pid_t pid = fork();

	if (pid) {
		while (!atomic_load(there))
			nap();
		munmap(there, sizeof(*there));
		return pid;
	}
	alarm(20);
	cpu_take_last();
	atomic_store(there, 1);
	for (;;)
		;
}
