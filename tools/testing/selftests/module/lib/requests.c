// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"
#include "modules.h"
#include "requests.h"

int requests_load(void)
{
	return load_once(MODULES_DIR "test_dedup_request.ko");
}

int request(const char *name)
{
	return request_failing(name, 0);
}

int request_failing(const char *name, int nth)
{
	char text[16] = "";
	int fd = open(REQUEST_FILE, O_RDWR | O_CLOEXEC);
	bool written;

	if (fd < 0)
		return -1001;
	if (nth && fail_nth(nth) < 0)
		return -1002;
	written = write(fd, name, strlen(name)) > 0;
	if (nth)
		fail_nth(0);
	if (!written || read(fd, text, sizeof(text) - 1) <= 0)
		strcpy(text, "-1003");
	close(fd);
	return atoi(text);
}
