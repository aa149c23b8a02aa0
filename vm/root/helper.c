// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel starts in place of modprobe: is counted, and becomes modprobe.
 * A shell would take a fifth of the time that modprobe does.
 */

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = open("/dev/helpers", O_WRONLY | O_APPEND | O_CLOEXEC);
	char line[256];
	size_t len = 0;

	for (int i = 1; i < argc && len < sizeof(line); i++)
		len += snprintf(line + len, sizeof(line) - len, "%s%s",
				argv[i], i + 1 < argc ? " " : "\n");
	/* One that is not counted goes on all the same: a boot depends on it. */
	if (fd < 0 || len >= sizeof(line) || write(fd, line, len) < 0)
		perror("/dev/helpers");

	argv[0] = "/sbin/modprobe";
	execv(argv[0], argv);
	return 127;
}
