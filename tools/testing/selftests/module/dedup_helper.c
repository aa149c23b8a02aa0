// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests let the kernel start in the place of modprobe:
 *
 *	dedup_helper -q -- NAME
 *
 * It does what the file HELPER_DIR/NAME says, line by line:
 *
 *	load PATH [ARGS]	finit_module()
 *	init PATH [ARGS]	init_module()
 *	socket FAMILY		socket(), which may request a module
 *	request NAME		have the kernel request NAME
 *	fork			do the rest in a child, and wait for it
 *	spawn			do the next line in a child, and go on
 *	orphan			do the rest in a child, once that is one, and die
 *	leave			do the rest in a child, once that is an orphan, and exit with 0
 *	pipe			do the rest in a child, and exit with 0 once the child's end
 *				of a pipe is closed, also by all children of that child
 *	wait			wait for all children
 *	thread			have another thread
 *	gate [WHICH]		wait until the file NAME.WHICH is there (default: go)
 *	exec OTHER		become the helper of a request for OTHER
 *	once			exit with 1 if another helper has come here before
 *	guard			exit with 1 if another helper is between here and unguard
 *	unguard
 *	kill			end by SIGKILL
 *	exit STATUS
 *	answer			exit with 0 if the last call loaded the module, or found it
 *
 * Its process id is added to NAME.started, those of the processes that make
 * calls to NAME.pids, before the call, and the results, without their signs, to
 * NAME.result.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/files.h"
#include "lib/helpers.h"
#include "lib/modules.h"
#include "lib/requests.h"

static const char *name;
/* What the last call returned. */
static int last;

static void note(const char *what, int value)
{
	char path[PATH_MAX], text[32];
	int fd;

	snprintf(path, sizeof(path), HELPER_DIR "%s.%s", name, what);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	snprintf(text, sizeof(text), "%d\n", value);
	if (write(fd, text, strlen(text)) < 0)
		exit(120);
	close(fd);
}

static void *sleep_on(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

static int wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		return 121;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 122;
}

/* Looks less and less often: many that wait keep the processors busy. */
static void wait_for_file(const char *path)
{
	long ns = 1000000;

	while (access(path, F_OK)) {
		nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
		if (ns < 64000000)
			ns *= 2;
	}
}

/* Goes on in an orphan. How the parent ends is up to the caller. */
static pid_t fork_orphan(void)
{
	pid_t parent = getpid(), pid = fork();

	while (!pid && getppid() == parent)
		nap();
	return pid;
}

/* Goes on in a child. The parent exits when there is none left that could write to it. */
static void fork_piped(void)
{
	char text[256];
	int ends[2];

	if (pipe(ends))
		exit(126);
	if (!fork()) {
		close(ends[0]);
		return;
	}
	close(ends[1]);
	while (read(ends[0], text, sizeof(text)) > 0)
		;
	exit(0);
}

static int do_line(char *line)
{
	char *save = NULL;
	const char *what = strtok_r(line, " ", &save);
	const char *first = strtok_r(NULL, " ", &save);
	const char *args = strtok_r(NULL, "", &save);
	char path[PATH_MAX];
	pthread_t thread;
	pid_t pid;

	if (!strcmp(what, "load") || !strcmp(what, "init")) {
		note("pids", getpid());
		last = !strcmp(what, "load") ? load(first, args ?: "", 0) :
					       load_copy(first, args ?: "");
		note("result", last);
	} else if (!strcmp(what, "socket")) {
		note("pids", getpid());
		close(socket(atoi(first), SOCK_STREAM, 0));
	} else if (!strcmp(what, "request")) {
		note("pids", getpid());
		last = abs(request(first));
		note("result", last);
	} else if (!strcmp(what, "fork")) {
		pid = fork();
		if (pid)
			exit(wait_for(pid));
	} else if (!strcmp(what, "orphan")) {
		if (fork_orphan())
			raise(SIGKILL);
	} else if (!strcmp(what, "leave")) {
		if (fork_orphan())
			exit(0);
	} else if (!strcmp(what, "pipe")) {
		fork_piped();
	} else if (!strcmp(what, "wait")) {
		while (wait(NULL) > 0)
			;
	} else if (!strcmp(what, "thread")) {
		pthread_create(&thread, NULL, sleep_on, NULL);
	} else if (!strcmp(what, "gate")) {
		snprintf(path, sizeof(path), HELPER_DIR "%s.%s", name, first ?: "go");
		wait_for_file(path);
	} else if (!strcmp(what, "exec")) {
		execl("dedup_helper", "./dedup_helper", "-q", "--", first, NULL);
		exit(127);
	} else if (!strcmp(what, "once")) {
		snprintf(path, sizeof(path), HELPER_DIR "%s.once", name);
		if (open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) < 0)
			exit(1);
	} else if (!strcmp(what, "guard")) {
		snprintf(path, sizeof(path), HELPER_DIR "%s.guard", name);
		if (mkdir(path, 0755))
			exit(1);
	} else if (!strcmp(what, "unguard")) {
		snprintf(path, sizeof(path), HELPER_DIR "%s.guard", name);
		rmdir(path);
	} else if (!strcmp(what, "kill")) {
		raise(SIGKILL);
	} else if (!strcmp(what, "exit")) {
		exit(atoi(first));
	} else if (!strcmp(what, "answer")) {
		exit(last && last != EEXIST);
	} else {
		exit(123);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char path[PATH_MAX], script[4096], *line, *rest = script;

	name = argv[argc - 1];
	/* Where the program is the modules are, too. */
	*strrchr(argv[0], '/') = '\0';
	if (chdir(argv[0]))
		return 124;
	snprintf(path, sizeof(path), HELPER_DIR "%s", name);
	if (slurp(path, script, sizeof(script)) < 0)
		return 125;
	/* The next one may do something else from here on. */
	note("started", getpid());

	while ((line = strsep(&rest, "\n"))) {
		if (!strcmp(line, "spawn")) {
			line = strsep(&rest, "\n");
			if (!fork()) {
				do_line(line);
				exit(0);
			}
		} else if (*line) {
			do_line(line);
		}
	}
	return 0;
}
