// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"
#include "log.h"

#define KMSG "/dev/kmsg"
#define ASKED "selftest asks for the time"

void log_expect(const char *text)
{
	char line[128];

	snprintf(line, sizeof(line), "selftest expects: %s\n", text);
	spit(KMSG, line);
}

static int log_open_at(int whence)
{
	int fd = open(KMSG, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	lseek(fd, 0, whence);
	return fd;
}

int log_open(void)
{
	return log_open_at(SEEK_END);
}

/* The next line, or NULL. Some may have been overwritten before they were read. */
static const char *log_line(int fd)
{
	static char line[8192];
	ssize_t n;

	do {
		n = read(fd, line, sizeof(line) - 1);
	} while (n < 0 && errno == EPIPE);
	if (n <= 0)
		return NULL;
	line[n] = '\0';
	return line;
}

const char *log_find(int fd, const char *text)
{
	const char *line;

	while ((line = log_line(fd))) {
		if (strstr(line, text))
			break;
	}
	return line;
}

/* Adds all lines that are there to a string. */
static void log_read(int fd, char *buf, size_t size)
{
	size_t len = strlen(buf);
	const char *line;

	while (len < size && (line = log_line(fd)))
		len += snprintf(buf + len, size - len, "%s", line);
}

void log_wait_reported(int fd, const char *last, char *buf, size_t size)
{
	const char *line;
	long long begun;

	while (!(line = log_find(fd, REPORTED)))
		nap();
	snprintf(buf, size, "%s", line);
	/* There is an end to it if they do not come. */
	begun = now_ns();
	while (!strcasestr(buf, last) && now_ns() - begun < 3 * NSEC_PER_SEC) {
		log_read(fd, buf, size);
		nap();
	}
}

long long log_time(const char *line)
{
	long long time;

	return sscanf(line, "%*u,%*u,%lld", &time) == 1 ? time : 0;
}

/* What time it is by the clock of the log, in us. */
static long long log_now(void)
{
	int fd = log_open();
	const char *line;
	long long now;

	spit(KMSG, ASKED "\n");
	line = log_find(fd, ASKED);
	now = line ? log_time(line) : 0;
	close(fd);
	return now;
}

void log_wait_room(void)
{
	long long begun = now_ns(), now = log_now();
	const char *line;
	int recent;

	do {
		/* All that the log has, from the start. */
		int fd = log_open_at(SEEK_SET);
		long long then = now + (now_ns() - begun) / 1000 - LOG_INTERVAL - 100000;

		nap();
		recent = 0;
		while ((line = log_find(fd, "module: "))) {
			if ((strstr(line, REFUSED) || strstr(line, REPORTED)) &&
			    log_time(line) > then)
				recent++;
		}
		close(fd);
	} while (recent >= LOG_BURST);
}
