// SPDX-License-Identifier: GPL-2.0
/*
 * Measures module loads, in a machine whose clock counts instructions. What it
 * has measured it prints at the end, "NAME VALUE" on a line.
 *
 * A fixed set of processes, the workers, is started first and used for all
 * storms, so that none is made or ends while the clock runs.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/callers.h"
#include "lib/clock.h"
#include "lib/files.h"
#include "lib/modules.h"
#include "lib/process.h"
#include "lib/requests.h"
#include "lib/stats.h"

#define CLOCK "/sys/module/bench_clock/parameters/"
#define MODPROBE_PATH "/proc/sys/kernel/modprobe"
#define HELPERS "/tmp/helpers"
#define WORKERS 256
#define MANY 64
/* How long init functions sleep in a storm, so that all have joined. */
#define SLEEP_US 20000
#define KEYS 4096

#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

/* Instead of flags: the call is init_module(). */
#define COPY (1 << 30)

enum work {
	WORK_LOAD,
	WORK_MANY,
	WORK_REQUEST,
};

/* What a worker did in the last round. */
struct turn {
	pid_t pid;
	int err;
	long long began, ended;
	long read;
};

/* Shared by all processes. */
struct shared {
	atomic_int round, tickets, ready, go, started, done;
	/* What is to be done in this round. */
	enum work work;
	int n;
	const char *path;
	int flags;
	/* Whether the bytes that are read are to be counted. */
	bool count;
	/* Whether who starts last opens the gate. */
	bool open_last;
	/* Whether one of them goes before the others, and tells who counts when it returns. */
	bool leader_first;
	atomic_int stop;
	atomic_long reads;
	struct turn turns[WORKERS];
};

static struct shared *shared;

static struct {
	char name[64];
	long long value;
} results[KEYS];
static int results_len;
/*
 * What is measured with this series is measured with the kernel's own C code in turn, in the same
 * boot: nothing else differs then. The order changes from round to round.
 */
#define ROUNDS 64
static int modes = 1;
/* Which of the two a result is of. */
static bool by_c;

static int take_turn(int round, int turn)
{
	int mode = (round + turn) % modes;

	if (modes > 1)
		set_dedup(mode ? "c" : "on");
	return mode;
}

static void end_turns(void)
{
	if (modes > 1)
		set_dedup("on");
}

static void __attribute__((format(printf, 2, 3))) result(long long value, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (results_len < KEYS) {
		char *name = results[results_len].name, *side;

		vsnprintf(name, sizeof(results[0].name), format, args);
		side = by_c ? strstr(name, "SIDE") : NULL;
		if (side) {
			*side = 'c';
			memmove(side + 1, side + 4, strlen(side + 4) + 1);
		}
		results[results_len++].value = value;
	}
	va_end(args);
}

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static void futex_wait(atomic_int *at, int value)
{
	syscall(SYS_futex, at, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void futex_wake(atomic_int *at, int n)
{
	syscall(SYS_futex, at, FUTEX_WAKE, n, NULL, NULL, 0);
}

/* What is loaded by init_module(). It is read before there are workers, who share it. */
static struct {
	const char *path;
	struct image image;
} images[] = {
	{ "/bench/bench_16k.ko" },
	{ "/bench/bench_1m.ko" },
};

#define IMAGES ((int)(sizeof(images) / sizeof(images[0])))

static void images_read(void)
{
	for (int i = 0; i < IMAGES; i++) {
		struct image *image = &images[i].image;

		image->data = read_file(images[i].path, &image->len);
		if (!image->data)
			die("cannot read %s", images[i].path);
	}
}

/* Opens what call() is to load, if it is loaded from a file. */
static int call_open(const char *path, int flags)
{
	return flags == COPY ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

static int call(const char *path, int fd, int flags)
{
	if (flags != COPY)
		return finit(fd, "", flags);
	for (int i = 0; i < IMAGES; i++) {
		if (!strcmp(images[i].path, path))
			return init(&images[i].image, "");
	}
	return ENOENT;
}

static void set(const char *path, long value)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", value);
	if (spit(path, text))
		die("cannot write to %s", path);
}

static long long get(const char *path)
{
	char text[32];

	if (slurp(path, text, sizeof(text)) <= 0)
		die("cannot read %s", path);
	return atoll(text);
}

/* All is quiet: what was left to be done later is done. */
static void rest(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
}

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

static long long median(long long *values, int n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

/* The workers. */

/* Lets nobody who is woken run before this process has come home. */
static void set_realtime(bool realtime)
{
	struct sched_param param = { .sched_priority = realtime };

	sched_setscheduler(0, realtime ? SCHED_FIFO : SCHED_OTHER, &param);
}

static void turn(struct turn *turn, int ticket)
{
	int may_go = shared->leader_first && ticket ? 2 : 1, go, fd = -1;
	const char *path = shared->path;
	char name[32];

	if (shared->work == WORK_MANY) {
		snprintf(name, sizeof(name), "/tmp/bench_m%02d.ko", ticket % MANY);
		path = name;
	}
	if (shared->work == WORK_REQUEST)
		fd = open(REQUEST_FILE, O_RDWR | O_CLOEXEC);
	else if (shared->work == WORK_LOAD)
		fd = call_open(path, shared->flags);
	if (shared->count)
		turn->read = -bytes_read();
	turn->pid = getpid();
	if (shared->leader_first && !ticket)
		set_realtime(true);
	if (atomic_fetch_add(&shared->ready, 1) + 1 == shared->n)
		futex_wake(&shared->ready, 1);
	while ((go = atomic_load(&shared->go)) < may_go)
		futex_wait(&shared->go, go);
	if (atomic_fetch_add(&shared->started, 1) + 1 == shared->n && shared->open_last)
		set(CLOCK "open", 1);

	turn->began = now_ns();
	if (shared->work == WORK_MANY)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (shared->work == WORK_REQUEST)
		turn->err = write(fd, path, strlen(path)) < 0 ? errno : 0;
	else
		turn->err = call(path, fd, shared->flags);
	turn->ended = now_ns();

	if (shared->leader_first && !ticket) {
		getpgrp();
		set_realtime(false);
	}
	if (shared->count)
		turn->read += bytes_read();
	close(fd);
}

static void work(void)
{
	int round = 0, ticket;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		while (atomic_load(&shared->round) == round)
			futex_wait(&shared->round, round);
		round = atomic_load(&shared->round);
		ticket = atomic_fetch_add(&shared->tickets, 1);
		/* Somebody who was not asleep yet may have taken a ticket before. */
		if (ticket >= shared->n)
			continue;
		turn(&shared->turns[ticket], ticket);
		if (atomic_fetch_add(&shared->done, 1) + 1 == shared->n)
			futex_wake(&shared->done, 1);
	}
}

static void workers_start(void)
{
	shared = shared_memory(sizeof(*shared));
	for (int i = 0; i < WORKERS; i++) {
		pid_t pid = fork();

		if (!pid)
			work();
		if (pid < 0)
			die("cannot start processes");
	}
	rest();
}

/* Waits until all n are counted. */
static void wait_for_all(atomic_int *counter, int n)
{
	int now;

	while ((now = atomic_load(counter)) < n)
		futex_wait(counter, now);
}

/* Has n workers open the file, and wait. */
static void round_prepare(enum work work, int n, const char *path, int flags)
{
	shared->work = work;
	shared->n = n;
	shared->path = path;
	shared->flags = flags;
	atomic_store(&shared->tickets, 0);
	atomic_store(&shared->ready, 0);
	atomic_store(&shared->go, 0);
	atomic_store(&shared->started, 0);
	atomic_store(&shared->done, 0);
	memset(shared->turns, 0, sizeof(shared->turns));
	atomic_fetch_add(&shared->round, 1);
	futex_wake(&shared->round, n);
	wait_for_all(&shared->ready, n);
	rest();
}

static void round_go(int go)
{
	atomic_store(&shared->go, go);
	futex_wake(&shared->go, shared->n);
}

static void round_wait(void)
{
	wait_for_all(&shared->done, shared->n);
}

/* Waits until all workers are asleep in their calls. */
static void round_settle(void)
{
	while (atomic_load(&shared->started) < shared->n)
		nap();
	for (int i = 0; i < shared->n; i++)
		loader_settle(shared->turns[i].pid);
}

/* Whether the results are what they have to be; otherwise the figures mean nothing. */
static void round_check(const char *what, bool joined)
{
	int good = 0;

	for (int i = 0; i < shared->n; i++) {
		int err = shared->turns[i].err;

		if (err && err != EEXIST)
			die("%s: %s", what, strerror(err));
		good += !err;
	}
	if (good < 1 || (joined && good < shared->n))
		die("%s: only %d of %d succeeded", what, good, shared->n);
}

/* From the first call's begin to the last one's end. */
static long long round_time(void)
{
	long long began = LLONG_MAX, ended = 0;

	for (int i = 0; i < shared->n; i++) {
		if (shared->turns[i].began < began)
			began = shared->turns[i].began;
		if (shared->turns[i].ended > ended)
			ended = shared->turns[i].ended;
	}
	return ended - began;
}

static void unload_all(const char *path)
{
	char name[32];
	int err;

	snprintf(name, sizeof(name), "%s", strrchr(path, '/') + 1);
	*strchr(name, '.') = '\0';
	err = unload(name);
	if (err)
		die("cannot unload %s: %s", name, strerror(err));
}

/* Storms. */

struct storm {
	long long last_return, leader, first, last;
};

static struct storm storm_time(void)
{
	long long live = get(CLOCK "ended_ns");
	pid_t leader = get(CLOCK "leader");
	struct storm storm = {
		.last_return = round_time() - SLEEP_US * 1000LL,
		.first = shared->n > 1 ? LLONG_MAX : 0,
	};

	for (int i = 0; i < shared->n; i++) {
		const struct turn *turn = &shared->turns[i];

		if (turn->pid == leader) {
			storm.leader = turn->ended - live;
			continue;
		}
		if (turn->ended - live < storm.first)
			storm.first = turn->ended - live;
		if (turn->ended - live > storm.last)
			storm.last = turn->ended - live;
	}
	return storm;
}

static struct storm storm(int n, const char *path, int flags, bool joined)
{
	struct storm storm;

	set(CLOCK "open", 0);
	set(CLOCK "sleep_us", SLEEP_US);
	shared->open_last = true;
	round_prepare(WORK_LOAD, n, path, flags);
	round_go(1);
	round_wait();
	shared->open_last = false;
	round_check(path, joined);
	storm = storm_time();
	set(CLOCK "sleep_us", 0);
	unload_all(path);
	return storm;
}

static long long vmalloc_used(void)
{
	char buf[8192], *line;

	slurp("/proc/meminfo", buf, sizeof(buf));
	line = strstr(buf, "VmallocUsed:");
	return line ? atoll(line + strlen("VmallocUsed:")) * 1024 : 0;
}

/* The same with a gate in the middle, to see what is used then. */
static void storm_memory(const char *size, int n, const char *path, int flags, bool joined)
{
	long long vmalloc, wasted = stat_line("Virtual mem wasted bytes");
	int readers = 0;

	set(CLOCK "open", 0);
	shared->count = true;
	round_prepare(WORK_LOAD, n, path, flags);
	vmalloc = vmalloc_used();
	round_go(1);
	round_settle();
	vmalloc = vmalloc_used() - vmalloc;
	set(CLOCK "open", 1);
	round_wait();
	shared->count = false;
	round_check(path, joined);
	for (int i = 0; i < n; i++)
		readers += shared->turns[i].read >= file_size(path);
	result(vmalloc, "storm.%s.SIDE.%d.peak_vmalloc_bytes", size, n);
	result(readers * file_size(path), "storm.%s.SIDE.%d.read_bytes", size, n);
	result(stat_line("Virtual mem wasted bytes") - wasted, "storm.%s.SIDE.%d.wasted_bytes",
	       size, n);
	unload_all(path);
}

#define MEDIAN(storms, rounds, member)					\
({									\
	long long values[ROUNDS];					\
									\
	for (int r = 0; r < (rounds); r++)				\
		values[r] = (storms)[r].member;				\
	median(values, (rounds));					\
})

static void storms(const char *size, int from, int to, const char *path, int flags, bool joined,
		   int rounds)
{
	struct storm storms[2][ROUNDS];
	int turns = joined ? modes : 1;

	for (int n = from; n <= to; n *= 2) {
		printf("@step storms of %d, %s\n", n, size);
		fflush(stdout);
		for (int r = 0; r < rounds; r++) {
			for (int t = 0; t < turns; t++) {
				int mode = take_turn(turns > 1 ? r : 0, t);

				storms[mode][r] = storm(n, path, flags, joined);
			}
		}
		end_turns();
		for (int mode = 0; mode < turns; mode++) {
			by_c = mode;
			result(MEDIAN(storms[mode], rounds, last_return),
			       "storm.%s.SIDE.%d.last_return_ns", size, n);
			if (n == 1)
				continue;
			result(MEDIAN(storms[mode], rounds, first),
			       "storm.%s.SIDE.%d.first_follower_ns", size, n);
			result(MEDIAN(storms[mode], rounds, last),
			       "storm.%s.SIDE.%d.last_follower_ns", size, n);
		}
		by_c = false;
		storm_memory(size, n, path, flags, joined);
	}
}

/* Loads with nobody else. */

static void single(const char *size, const char *path, int flags, int rounds)
{
	long long loads[2][ROUNDS], unloads[2][ROUNDS];

	for (int r = 0; r < rounds + 2; r++) {
		for (int t = 0; t < modes; t++) {
			int fd = call_open(path, flags), err, mode = take_turn(r, t);
			long long began;

			rest();
			began = now_ns();
			err = call(path, fd, flags);
			/* The first ones fill caches. */
			loads[mode][r < 2 ? 0 : r - 2] = now_ns() - began;
			if (err)
				die("single load of %s: %s", path, strerror(err));
			close(fd);
			rest();
			began = now_ns();
			unload_all(path);
			unloads[mode][r < 2 ? 0 : r - 2] = now_ns() - began;
		}
	}
	end_turns();
	for (int mode = 0; mode < modes; mode++) {
		by_c = mode;
		result(median(loads[mode], rounds), "single.%s.SIDE.load_ns", size);
		result(median(unloads[mode], rounds), "single.%s.SIDE.unload_ns", size);
	}
	by_c = false;
}

static void singles(void)
{
	printf("@step single loads\n");
	fflush(stdout);
	single("16k", "/bench/bench_16k.ko", 0, 31);
	single("1m", "/bench/bench_1m.ko", 0, 11);
	single("16k_copy", "/bench/bench_16k.ko", COPY, 31);
	single("1m_copy", "/bench/bench_1m.ko", COPY, 11);
}

/* Loads of a module that is live. */
static void late(const char *size, const char *path, int flags, int rounds)
{
	long long times[64];
	int fd = call_open(path, flags), err = call(path, fd, flags);

	if (err)
		die("load of %s: %s", path, strerror(err));
	close(fd);
	for (int r = 0; r < rounds + 2; r++) {
		long long began;

		fd = call_open(path, flags);
		rest();
		began = now_ns();
		err = call(path, fd, flags);
		times[r < 2 ? 0 : r - 2] = now_ns() - began;
		close(fd);
		if (err != EEXIST)
			die("late duplicate of %s: %s", path, strerror(err));
	}
	result(median(times, rounds), "late.%s.SIDE.ns", size);
	unload_all(path);
}

/* Many modules that differ in nothing but their names. */

static void many_make(void)
{
	static const char from[] = "bench_16k";

	for (int i = 0; i < MANY; i++) {
		char name[sizeof(from)], path[32], *data, *at;
		size_t len;

		data = at = read_file("/bench/bench_16k.ko", &len);
		snprintf(name, sizeof(name), "bench_m%02d", i);
		while (at && (at = memmem(at, data + len - at, from, strlen(from))))
			memcpy(at, name, strlen(from));
		snprintf(path, sizeof(path), "/tmp/%s.ko", name);
		if (!data || write_file(path, data, len))
			die("cannot write %s", path);
		free(data);
	}
}

/* Rounds are shown one by one where a clock is a clock. */
static void results_of(long long (*times)[ROUNDS], int rounds, bool each, const char *name, int n)
{
	for (int mode = 0; mode < modes; mode++) {
		by_c = mode;
		result(median(times[mode], rounds), "%s.SIDE.%d.last_return_ns", name, n);
		for (int r = 0; each && r < rounds; r++)
			result(times[mode][r], "%s.SIDE.%d.round_%d_ns", name, n, r);
	}
	by_c = false;
}

static void many(const char *name, int rounds, bool each)
{
	long long times[2][ROUNDS];

	printf("@step %d modules by %d processes\n", MANY, WORKERS);
	fflush(stdout);
	many_make();
	for (int r = 0; r < rounds; r++) {
		for (int t = 0; t < modes; t++) {
			int mode = take_turn(r, t);

			round_prepare(WORK_MANY, WORKERS, NULL, 0);
			round_go(1);
			round_wait();
			round_check("many modules", false);
			times[mode][r] = round_time();
			for (int i = 0; i < MANY; i++) {
				char module[16];

				snprintf(module, sizeof(module), "bench_m%02d", i);
				unload(module);
			}
		}
	}
	end_turns();
	results_of(times, rounds, each, name, WORKERS);
}

/* Requests, which a helper answers after a while. */

/* What modprobe is for the time being. */
static int helper(void)
{
	int fd = open(HELPERS, O_WRONLY | O_APPEND);

	if (write(fd, "1", 1) < 0)
		return 1;
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	return 0;
}

static void requests(int rounds)
{
	char modprobe[128];
	long long times[16];

	if (requests_load())
		die("no module for requests");
	slurp(MODPROBE_PATH, modprobe, sizeof(modprobe));
	spit(MODPROBE_PATH, "/bench/helper");
	for (int n = 1; n <= WORKERS; n *= 4) {
		long helpers = 0;

		printf("@step storms of %d requests\n", n);
		fflush(stdout);
		for (int r = 0; r < rounds; r++) {
			write_file(HELPERS, "", 0);
			round_prepare(WORK_REQUEST, n, "bench_name", 0);
			round_go(1);
			round_wait();
			times[r] = round_time();
			helpers = file_size(HELPERS);
		}
		result(median(times, rounds), "request.SIDE.%d.last_return_ns", n);
		result(helpers, "request.SIDE.%d.helpers", n);
	}
	spit(MODPROBE_PATH, modprobe);
}

/* What it takes to read a file while so many wait for a load. */

static void reading(const char *name, const char *path, int n, int rounds)
{
	static char buf[1 << 20];
	long long times[64];

	for (int r = 0; r < rounds; r++) {
		long long began = now_ns();

		if (slurp(path, buf, sizeof(buf)) < 0)
			return;
		times[r] = now_ns() - began;
	}
	result(median(times, rounds), "reading.SIDE.%d.%s_ns", n, name);
}

static void readings(const char *path, int rounds)
{
	printf("@step reading in a storm\n");
	fflush(stdout);
	for (int n = 1; n <= WORKERS; n *= 16) {
		set(CLOCK "open", 0);
		round_prepare(WORK_LOAD, n, path, 0);
		round_go(1);
		round_settle();
		reading("stats", STATS, n, rounds);
		reading("dedup", DEDUP_FILE, n, rounds);
		set(CLOCK "open", 1);
		round_wait();
		round_check("reading", false);
		unload_all(path);
	}
}

static void mark(void)
{
	personality(0xffffffff);
}

/* Waits until the leader is where it waits for the gate. */
static void leader_settle(void)
{
	while (!atomic_load(&shared->started))
		nap();
	loader_settle(shared->turns[0].pid);
}

/* A storm between two marks, which begins when its leader has loaded. */
static void marked_storm(const char *path, int n)
{
	set(CLOCK "open", 0);
	set(CLOCK "sleep_us", SLEEP_US);
	shared->leader_first = true;
	round_prepare(WORK_LOAD, n, path, 0);
	round_go(1);
	leader_settle();
	shared->open_last = n > 1;
	rest();
	mark();
	if (n > 1)
		round_go(2);
	else
		set(CLOCK "open", 1);
	round_wait();
	mark();
	shared->open_last = shared->leader_first = false;
	round_check(path, true);
	set(CLOCK "sleep_us", 0);
	unload_all(path);
}

static void marked_call(const char *path, int expected)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	rest();
	mark();
	err = finit(fd, "", 0);
	mark();
	close(fd);
	if (err != expected)
		die("%s: %s", path, strerror(err));
}

/* What is counted from outside, between marks; in the order that the host knows. */
static void marked(const char *path, int rounds)
{
	/* The first one fills caches. */
	storm(WORKERS, path, 0, true);
	for (int n = 1; n <= WORKERS; n *= 2) {
		for (int r = 0; r < rounds; r++)
			marked_storm(path, n);
	}
	for (int r = 0; r < rounds; r++) {
		marked_call(path, 0);
		marked_call(path, EEXIST);
		unload_all(path);
	}
}

/* For a machine whose clock is a clock. */
static void clocked(int rounds)
{
	long long times[2][ROUNDS];

	for (int n = 64; n <= WORKERS; n *= 4) {
		printf("@step storms of %d\n", n);
		fflush(stdout);
		for (int r = 0; r < rounds; r++) {
			for (int t = 0; t < modes; t++) {
				int mode = take_turn(r, t);

				times[mode][r] = storm(n, "/bench/bench_1m.ko", 0, true).last_return;
			}
		}
		end_turns();
		results_of(times, rounds, true, "threads.storm", n);
	}
	many("threads.many", rounds / 3, true);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	bool joined = argc > 2 && strcmp(argv[2], "off");

	if (argc > 2 && !strcmp(argv[2], "ours"))
		modes = 2;
	if (strstr(argv[0], "helper"))
		return helper();
	if (load_once("/bench/bench_clock.ko"))
		die("cannot load bench_clock.ko");
	images_read();
	workers_start();

	if (!strcmp(what, "marked")) {
		marked("/bench/bench_16k.ko", 3);
	} else if (!strcmp(what, "clocked")) {
		clocked(48);
	} else if (!strcmp(what, "all")) {
		storms("16k", 1, WORKERS, "/bench/bench_16k.ko", 0, joined, 6);
		storms("1m", 1, WORKERS, "/bench/bench_1m.ko", 0, joined, joined ? 6 : 1);
		/* Without joining, more of them do not fit into the memory for modules. */
		storms("8m", 1, joined ? WORKERS : 64, "/bench/bench_8m.ko", 0, joined,
		       joined ? 4 : 1);
		storms("1m_zst", 64, 64, "/bench/bench_1m.ko.zst", MODULE_INIT_COMPRESSED_FILE,
		       joined, joined ? 4 : 1);
		storms("1m_copy", WORKERS, WORKERS, "/bench/bench_1m.ko", COPY, false, 1);
		singles();
		late("16k", "/bench/bench_16k.ko", 0, 15);
		late("1m", "/bench/bench_1m.ko", 0, 15);
		late("8m", "/bench/bench_8m.ko", 0, 5);
		late("1m_copy", "/bench/bench_1m.ko", COPY, 15);
		late("1m_zst", "/bench/bench_1m.ko.zst", MODULE_INIT_COMPRESSED_FILE, 5);
		many("many", 4, false);
		requests(3);
		readings("/bench/bench_16k.ko", 15);
	} else {
		die("usage: %s all|marked|clocked stock|ours|off", argv[0]);
	}
	for (int i = 0; i < results_len; i++)
		printf("%s %lld\n", results[i].name, results[i].value);
	return 0;
}
