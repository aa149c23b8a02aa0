// SPDX-License-Identifier: GPL-2.0
/*
 * Chaos: many processes load, remove, request and rewrite modules at random,
 * while others get signals, are killed, find no memory, switch de-duplication
 * off and on, and read what can be seen of it. What each process gets, and what
 * is left in the end, is checked from outside.
 *
 * A round has its own mixture. The less it disturbs, the more exact are the
 * checks: where no process is killed every call must have been counted, where
 * nothing is removed every success must be live.
 *
 * In the last round of all it is forbidden to load modules meanwhile, which only
 * the next boot undoes.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest.h"
#include "lib/clock.h"
#include "lib/disk.h"
#include "lib/faults.h"
#include "lib/files.h"
#include "lib/helpers.h"
#include "lib/log.h"
#include "lib/memory.h"
#include "lib/modules.h"
#include "lib/random.h"
#include "lib/requests.h"
#include "lib/stats.h"
#include "lib/workers.h"

#define DIR "/tmp/dedup_chaos/"
#define STEPS 64
/* Where files are whose times are coarse. */
#define COARSE_DIR DISK_DIR "/"
#define BAD_FLAG 1024
/* An errno of the kernel, which the C code lets out. */
#define ERESTARTSYS 512

static const char * const modules[] = {
	"test_dedup", "test_dedup_b", "test_dedup_c", "test_dedup_big",
	"test_dedup_base", "test_dedup_user_a",
};

#define MODULES ((int)ARRAY_SIZE(modules))
/* These have parameters. */
#define WITH_PARAMS 4
/* This one needs the one before. */
#define NEEDS_BASE 5
#define BASE 4

/* The same module in two files, the same file compressed, and one that is broken. */
enum file { ORIGINAL, COPY, COMPRESSED, BROKEN, FILES };

enum op {
	LOAD, LOAD_COMPRESSED, LOAD_BROKEN, LOAD_BAD_FLAGS, LOAD_BAD_ARGS, LOAD_COPY,
	REMOVE, REQUEST, NOWAIT, REWRITE, REPLACE, READ, MODE, SIGNAL, KILL, OPS
};

static const char * const op_names[OPS] = {
	"load", "load of a compressed file", "load of a broken file", "load with bad flags",
	"load with bad arguments", "init_module", "remove", "request", "request without wait",
	"rewrite", "replace", "read", "mode", "signal", "kill",
};

/* What is requested, what the helper does, and what may be the answer. */
static const struct {
	const char *name;
	const char *script;
	int results[2];
	/* The module that is live after an answer of 0, or -1. */
	int module;
} asked[] = {
	{ "chaos_0", "exit 0\n", { 0 }, -1 },
	{ "chaos_1", "exit 1\n", { STATUS(1), STATUS(1) }, -1 },
	{ "chaos_2", "exit 2\n", { STATUS(2), STATUS(2) }, -1 },
	/* A signal ends the helper. */
	{ "chaos_killed", "kill\n", { SIGKILL, SIGKILL }, -1 },
	/* A wrapper that requests what it was started for, unless another one does so. */
	{ "chaos_wrapper", "guard\nrequest chaos_wrapper\nunguard\nexit 0\n",
	  { 0, STATUS(1) }, -1 },
	/* A real module, which others remove. */
	{ "chaos_load", "load " DIR "test_dedup_b.ko\nanswer\n", { 0, STATUS(1) }, 1 },
};

#define NAMES ((int)ARRAY_SIZE(asked))

/* What a round does. */
struct mixture {
	bool removes, rewrites, signals, restarts, kills, faults, modes, requests;
	bool starves, coarse, forbids;
};

/* What the workers of a round have seen and done. */
struct round {
	struct mixture mix;
	unsigned int number;
	bool allowed[OPS][ERRNOS];
	atomic_long calls, entered, requested, handled, faults, reads, removed[MODULES];
	atomic_long zeros[MODULES];
	/* Results that are not allowed, and successes that are not live. */
	atomic_int wrong, dead;
};

/* What all rounds have. */
static struct {
	long calls, led, joined, late, behind, retried, interrupted, bypassed, requests;
	long copies_led, copies_joined, copies_late;
	long faults, signals, killed, removed, reads, rounds, starved, coarse, forbidden;
} sum;

static struct round *r;
static bool can_fail;
/* The file with a compressed module, or why there is none. */
static const char *compressed, *not_compressed;
static bool has_disk;
static int wrong, dead, uncounted, unfinished, stuck, alarms, hung;

static const char *path_of(int module, enum file file)
{
	static const char * const endings[FILES] = {
		".ko", ".copy.ko", ".ko.compressed", ".broken.ko",
	};
	static char path[128];

	snprintf(path, sizeof(path), "%s%s%s", r->mix.coarse ? COARSE_DIR : DIR, modules[module],
		 endings[file]);
	return path;
}

static const char *source_of(int module)
{
	static char path[128];

	snprintf(path, sizeof(path), MODULES_DIR "%s.ko", modules[module]);
	return path;
}

static void files_make(void)
{
	for (int m = 0; m < MODULES; m++) {
		size_t len;
		char *data = read_file(source_of(m), &len);

		if (!data || write_file(path_of(m, ORIGINAL), data, len) ||
		    write_file(path_of(m, COPY), data, len) ||
		    write_file(path_of(m, BROKEN), data, len / 2))
			ksft_exit_fail_msg("cannot copy %s\n", source_of(m));
		free(data);
	}
	if (compressed && copy_file(compressed, path_of(0, COMPRESSED)))
		ksft_exit_fail_msg("cannot copy %s\n", compressed);
}

static void modules_remove(void)
{
	for (int m = MODULES - 1; m >= 0; m--)
		unload(modules[m]);
}

static void handle_signal(int sig)
{
	atomic_fetch_add(&r->handled, 1);
}

static void allow(enum op op, int err)
{
	r->allowed[op][err] = true;
}

/* What calls of this round may return. */
static void allow_all(void)
{
	static const enum op loads[] = {
		LOAD, LOAD_COMPRESSED, LOAD_BROKEN, LOAD_BAD_ARGS, LOAD_COPY
	};
	const struct mixture *mix = &r->mix;
	const bool disturbed = mix->signals || mix->kills || mix->restarts;

	memset(r->allowed, 0, sizeof(r->allowed));
	for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
		enum op op = loads[i];

		if (op != LOAD_BROKEN) {
			allow(op, EEXIST);
			/* Another one of that name has failed, or is being removed. */
			allow(op, EBUSY);
			/* It needs one that is not there. */
			allow(op, ENOENT);
		}
		if (op == LOAD || op == LOAD_COMPRESSED || op == LOAD_COPY) {
			allow(op, 0);
			/* fail=-5 */
			allow(op, EIO);
		}
		if (mix->signals)
			allow(op, EINTR);
		if (mix->faults)
			allow(op, ENOMEM);
	}
	if (mix->rewrites) {
		allow(LOAD, ETXTBSY);
		allow(LOAD_BAD_ARGS, ETXTBSY);
		/* What is copied may be a file that is just being written. */
		allow(LOAD_COPY, EFAULT);
		allow(LOAD_COPY, EINVAL);
		allow(LOAD_COPY, ENOEXEC);
	}
	/* A process may be killed when it has written nothing of a file, or a part. */
	if (mix->rewrites && mix->kills) {
		allow(LOAD, EINVAL);
		allow(LOAD, ENOEXEC);
		allow(LOAD_BAD_ARGS, EINVAL);
		allow(LOAD_BAD_ARGS, ENOEXEC);
	}
	/* For the kernel's XZ, a dictionary that it has no memory for is a broken file. */
	if (mix->faults)
		allow(LOAD_COMPRESSED, EINVAL);
	if (mix->modes) {
		/* The C code gives everybody the result of other arguments, and of a signal. */
		allow(LOAD_BAD_ARGS, 0);
		allow(LOAD_BAD_ARGS, EIO);
		allow(LOAD, EFAULT);
		for (size_t i = 0; disturbed && i < ARRAY_SIZE(loads); i++) {
			allow(loads[i], EINTR);
			allow(loads[i], ENOMEM);
			allow(loads[i], ERESTARTSYS);
		}
	}
	for (size_t i = 0; mix->forbids && i < ARRAY_SIZE(loads); i++)
		allow(loads[i], EPERM);
	if (mix->forbids)
		allow(LOAD_BAD_FLAGS, EPERM);
	allow(LOAD_BROKEN, ENOEXEC);
	allow(LOAD_BAD_FLAGS, EINVAL);
	allow(LOAD_BAD_ARGS, EFAULT);
	allow(REMOVE, 0);
	allow(REMOVE, ENOENT);
	allow(REMOVE, EBUSY);
	allow(REMOVE, EAGAIN);
	/* It waits for a mutex, and is not restarted. */
	if (mix->signals || mix->restarts)
		allow(REMOVE, EINTR);
}

static const char *describe(const struct mixture *mix)
{
	static char text[160];

	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s%s%s%s%s", mix->removes ? " removes" : "",
		 mix->rewrites ? " rewrites" : "", mix->signals ? " signals" : "",
		 mix->restarts ? " restarts" : "", mix->kills ? " kills" : "",
		 mix->faults ? " faults" : "", mix->modes ? " modes" : "",
		 mix->requests ? " requests" : "", mix->starves ? " starves" : "",
		 mix->coarse ? " coarse" : "", mix->forbids ? " forbids" : "");
	return text;
}

/* Checks what a call returned. */
static void check(int number, enum op op, int module, int err)
{
	/* Only one of them needs another one, which may not be there. */
	bool missing = err == ENOENT && op != REMOVE && module != NEEDS_BASE;

	if (err < ERRNOS && r->allowed[op][err] && !missing)
		return;
	atomic_fetch_add(&r->wrong, 1);
	ksft_print_msg("round %u:%s, process %d: %s of %s returned %s\n", r->number,
		       describe(&r->mix), number, op_names[op], modules[module], errno_name(err));
}

/* Arguments: none, some that make init fail, and some that are not compared. */
static const char *some_args(unsigned long long *random, int module)
{
	static char text[5000];

	if (module >= WITH_PARAMS || chance(random, 92))
		return "";
	switch (below(random, 4)) {
	case 0:
		return "fail=-5";
	case 1:
		return "tag=1";
	case 2:
		return "tag=2 text=some";
	default:
		memset(text, ' ', sizeof(text) - 1);
		return text;
	}
}

static void do_load(int number, unsigned long long *random, enum op op)
{
	int module = op == LOAD_COMPRESSED ? 0 : below(random, MODULES);
	const char *args = some_args(random, module);
	enum file file = chance(random, 85) ? ORIGINAL : COPY;
	bool fail = r->mix.faults && chance(random, 30);
	int flags = 0, err, fd;
	void *image = MAP_FAILED;
	struct stat st;

	/* What else is loaded shall not be slow. */
	if (module == 3 && file == COPY && chance(random, 80))
		file = ORIGINAL;
	if (op == LOAD_COMPRESSED) {
		file = COMPRESSED;
		flags = MODULE_INIT_COMPRESSED_FILE;
	} else if (op == LOAD_BROKEN) {
		file = BROKEN;
	} else if (op == LOAD_BAD_FLAGS) {
		flags = BAD_FLAG;
	} else if (op == LOAD_BAD_ARGS) {
		args = (const char *)8;
	} else if (chance(random, 2)) {
		flags = MODULE_INIT_IGNORE_MODVERSIONS;
	}

	fd = open(path_of(module, file), O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		check(number, op, module, errno);
		return;
	}
	if (op == LOAD_COPY) {
		fstat(fd, &st);
		/* Only the kernel's own memory for the call shall run out. */
		image = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
		/* Somebody has just made the file empty, to write it again. */
		if (image == MAP_FAILED)
			st.st_size = 0;
	}
	atomic_fetch_add(&r->calls, 1);
	if (fail)
		fail_nth(1 + below(random, 40));
	if (op != LOAD_BAD_FLAGS)
		atomic_fetch_add(&r->entered, 1);
	if (op == LOAD_COPY)
		err = syscall(SYS_init_module, image, st.st_size, args) ? errno : 0;
	else
		err = finit(fd, args, flags);
	if (fail && !fail_nth(0))
		atomic_fetch_add(&r->faults, 1);
	if (image != MAP_FAILED)
		munmap(image, st.st_size);
	close(fd);
	check(number, op, module, err);
	if (!err)
		atomic_fetch_add(&r->zeros[module], 1);
	if ((!err || err == EEXIST) && !r->mix.removes && !module_live(modules[module])) {
		atomic_fetch_add(&r->dead, 1);
		ksft_print_msg("round %u, process %d: %s of %s returned %s, but it is not live\n",
			       r->number, number, op_names[op], modules[module], errno_name(err));
	}
}

static void do_remove(int number, unsigned long long *random)
{
	int module = below(random, MODULES);
	int err = unload(modules[module]);

	check(number, REMOVE, module, err);
	if (!err)
		atomic_fetch_add(&r->removed[module], 1);
}

static void do_request(int number, unsigned long long *random, bool wait)
{
	int name = below(random, NAMES), module = asked[name].module, result;
	bool right;
	char text[32];

	snprintf(text, sizeof(text), "%s%s", wait ? "" : "&", asked[name].name);
	atomic_fetch_add(&r->calls, 1);
	atomic_fetch_add(&r->requested, 1);
	result = request(text);
	right = result == asked[name].results[0] || result == asked[name].results[1];
	if (!wait ? result : !right) {
		atomic_fetch_add(&r->wrong, 1);
		ksft_print_msg("round %u:%s, process %d: %s of %s returned %d\n", r->number,
			       describe(&r->mix), number, op_names[wait ? REQUEST : NOWAIT],
			       asked[name].name, result);
	}
	if (wait && !result && module >= 0 && !r->mix.removes && !module_live(modules[module])) {
		atomic_fetch_add(&r->dead, 1);
		ksft_print_msg("round %u, process %d: %s succeeded, but %s is not live\n",
			       r->number, number, asked[name].name, modules[module]);
	}
}

/* Writes a file again, in place or as another one of that name. */
static void do_rewrite(unsigned long long *random, bool replace)
{
	int module = below(random, MODULES);
	enum file file = chance(random, 50) ? ORIGINAL : COPY;
	char path[128], new[160];

	/* The disk has no room for many large files. */
	if (r->mix.coarse && module == 3)
		module = 0;
	snprintf(path, sizeof(path), "%s", path_of(module, file));
	snprintf(new, sizeof(new), "%s.%d", path, getpid());
	if (!replace)
		copy_file(source_of(module), path);
	else if (!copy_file(source_of(module), new))
		rename(new, path);
}

static void do_read(void)
{
	static const char * const what[] = { STATS, DEDUP_FILE };
	static char buf[65536];

	for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
		if (slurp(what[i], buf, sizeof(buf)) > 0) {
			atomic_fetch_add(&r->reads, 1);
		} else {
			atomic_fetch_add(&r->wrong, 1);
			ksft_print_msg("round %u: %s cannot be read\n", r->number, what[i]);
		}
	}
}

/* Of the others, somebody. */
static pid_t somebody(int number, unsigned long long *random)
{
	int other = below(random, workers_count);

	return other == number ? 0 : workers[other].pid;
}

static enum op some_op(unsigned long long *random)
{
	static const struct {
		enum op op;
		int weight;
	} weights[] = {
		{ LOAD, 580 }, { LOAD_COMPRESSED, 30 }, { LOAD_BROKEN, 30 }, { LOAD_BAD_FLAGS, 20 },
		{ LOAD_BAD_ARGS, 5 }, { LOAD_COPY, 130 }, { REMOVE, 20 }, { REQUEST, 10 },
		{ NOWAIT, 5 }, { REWRITE, 20 }, { REPLACE, 20 }, { READ, 10 }, { MODE, 10 },
		{ SIGNAL, 100 }, { KILL, 10 },
	};
	int at = below(random, 1000);

	for (size_t i = 0; i < ARRAY_SIZE(weights); i++) {
		at -= weights[i].weight;
		if (at < 0)
			return weights[i].op;
	}
	return LOAD;
}

/* Whether this round does that. */
static bool has_op(enum op op)
{
	const struct mixture *mix = &r->mix;

	switch (op) {
	case LOAD_COMPRESSED:
		return compressed;
	case REMOVE:
		return mix->removes;
	case REQUEST:
	case NOWAIT:
		return mix->requests;
	case REWRITE:
	case REPLACE:
		return mix->rewrites;
	case MODE:
		return mix->modes;
	case SIGNAL:
		return mix->signals || mix->restarts;
	case KILL:
		return mix->kills;
	default:
		return true;
	}
}

static void work(int number, struct worker *w)
{
	static const char * const modes[] = { "on", "on", "off", "c" };
	unsigned long long random = seed_of(r->number, number + 1);
	struct sigaction action = {
		.sa_handler = handle_signal,
		.sa_flags = r->mix.restarts ? SA_RESTART : 0,
	};

	sigaction(SIGUSR1, &action, NULL);
	/* It runs when no other process wants to. */
	if (r->mix.starves && number % 4 == 0)
		sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ });
	for (int i = 0; i < STEPS; i++) {
		enum op op = some_op(&random);
		pid_t pid;

		if (!has_op(op))
			op = LOAD;
		doing(w, op_names[op]);
		switch (op) {
		case REMOVE:
			do_remove(number, &random);
			break;
		case REQUEST:
		case NOWAIT:
			do_request(number, &random, op == REQUEST);
			break;
		case REWRITE:
		case REPLACE:
			do_rewrite(&random, op == REPLACE);
			break;
		case READ:
			do_read();
			break;
		case MODE:
			set_dedup(modes[below(&random, ARRAY_SIZE(modes))]);
			break;
		case SIGNAL:
		case KILL:
			pid = somebody(number, &random);
			if (pid)
				kill(pid, op == KILL ? SIGKILL : SIGUSR1);
			break;
		default:
			do_load(number, &random, op);
		}
	}
}

/*
 * What a round is made of. Most rounds disturb in several ways, and each way
 * comes up in one of eight rounds at the least.
 */
static struct mixture some_mixture(unsigned int number)
{
	unsigned long long random = seed_of(number, 0);
	unsigned int sure = number % 8;
	struct mixture mix = {
		.removes	= chance(&random, 75) || sure == 0,
		.rewrites	= chance(&random, 40) || sure == 1,
		.signals	= (chance(&random, 30) || sure == 2) && sure != 3,
		.restarts	= chance(&random, 40) || sure == 3,
		.kills		= chance(&random, 30) || sure == 4,
		.faults		= (chance(&random, 30) || sure == 5) && can_fail,
		.modes		= chance(&random, 20) || sure == 6,
		.requests	= chance(&random, 40) || sure == 7,
		.starves	= chance(&random, 20) || sure == 1,
		.coarse		= (chance(&random, 15) || sure == 2) && has_disk,
	};

	mix.restarts &= !mix.signals;
	/* Who is killed leaves files, and the disk is small. */
	mix.kills &= !mix.coarse;
	return mix;
}

/*
 * Every call was led, joined, let go alone, interrupted or refused. Who was
 * killed may have been so before the call; who was restarted has called again.
 */
static void check_counters(const struct stats *since, int killed)
{
	long counted = since->led + since->joined + since->copies_led + since->copies_joined +
		       since->bypassed + since->interrupted + since->refused +
		       since->requests_led + since->requests_joined + since->requests_alone;
	long calls = r->entered + r->requested;
	/* What is forbidden is not counted. */
	long least = r->mix.modes || r->mix.forbids ? 0 : calls - killed;
	/* Each helper makes one call at the most, maybe in the next round. */
	static long helpers_before;
	long helpers = r->mix.requests ? since->requests_led + since->requests_alone : 0;
	long most = calls + (r->mix.restarts ? r->handled : 0) + helpers + helpers_before;

	helpers_before = helpers;
	if (counted < least || counted > most) {
		uncounted++;
		ksft_print_msg("round %u:%s: %ld calls and requests, %d killed, %ld signals\n",
			       r->number, describe(&r->mix), calls, killed, r->handled);
		ksft_print_msg("round %u: led %lld, joined %lld, alone %lld, interrupted %lld\n",
			       r->number, since->led, since->joined, since->bypassed,
			       since->interrupted);
		ksft_print_msg("round %u: copies led %lld, joined %lld\n", r->number,
			       since->copies_led, since->copies_joined);
		ksft_print_msg("round %u: requests led %lld, joined %lld, alone %lld\n",
			       r->number, since->requests_led, since->requests_joined,
			       since->requests_alone);
	}
	if (since->refused || since->died) {
		alarms++;
		ksft_print_msg("round %u:%s: refused %lld, died %lld\n", r->number,
			       describe(&r->mix), since->refused, since->died);
	}
}

/* Each time that a module went live somebody was told so, and the other way round. */
static void check_lives(const bool *live_before, int killed)
{
	for (int m = 0; m < MODULES; m++) {
		long lives = r->removed[m] + module_live(modules[m]) - live_before[m];

		/* A helper may have loaded it, too. */
		if ((lives > r->zeros[m] + killed && !(r->mix.requests && m == 1)) ||
		    (r->zeros[m] && lives + killed < 1)) {
			dead++;
			ksft_print_msg("round %u:%s: %s live %ld times, %ld told so, %d killed\n",
				       r->number, describe(&r->mix), modules[m], lives,
				       r->zeros[m], killed);
		}
	}
}

/* The helpers of processes that were killed may run for a moment. */
static bool flights_end(void)
{
	for (int i = 0; i < 5000 && !nothing_in_flight(); i++)
		nap();
	return nothing_left_in_flight();
}

/* Forbids to load modules once enough calls were made. */
static void forbid(void)
{
	while (r->calls < processes * STEPS / 8)
		nap();
	spit("/proc/sys/kernel/modules_disabled", "1");
	sum.forbidden++;
}

static void run_round(unsigned int number, bool last)
{
	static bool made[2];
	bool live_before[MODULES];
	struct stats before, since;
	int killed;

	/* A file that is written anew is another one. */
	if (r->mix.rewrites)
		made[r->mix.coarse] = false;
	memset(r, 0, sizeof(*r));
	r->number = number;
	if (last)
		r->mix.forbids = true;
	else
		r->mix = some_mixture(number);
	if (!made[r->mix.coarse])
		files_make();
	made[r->mix.coarse] = true;
	if (r->mix.requests)
		rmdir(helper_file("chaos_wrapper", ".guard"));
	allow_all();
	set_dedup("on");
	/* The module that needs another one needs it at once, in half of the rounds. */
	if (number % 2 && load_once(path_of(BASE, ORIGINAL)))
		ksft_exit_fail_msg("cannot load %s\n", modules[BASE]);
	for (int m = 0; m < MODULES; m++)
		live_before[m] = module_live(modules[m]);

	log_expect(r->mix.faults ? "Call Trace:" : "nothing");
	before = read_stats();
	workers_start(processes, work);
	if (last)
		forbid();
	killed = workers_wait();
	log_expect("nothing");
	wrong += r->wrong;
	dead += r->dead;
	if (killed < 0 || (killed && !r->mix.kills)) {
		hung++;
		return;
	}
	set_dedup("on");
	since = stats_since(before);

	check_counters(&since, killed);
	check_lives(live_before, killed);
	stuck += !flights_end();
	unfinished += !all_modules_live();

	sum.rounds++;
	sum.calls += r->calls;
	sum.led += since.led;
	sum.joined += since.joined;
	sum.late += since.late;
	sum.copies_led += since.copies_led;
	sum.copies_joined += since.copies_joined;
	sum.copies_late += since.copies_late;
	sum.behind += since.behind;
	sum.retried += since.retried;
	sum.interrupted += since.interrupted;
	sum.bypassed += since.bypassed;
	sum.requests += since.requests_led + since.requests_joined + since.requests_alone;
	sum.faults += r->faults;
	sum.signals += r->handled;
	sum.killed += killed;
	sum.reads += r->reads;
	sum.starved += r->mix.starves;
	sum.coarse += r->mix.coarse;
	for (int m = 0; m < MODULES; m++)
		sum.removed += r->removed[m];
}

/* Whether rounds of all kinds were possible. Without a program that compresses they are not. */
static int variety(void)
{
	if (!can_fail || !has_disk)
		return KSFT_FAIL;
	if (compressed)
		return KSFT_PASS;
	ksft_print_msg("%s\n", not_compressed);
	return access("/sys/module/compression", F_OK) ? KSFT_FAIL : KSFT_SKIP;
}

static bool any_failure(void)
{
	return wrong || dead || uncounted || unfinished || stuck || alarms || hung;
}

int main(int argc, char **argv)
{
	unsigned int number = 0;
	bool measured = false;
	long memory = -1, now = -1;

	workers_begin(argc, argv, 32);
	ksft_set_plan(9);
	if (requests_load() || helper_install())
		ksft_exit_fail_msg("cannot load the modules of the tests\n");
	mkdir(DIR, 0755);
	for (int i = 0; i < NAMES; i++)
		helper_script(asked[i].name, asked[i].script);
	/* The kernel's own minix.ko; without it, or a disk, no round is coarse. */
	has_disk = !system("modprobe minix") && !minix_format() && !disk_mount("minix", 0);
	compressed = compressed_module(&not_compressed);
	can_fail = faults_init();
	r = shared_memory(sizeof(*r));

	do {
		/* By now everything that is kept for good has been allocated. */
		if (!measured && sum.calls * 10 >= calls_wanted) {
			modules_remove();
			memory = kernel_memory();
			measured = true;
		}
		run_round(number++, false);
		progress(sum.calls);
	} while (sum.calls < calls_wanted && !any_failure());

	if (!hung) {
		modules_remove();
		now = measured ? kernel_memory() : -1;
		run_round(number, true);
	}
	helper_restore();
	disk_umount();
	ksft_test_result(!wrong, "every process got a result that is allowed\n");
	ksft_test_result(!dead, "every success was live\n");
	ksft_test_result(!unfinished, "no module is left coming or going\n");
	ksft_test_result(!hung, "no process hangs, or ends but by our hand\n");
	ksft_test_result(!uncounted, "the counters add up\n");
	ksft_test_result(!stuck, "nothing is left in flight\n");
	ksft_test_result(!alarms, "nobody was refused, and nobody died\n");
	ksft_test_result_report(variety(),
				"memory can run out, files be compressed, and times coarse\n");
	ksft_test_result_report(memory_verdict(hung ? -1 : memory, now), "memory is what it was\n");
	printf("@chaos seed=%llu rounds=%ld calls=%ld led=%ld joined=%ld late=%ld behind=%ld",
	       seed, sum.rounds, sum.calls, sum.led, sum.joined, sum.late, sum.behind);
	printf(" copies_led=%ld copies_joined=%ld copies_late=%ld", sum.copies_led,
	       sum.copies_joined, sum.copies_late);
	printf(" retried=%ld interrupted=%ld alone=%ld requests=%ld removed=%ld signals=%ld",
	       sum.retried, sum.interrupted, sum.bypassed, sum.requests, sum.removed,
	       sum.signals);
	printf(" killed=%ld faults=%ld reads=%ld starved=%ld coarse=%ld forbidden=%ld\n",
	       sum.killed, sum.faults, sum.reads, sum.starved, sum.coarse, sum.forbidden);
	ksft_finished();
}
