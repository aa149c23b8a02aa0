/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests: test_dedup_request.ko has the kernel call request_module().
 */
#ifndef _MODULE_TEST_REQUESTS_H
#define _MODULE_TEST_REQUESTS_H

#define REQUEST_FILE "/sys/kernel/debug/test_dedup_request"
/* What a request returns whose helper exits with this status. */
#define STATUS(status) ((status) << 8)

/* Loads the module that makes requests. Returns 0 or an errno. */
int requests_load(void);

/*
 * Makes a request: for "&NAME" without waiting for the answer, for "*NAME" by a
 * kernel thread. Returns its result, or less than -1000 if it could not be made.
 */
int request(const char *name);

/* The same, while fail_nth() makes the nth allocation fail that the kernel makes for it. */
int request_failing(const char *name, int nth);

#endif /* _MODULE_TEST_REQUESTS_H */
