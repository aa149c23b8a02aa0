/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests that let the kernel start dedup_helper in the place of modprobe.
 */
#ifndef _MODULE_DEDUP_HELPER_H
#define _MODULE_DEDUP_HELPER_H

#include "dedup.h"

/* What helpers are to do, and what they did. */
#define HELPER_DIR "/tmp/dedup_helper/"
#define MODPROBE_PATH "/proc/sys/kernel/modprobe"
/* What a request returns whose helper exits with this status. */
#define STATUS(status) ((status) << 8)

/* The path of a file about a request. */
static inline const char *helper_file(const char *name, const char *what)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), HELPER_DIR "%s%s", name, what);
	return path;
}

/* Says what the helper of a request is to do. */
static inline void helper_script(const char *name, const char *script)
{
	unlink(helper_file(name, ".started"));
	unlink(helper_file(name, ".result"));
	unlink(helper_file(name, ".pids"));
	unlink(helper_file(name, ".go"));
	write_file(helper_file(name, ""), script, strlen(script));
}

/* Lets a helper through its gate. */
static inline void helper_go(const char *name)
{
	write_file(helper_file(name, ".go"), "", 0);
}

/* The nth number that helpers noted, or -1 if there is none. */
static inline int helper_noted(const char *name, const char *what, int n)
{
	char text[4096], *line = text;

	if (slurp(helper_file(name, what), text, sizeof(text)) <= 0)
		return -1;
	while (n-- && line) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return line && *line ? atoi(line) : -1;
}

/* How many helpers were started for a request. */
static inline int helpers_started(const char *name)
{
	int n = 0;

	while (helper_noted(name, ".started", n) >= 0)
		n++;
	return n;
}

static inline void helpers_wait_started(const char *name, int n)
{
	while (helpers_started(name) < n)
		nap();
}

/* The errno of the nth call, once it is over. */
static inline int helper_result(const char *name, int n)
{
	int err;

	while ((err = helper_noted(name, ".result", n)) < 0)
		nap();
	return err;
}

/* Starts a caller whose load makes a request, up to where the helper runs. */
static inline void helper_start(const char *name, struct caller *c, const char *path,
				const char *args)
{
	caller_start(c, path, args, 0);
	while (helper_noted(name, ".started", 0) < 0)
		nap();
}

/* The nth process that made a call. */
static inline pid_t helper_pid(const char *name, int n)
{
	int pid;

	while ((pid = helper_noted(name, ".pids", n)) < 0)
		nap();
	return pid;
}

/*
 * Lets the kernel start our helper. old is for helper_restore(): what was there
 * before, or modprobe if a test that was killed has left our helper there.
 */
static inline int helper_install(char *old, size_t size)
{
	char path[PATH_MAX];
	int len = slurp(MODPROBE_PATH, old, size);

	mkdir(HELPER_DIR, 0755);
	if (len < 0 || !realpath("dedup_helper", path))
		return -1;
	if (strstr(old, "/dedup_helper"))
		snprintf(old, size, "/sbin/modprobe");
	return spit(MODPROBE_PATH, path);
}

static inline void helper_restore(const char *old)
{
	spit(MODPROBE_PATH, old);
}

#endif /* _MODULE_DEDUP_HELPER_H */
