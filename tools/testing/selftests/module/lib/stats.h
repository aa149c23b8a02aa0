/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel shows of module load de-duplication: its parameters, its
 * counters, and what is in flight.
 */
#ifndef _MODULE_TEST_STATS_H
#define _MODULE_TEST_STATS_H

#include <stdbool.h>

#define STATS "/sys/kernel/debug/modules/stats"
#define DEDUP_FILE "/sys/kernel/debug/modules/dedup"
#define DEDUP_PARAM "/sys/module/module/parameters/dedup"
#define REQUESTS_PARAM "/sys/module/module/parameters/dedup_requests"

/* Parameters. */

/* on, c or off. */
void set_dedup(const char *mode);

/* Y or N: whether requests are joined, too. */
void set_dedup_requests(const char *mode);

/* Counters. */

/* Whether the kernel counts what it de-duplicates. Stock does not. */
bool has_counters(void);

/* A line of the stats file, or -1 if there is none. */
long long stat_line(const char *name);

/* All lines that tests compare, at one time. A line that is not there is -1. */
struct stats {
	long long led, joined, bytes, most, interrupted, behind, retried, late;
	long long copies_led, copies_joined, copies_late, copies_bytes;
	long long bypassed, died, refused, wasted;
	long long requests_led, requests_joined, requests_alone, waited, longest;
};

struct stats read_stats(void);

/* What has been counted since then; of two counters the largest value so far. */
struct stats stats_since(struct stats before);

/* What is in flight. */

/* Whether a text is part of what is in flight now. */
bool in_flight(const char *text);

/* Whether nothing is in flight. */
bool nothing_in_flight(void);

#endif /* _MODULE_TEST_STATS_H */
