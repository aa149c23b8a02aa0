// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"
#include "files.h"

#define FAIL_NTH "/proc/self/fail-nth"
#define FAILSLAB "/sys/kernel/debug/failslab/"

bool faults_init(void)
{
	return !access(FAIL_NTH, F_OK) && !spit(FAILSLAB "ignore-gfp-wait", "N") &&
	       !spit(FAILSLAB "verbose", "0");
}

int fail_nth(int nth)
{
	static pid_t owner;
	static int fd = -1;
	char text[16] = "", number[16];

	/* It is open before anything fails. A child must not use that of its parent. */
	if (owner != getpid()) {
		close(fd);
		fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
		owner = getpid();
	}
	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return -1;
	snprintf(number, sizeof(number), "%d", nth);
	if (pwrite(fd, number, strlen(number), 0) < 0)
		return -1;
	return atoi(text);
}
