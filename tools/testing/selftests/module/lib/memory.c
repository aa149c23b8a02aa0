// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "kselftest.h"
#include "memory.h"

#define KMEMLEAK "/sys/kernel/debug/kmemleak"

long kernel_memory(void)
{
	static const char * const what[] = {
		"SUnreclaim:", "VmallocUsed:", "Percpu:", "KernelStack:",
	};
	char buf[8192], *line;
	long sum = 0;

	if (!access(KMEMLEAK, F_OK))
		return -1;
	sync();
	for (int i = 0; i < 3; i++) {
		spit("/proc/sys/vm/drop_caches", "3");
		usleep(200000);
	}
	if (slurp("/proc/meminfo", buf, sizeof(buf)) <= 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
		line = strstr(buf, what[i]);
		sum += line ? atol(line + strlen(what[i])) : 0;
	}
	return sum;
}

int memory_verdict(long before, long now)
{
	if (before < 0 || now < 0) {
		ksft_print_msg("memory is not measured%s\n",
			       access(KMEMLEAK, F_OK) ? "" : ": kmemleak tells what is lost");
		return KSFT_SKIP;
	}
	ksft_print_msg("memory of the kernel: %ld kB before, %ld kB after\n", before, now);
	/* Each CPU keeps some to itself. */
	return now - before < 4096 + 64 * sysconf(_SC_NPROCESSORS_ONLN) ? KSFT_PASS : KSFT_FAIL;
}
