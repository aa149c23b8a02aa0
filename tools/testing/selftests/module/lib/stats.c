// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "kselftest.h"
#include "stats.h"

void set_dedup(const char *mode)
{
	spit(DEDUP_PARAM, mode);
}

void set_dedup_requests(const char *mode)
{
	spit(REQUESTS_PARAM, mode);
}

bool has_counters(void)
{
	return !access(DEDUP_PARAM, F_OK);
}

static const char *read_all(const char *path)
{
	static char buf[65536];

	return slurp(path, buf, sizeof(buf)) < 0 ? "" : buf;
}

/* A line of what the stats file contains: spaces, the name, a tab and the value. */
static long long value_of(const char *text, const char *name)
{
	const size_t len = strlen(name);

	for (const char *line = text; *line; line += strspn(line, "\n")) {
		line += strspn(line, " ");
		if (!strncmp(line, name, len) && line[len] == '\t')
			return atoll(line + len + 1);
		line += strcspn(line, "\n");
	}
	return -1;
}

long long stat_line(const char *name)
{
	return value_of(read_all(STATS), name);
}

static const struct counter {
	const char *name;
	size_t at;
	/* Whether it is the largest value so far, and not a sum. */
	bool largest;
} counters[] = {
	{ "Flights led", offsetof(struct stats, led) },
	{ "Calls joined", offsetof(struct stats, joined) },
	{ "Joined bytes saved", offsetof(struct stats, bytes) },
	{ "Most followers at once", offsetof(struct stats, most), true },
	{ "Followers interrupted", offsetof(struct stats, interrupted) },
	{ "Same file, other call", offsetof(struct stats, behind) },
	{ "Retried after leader end", offsetof(struct stats, retried) },
	{ "Late duplicates", offsetof(struct stats, late) },
	{ "Copies led", offsetof(struct stats, copies_led) },
	{ "Copies joined", offsetof(struct stats, copies_joined) },
	{ "Late copies", offsetof(struct stats, copies_late) },
	{ "Copy bytes saved", offsetof(struct stats, copies_bytes) },
	{ "Calls not joinable", offsetof(struct stats, bypassed) },
	{ "Leaders that died", offsetof(struct stats, died) },
	{ "Deadlocks refused", offsetof(struct stats, refused) },
	{ "Virtual mem wasted bytes", offsetof(struct stats, wasted) },
	{ "Requests led", offsetof(struct stats, requests_led) },
	{ "Requests joined", offsetof(struct stats, requests_joined) },
	{ "Requests not joinable", offsetof(struct stats, requests_alone) },
	{ "Total time waited (us)", offsetof(struct stats, waited) },
	{ "Longest wait (us)", offsetof(struct stats, longest), true },
};

static long long *counter_of(struct stats *stats, const struct counter *counter)
{
	return (void *)stats + counter->at;
}

struct stats read_stats(void)
{
	const char *text = read_all(STATS);
	struct stats stats;

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		*counter_of(&stats, &counters[i]) = value_of(text, counters[i].name);
	return stats;
}

struct stats stats_since(struct stats before)
{
	struct stats now = read_stats();

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		if (!counters[i].largest)
			*counter_of(&now, &counters[i]) -= *counter_of(&before, &counters[i]);
	}
	return now;
}

bool in_flight(const char *text)
{
	return strstr(read_all(DEDUP_FILE), text);
}

bool nothing_in_flight(void)
{
	const char *text = read_all(DEDUP_FILE);

	/* There is the heading, and no more. */
	return *text && strchr(text, '\n') == text + strlen(text) - 1;
}
