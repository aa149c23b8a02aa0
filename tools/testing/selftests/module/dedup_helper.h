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
/* How many helpers the kernel starts at a time, and how long it waits for a place. */
#define PLACES 50
#define PLACE_WAIT 5000000000LL

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
	unlink(helper_file(name, ".go2"));
	unlink(helper_file(name, ".once"));
	write_file(helper_file(name, ""), script, strlen(script));
}

/* Says what the next helper of a request is to do. Those that run are left alone. */
static inline void helper_script_next(const char *name, const char *script)
{
	write_file(helper_file(name, ""), script, strlen(script));
}

/* Lets a helper through its gate, and through another one. */
static inline void helper_go(const char *name)
{
	write_file(helper_file(name, ".go"), "", 0);
}

static inline void helper_go2(const char *name)
{
	write_file(helper_file(name, ".go2"), "", 0);
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

/*
 * How many helpers there may have been for one name that many have requested
 * since then, if none of them has failed: a further one every 5 s.
 */
static inline int helpers_at_most(long long since)
{
	return 1 + (now_ns() - since) / PLACE_WAIT;
}

/* Takes all places that there are for helpers. */
static inline void places_take(struct caller *c)
{
	char name[32];

	for (int i = 0; i < PLACES; i++) {
		snprintf(name, sizeof(name), "busy%d", i);
		helper_script(name, "gate\n");
		requester_add(&c[i], strdup(name));
	}
	for (int i = 0; i < PLACES; i++)
		helpers_wait_started(c[i].path, 1);
}

/* Gives these back. Their requests return 0. */
static inline void places_free(struct caller *c)
{
	for (int i = 0; i < PLACES; i++)
		helper_go(c[i].path);
	callers_wait(c, PLACES);
}

/* Waits until these callers are over, but not longer. Returns whether they are. */
static inline bool callers_over(const struct caller *c, int n, int seconds)
{
	long long begun = now_ns();

	while (callers_done(c, n) < n) {
		if (now_ns() - begun > seconds * 1000000000LL)
			return false;
		nap();
	}
	return true;
}

/* The errno, or the answer, of the nth call, once it is over. */
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
