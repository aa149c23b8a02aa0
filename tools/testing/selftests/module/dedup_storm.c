// SPDX-License-Identifier: GPL-2.0
/*
 * A storm: many processes load one file at the same moment. The module waits
 * until all of them have arrived, so that every one is a duplicate.
 *
 * Prints what came of it, as KEY=VALUE words on one line.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/callers.h"
#include "lib/clock.h"
#include "lib/files.h"
#include "lib/gates.h"
#include "lib/modules.h"
#include "lib/stats.h"

static void explain(const char *self)
{
	fprintf(stderr, "Usage: %s [-n PROCESSES] [-m on|c|off] [FILE]\n", self);
	exit(2);
}

int main(int argc, char **argv)
{
	const char *path = BIG_KO, *mode = NULL;
	struct stats before, since;
	char name[64];
	long long start, last = 0;
	int n = 200, opt, err;

	while ((opt = getopt(argc, argv, "n:m:")) != -1) {
		if (opt == 'n')
			n = atoi(optarg);
		else if (opt == 'm')
			mode = optarg;
		else
			explain(argv[0]);
	}
	if (optind < argc)
		path = argv[optind++];
	if (optind < argc || n < 1 || n > MAX_CALLERS)
		explain(argv[0]);
	if (file_size(path) < 0) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], path, strerror(errno));
		return 1;
	}
	if (mode && spit(DEDUP_PARAM, mode)) {
		fprintf(stderr, "%s: cannot set %s to '%s'\n", argv[0], DEDUP_PARAM, mode);
		return 1;
	}
	err = gates_load();
	if (err) {
		fprintf(stderr, "%s: cannot load the gates: %s\n", argv[0], strerror(err));
		return 1;
	}
	gates_reset();
	callers_init();
	before = read_stats();

	callers_start(callers, n, path, "gate=0", 0);
	start = now_ns();
	callers_release();
	callers_settle(callers, n);
	gates_open(1);
	callers_wait(callers, n);
	for (int i = 0; i < n; i++) {
		if (callers[i].returned > last)
			last = callers[i].returned;
	}

	since = stats_since(before);
	printf("calls=%d ok=%d eexist=%d ms=%lld wasted=%lld led=%lld joined=%lld saved=%lld\n",
	       n, callers_with(callers, n, 0), callers_with(callers, n, EEXIST),
	       (last - start) / 1000000, since.wasted, since.led, since.joined, since.bytes);

	snprintf(name, sizeof(name), "%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	*strchrnul(name, '.') = '\0';
	err = unload(name);
	if (err) {
		fprintf(stderr, "%s: cannot unload %s: %s\n", argv[0], name, strerror(err));
		return 1;
	}
	return 0;
}
