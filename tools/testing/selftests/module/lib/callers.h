/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Callers: processes that call finit_module(), or make requests, at the same
 * time, and ways to see what became of them.
 *
 * A caller counts as waiting once the kernel shows it asleep in the system call.
 */
#ifndef _MODULE_TEST_CALLERS_H
#define _MODULE_TEST_CALLERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "modules.h"
#include "stats.h"

#define MAX_CALLERS 1024

/* A process that makes one call. */
struct caller {
	pid_t pid;
	const char *path;
	const char *args;
	int flags;
	/* Whether it calls init_module(), and with what, if that is not what path has. */
	bool copy;
	struct image image;
	/* Whether it has the kernel request what path says. */
	bool request;
	/* Which of the allocations that the kernel makes for the call fails, if not 0. */
	int failing;
	/* What it does before the call, if not NULL. */
	void (*before)(struct caller *c);
	atomic_int ready;
	atomic_int done;
	/* 0 or the errno of the call, or what the request returned. */
	int err;
	/* Bytes that the process read during the call. */
	long read;
	/* When the call returned, in ns. */
	long long returned;
};

/* All callers there can be, in memory that they share with the test. */
extern struct caller *callers;

/* Forgets all callers of before, and holds those to come until callers_release(). */
void callers_init(void);

/* Starts a process that will make the call once callers_release() was called. */
void caller_start(struct caller *c, const char *path, const char *args, int flags);

/* Starts n callers that make the same call. All are ready for it on return. */
void callers_start(struct caller *c, int n, const char *path, const char *args, int flags);

/* The same for callers of init_module(). */
void copiers_start(struct caller *c, int n, const char *path, const char *args);

/* The same for callers that have the kernel make a request. */
void requesters_start(struct caller *c, int n, const char *name);

/* Lets all callers go, also those that will be started. */
void callers_release(void);

/* Holds those that will be started, again. */
void callers_hold(void);

/* One more caller that goes at once, and is asleep in its call on return. */
void caller_add(struct caller *c, const char *path, const char *args, int flags);
void copier_add(struct caller *c, const char *path, const char *args);
void requester_add(struct caller *c, const char *name);

/* Waits until all of these are asleep in their calls, or over. */
void callers_settle(const struct caller *c, int n);

/* The same for any process: one that loads a module, or one that makes a request. */
void loader_settle(pid_t pid);
void requester_settle(pid_t pid);

/* Waits until all of these processes are over. */
void callers_wait(struct caller *c, int n);

/* How many of these callers got this result. */
int callers_with(const struct caller *c, int n, int err);

/* How many of these are over. */
int callers_done(const struct caller *c, int n);

/*
 * Waits until so many init functions have run, or none of these callers is left
 * to run one; and until those that are left are asleep.
 */
void wait_entered_or_done(int entered, const struct caller *c, int n);

/*
 * Waits until so many followers have seen that their leader's end is not for
 * them, or all are over: they may be woken late, and sleep as before until then.
 */
void callers_wait_retried(const struct stats *before, const struct caller *c, int n);

#endif /* _MODULE_TEST_CALLERS_H */
