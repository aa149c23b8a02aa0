/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel log.
 */
#ifndef _MODULE_TEST_LOG_H
#define _MODULE_TEST_LOG_H

#include <stddef.h>

/* What the kernel says of a wait that would never end. */
#define REFUSED "would wait for itself"
/* What the kernel says of a wait that takes long. */
#define REPORTED "waited 10 s"
/* How many lines of one kind the kernel writes in so many us, before it leaves some out. */
#define LOG_BURST 10
#define LOG_INTERVAL 5000000

/*
 * Tells whoever reads the kernel log that the test is the reason of lines with
 * this text, or one of several separated by "|", until "nothing" is expected.
 */
void log_expect(const char *text);

/* The kernel log, from here on. */
int log_open(void);

/* The next line of it that contains a text, or NULL. */
const char *log_find(int fd, const char *text);

/*
 * Waits for the kernel to report a wait, and for what it says then, up to some last words.
 * Their case does not matter: "Call Trace:" is "Call trace:" on arm64.
 */
void log_wait_reported(int fd, const char *last, char *buf, size_t size);

/* When a line was written, in us. */
long long log_time(const char *line);

/* Waits until the kernel would not leave out another line on a wait. */
void log_wait_room(void);

#endif /* _MODULE_TEST_LOG_H */
