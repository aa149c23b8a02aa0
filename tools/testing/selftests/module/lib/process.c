// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "process.h"

/* Reads a file about a process, as a string. Returns its length, or -errno. */
static int read_about(pid_t pid, const char *what, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	return slurp(path, buf, size);
}

char process_state(pid_t pid)
{
	char buf[512], *name_end;

	if (read_about(pid, "stat", buf, sizeof(buf)) <= 0)
		return 0;
	name_end = strrchr(buf, ')');
	return name_end ? name_end[2] : '?';
}

int process_call(pid_t pid)
{
	char buf[512], *end;
	int call;

	if (read_about(pid, "syscall", buf, sizeof(buf)) <= 0)
		return -ESRCH;
	call = strtol(buf, &end, 10);
	return end > buf ? call : -1;
}

bool process_sleeps_deeply(pid_t pid)
{
	return process_state(pid) == 'D';
}

long process_sleeps(pid_t pid)
{
	char buf[4096], *line;

	if (read_about(pid, "status", buf, sizeof(buf)) <= 0)
		return -1;
	line = strstr(buf, "\nvoluntary_ctxt_switches:");
	return line ? atol(strchr(line, ':') + 1) : -1;
}

long bytes_read(void)
{
	char buf[512];

	if (slurp("/proc/self/io", buf, sizeof(buf)) <= 0)
		return 0;
	return atol(buf + strlen("rchar: "));
}
