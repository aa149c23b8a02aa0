// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "callers.h"
#include "clock.h"
#include "faults.h"
#include "files.h"
#include "gates.h"
#include "modules.h"
#include "process.h"
#include "requests.h"

struct caller *callers;
/* Whether callers may go. Also in memory that they share with the test. */
static atomic_int *callers_go;

void callers_init(void)
{
	const size_t size = sizeof(*callers) * MAX_CALLERS + sizeof(*callers_go);

	if (callers) {
		memset(callers, 0, size);
		return;
	}
	callers = shared_memory(size);
	callers_go = (atomic_int *)(callers + MAX_CALLERS);
}

static void caller_run(struct caller *c)
{
	int fd = c->request ? -1 : open(c->path, O_RDONLY | O_CLOEXEC);
	long before;

	if (c->copy && !c->image.data)
		c->image = image_of(c->path, 0);
	if (c->before)
		c->before(c);
	before = bytes_read();
	atomic_store(&c->ready, 1);
	while (!atomic_load(callers_go))
		syscall(SYS_futex, callers_go, FUTEX_WAIT, 0, NULL, NULL, 0);

	if (c->failing && !c->request && fail_nth(c->failing) < 0)
		_exit(1);
	if (c->request)
		c->err = request_failing(c->path, c->failing);
	else if (fd < 0)
		c->err = errno;
	else if (c->copy)
		c->err = init(&c->image, c->args);
	else
		c->err = finit(fd, c->args, c->flags);
	if (c->failing)
		fail_nth(0);
	c->returned = now_ns();
	c->read = bytes_read() - before;
	atomic_store(&c->done, 1);
}

void caller_start(struct caller *c, const char *path, const char *args, int flags)
{
	pid_t pid;

	c->path = path;
	c->args = args;
	c->flags = flags;
	c->err = -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		caller_run(c);
		_exit(0);
	}
	if (pid < 0) {
		perror("fork");
		exit(1);
	}
	c->pid = pid;
}

void callers_start(struct caller *c, int n, const char *path, const char *args, int flags)
{
	for (int i = 0; i < n; i++)
		caller_start(&c[i], path, args, flags);
	for (int i = 0; i < n; i++) {
		while (!atomic_load(&c[i].ready))
			nap();
	}
}

void copiers_start(struct caller *c, int n, const char *path, const char *args)
{
	for (int i = 0; i < n; i++)
		c[i].copy = true;
	callers_start(c, n, path, args, 0);
}

void requesters_start(struct caller *c, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		c[i].request = true;
	callers_start(c, n, name, "", 0);
}

void callers_release(void)
{
	atomic_store(callers_go, 1);
	syscall(SYS_futex, callers_go, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void callers_hold(void)
{
	atomic_store(callers_go, 0);
}

void caller_add(struct caller *c, const char *path, const char *args, int flags)
{
	callers_release();
	caller_start(c, path, args, flags);
	callers_settle(c, 1);
}

void copier_add(struct caller *c, const char *path, const char *args)
{
	c->copy = true;
	caller_add(c, path, args, 0);
}

void requester_add(struct caller *c, const char *name)
{
	c->request = true;
	caller_add(c, name, "", 0);
}

/* Whether the process is asleep in its call, or over. */
static bool caller_settled(const struct caller *c)
{
	int call;
	char state;

	if (atomic_load(&c->done))
		return true;
	call = process_call(c->pid);
	if (call == -ESRCH)
		return true;
	if (call != (c->request ? SYS_write : SYS_finit_module) && call != SYS_init_module)
		return false;
	state = process_state(c->pid);
	/*
	 * A gate is an idle sleep, all other waits for a load are interruptible,
	 * and those for a request are killable.
	 */
	return !state || strchr(c->request ? "D" : "SI", state);
}

void callers_settle(const struct caller *c, int n)
{
	/* Twice: a caller may sleep on its way to where it waits. */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < n; i++) {
			while (!caller_settled(&c[i]))
				nap();
		}
	}
}

void loader_settle(pid_t pid)
{
	callers_settle(&(struct caller){ .pid = pid }, 1);
}

void requester_settle(pid_t pid)
{
	callers_settle(&(struct caller){ .pid = pid, .request = true }, 1);
}

void callers_wait(struct caller *c, int n)
{
	for (int i = 0; i < n; i++) {
		while (waitpid(c[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
}

int callers_with(const struct caller *c, int n, int err)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += c[i].err == err;
	return count;
}

int callers_done(const struct caller *c, int n)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += atomic_load(&c[i].done);
	return count;
}

void wait_entered_or_done(int entered, const struct caller *c, int n)
{
	while (gates_entered() < entered && callers_done(c, n) < n)
		nap();
	callers_settle(c, n);
}

void callers_wait_retried(const struct stats *before, const struct caller *c, int n)
{
	while (stats_since(*before).retried < n && callers_done(c, n) < n)
		nap();
}
