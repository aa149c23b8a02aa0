/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers: the kernel starts dedup_helper in the place of modprobe, which does
 * what a script of the test says (see dedup_helper.c), and notes what it did.
 */
#ifndef _MODULE_TEST_HELPERS_H
#define _MODULE_TEST_HELPERS_H

#include "callers.h"

/* What helpers are to do, and what they did. */
#define HELPER_DIR "/tmp/dedup_helper/"
/* How many helpers the kernel starts at a time, and how long it waits for a place, in ns. */
#define PLACES 50
#define PLACE_WAIT 5000000000LL

/*
 * Lets the kernel start dedup_helper, until helper_restore(). Returns 0, or a
 * negative number if it cannot.
 */
int helper_install(void);
void helper_restore(void);

/* Lets the kernel start the real modprobe meanwhile. Returns whether there is one. */
bool helper_use_modprobe(void);

/* The path of a file about a request. */
const char *helper_file(const char *name, const char *what);

/* Says what the helper of a request is to do. */
void helper_script(const char *name, const char *script);

/* Says what the next helper of a request is to do. Those that run are left alone. */
void helper_script_next(const char *name, const char *script);

/* Lets a helper through its gate, and through another one. */
void helper_go(const char *name);
void helper_go2(const char *name);

/* Starts a caller whose load makes a request, up to where the helper runs. */
void helper_start(const char *name, struct caller *c, const char *path, const char *args);

/* The nth number that helpers noted, or -1 if there is none. */
int helper_noted(const char *name, const char *what, int n);

/* The nth process that made a call. Waits for it. */
pid_t helper_pid(const char *name, int n);

/* The errno, or the answer, of the nth call. Waits for it. */
int helper_result(const char *name, int n);

/* How many helpers were started for a request. */
int helpers_started(const char *name);

void helpers_wait_started(const char *name, int n);

/*
 * How many helpers there may have been for one name that many have requested
 * since then, if none of them has failed: a further one every 5 s.
 */
int helpers_at_most(long long since);

/* Takes all places that there are for helpers. */
void places_take(struct caller *c);

/* Gives these back. Their requests return 0. */
void places_free(struct caller *c);

/*
 * What a test of requests needs: the modules, nothing that another test has
 * left, requests joined, and dedup_helper. Returns 0 if all that is there.
 */
int requests_begin(void);

/* Leaves all that as it was. */
void requests_end(void);

#endif /* _MODULE_TEST_HELPERS_H */
