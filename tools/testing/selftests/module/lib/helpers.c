// SPDX-License-Identifier: GPL-2.0
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"
#include "gates.h"
#include "helpers.h"
#include "modules.h"
#include "requests.h"

#define MODPROBE_PATH "/proc/sys/kernel/modprobe"
#define MODPROBE "/sbin/modprobe"

/* What the kernel started before. */
static char modprobe[256];

int helper_install(void)
{
	char path[PATH_MAX];
	int len = slurp(MODPROBE_PATH, modprobe, sizeof(modprobe));

	mkdir(HELPER_DIR, 0755);
	if (len < 0 || !realpath("dedup_helper", path))
		return -1;
	/* A test that was killed has left it there. */
	if (strstr(modprobe, "/dedup_helper"))
		snprintf(modprobe, sizeof(modprobe), MODPROBE);
	return spit(MODPROBE_PATH, path);
}

void helper_restore(void)
{
	spit(MODPROBE_PATH, modprobe);
}

bool helper_use_modprobe(void)
{
	return !access(MODPROBE, X_OK) && !spit(MODPROBE_PATH, MODPROBE);
}

const char *helper_file(const char *name, const char *what)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), HELPER_DIR "%s%s", name, what);
	return path;
}

void helper_script(const char *name, const char *script)
{
	static const char * const notes[] = {
		".started", ".result", ".pids", ".go", ".go2", ".once",
	};

	for (size_t i = 0; i < sizeof(notes) / sizeof(*notes); i++)
		unlink(helper_file(name, notes[i]));
	helper_script_next(name, script);
}

void helper_script_next(const char *name, const char *script)
{
	write_file(helper_file(name, ""), script, strlen(script));
}

void helper_go(const char *name)
{
	write_file(helper_file(name, ".go"), "", 0);
}

void helper_go2(const char *name)
{
	write_file(helper_file(name, ".go2"), "", 0);
}

void helper_start(const char *name, struct caller *c, const char *path, const char *args)
{
	caller_start(c, path, args, 0);
	helpers_wait_started(name, 1);
}

int helper_noted(const char *name, const char *what, int n)
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

static int wait_noted(const char *name, const char *what, int n)
{
	int number;

	while ((number = helper_noted(name, what, n)) < 0)
		nap();
	return number;
}

pid_t helper_pid(const char *name, int n)
{
	return wait_noted(name, ".pids", n);
}

int helper_result(const char *name, int n)
{
	return wait_noted(name, ".result", n);
}

int helpers_started(const char *name)
{
	int n = 0;

	while (helper_noted(name, ".started", n) >= 0)
		n++;
	return n;
}

void helpers_wait_started(const char *name, int n)
{
	while (helpers_started(name) < n)
		nap();
}

int helpers_at_most(long long since)
{
	return 1 + (now_ns() - since) / PLACE_WAIT;
}

void places_take(struct caller *c)
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

void places_free(struct caller *c)
{
	for (int i = 0; i < PLACES; i++)
		helper_go(c[i].path);
	callers_wait(c, PLACES);
}

static void join_requests(void)
{
	set_dedup("on");
	set_dedup_requests("Y");
}

static void unload_all(void)
{
	gates_open(~0);
	unload("test_dedup");
	unload("test_dedup_b");
	unload("test_dedup_alias");
	unload("test_dedup_base");
	unload("test_dedup_self");
}

int requests_begin(void)
{
	int err = gates_load() ?: requests_load();

	if (err)
		return err;
	unload_all();
	gates_reset();
	callers_init();
	join_requests();
	return helper_install();
}

void requests_end(void)
{
	helper_restore();
	join_requests();
	unload_all();
}
