/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What dedup_chaos and dedup_fuzz share: processes that do things at random,
 * and a parent that sees to it that none of them hangs.
 *
 * All choices of a worker follow from the seed, the round and its number, so a
 * seed repeats what is tried, though not in which order processes come to it.
 */
#ifndef _MODULE_DEDUP_WORKERS_H
#define _MODULE_DEDUP_WORKERS_H

#include <stdint.h>
#include <sys/prctl.h>

#include "dedup.h"
#include "kselftest.h"

#define MAX_WORKERS 256
#define ERRNOS 1024

/* Seconds without any progress of anybody, after which a process counts as hanging. */
#define STALLED 180

/* What the user asked for. */
static unsigned long long seed;
static long calls_wanted = 20000;
static int processes;

/* Random numbers: splitmix64. */
static inline unsigned long long next_random(unsigned long long *state)
{
	unsigned long long z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline unsigned int below(unsigned long long *state, unsigned int n)
{
	return next_random(state) % n;
}

static inline bool chance(unsigned long long *state, unsigned int percent)
{
	return below(state, 100) < percent;
}

/* Where the random numbers of a worker of a round begin. */
static inline unsigned long long seed_of(unsigned int round, unsigned int worker)
{
	unsigned long long state = seed ^ (round + 0ULL) << 32 ^ worker;

	return next_random(&state);
}

/* What a worker tells the parent. Lives in memory that all of them share. */
struct worker {
	pid_t pid;
	/* Steps that it has begun. */
	atomic_ulong steps;
	/* What it does now, for people. */
	atomic_uintptr_t doing;
};

static struct worker *workers;
static int workers_count;

static inline void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		ksft_exit_fail_msg("mmap: %s\n", strerror(errno));
	return memory;
}

static inline void workers_init(void)
{
	workers = shared_memory(MAX_WORKERS * sizeof(*workers));
}

/* A worker says what it is about to do. */
static inline void doing(struct worker *w, const char *what)
{
	atomic_store(&w->doing, (uintptr_t)what);
	atomic_fetch_add(&w->steps, 1);
}

static inline void workers_start(int n, void (*run)(int number, struct worker *w))
{
	memset(workers, 0, MAX_WORKERS * sizeof(*workers));
	workers_count = n;
	/* Until a worker handles it. */
	signal(SIGUSR1, SIG_IGN);
	fflush(stdout);
	for (int i = 0; i < n; i++) {
		struct worker *w = &workers[i];
		pid_t pid = fork();

		if (pid < 0)
			ksft_exit_fail_msg("fork: %s\n", strerror(errno));
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run(i, w);
			_exit(0);
		}
		w->pid = pid;
	}
}

static inline const char *did(struct worker *w)
{
	return (const char *)atomic_load(&w->doing) ?: "nothing";
}

static inline void worker_show(struct worker *w)
{
	char path[64], call[256] = "", wchan[128] = "";

	snprintf(path, sizeof(path), "/proc/%d/syscall", w->pid);
	slurp(path, call, sizeof(call));
	snprintf(path, sizeof(path), "/proc/%d/wchan", w->pid);
	slurp(path, wchan, sizeof(wchan));
	ksft_print_msg("%d hangs: %s; %s; system call %s\n", w->pid, did(w), wchan, call);
}

/* Whether a process is over. It is not reaped, so nobody else gets its number. */
static inline bool worker_over(const struct worker *w)
{
	siginfo_t info = { };

	return waitid(P_PID, w->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/*
 * Waits until all workers are over. Returns how many were killed, or -1 if some
 * hang, or ended in another way: these are shown.
 */
static inline int workers_wait(void)
{
	unsigned long before = 0;
	long long since = now_ns();
	int killed = 0;

	for (;;) {
		unsigned long steps = 0;
		int over = 0;

		for (int i = 0; i < workers_count; i++) {
			over += worker_over(&workers[i]);
			steps += atomic_load(&workers[i].steps);
		}
		if (over == workers_count)
			break;
		if (steps + over != before) {
			before = steps + over;
			since = now_ns();
		} else if (now_ns() - since > STALLED * 1000000000LL) {
			for (int i = 0; i < workers_count; i++) {
				if (!worker_over(&workers[i]))
					worker_show(&workers[i]);
			}
			return -1;
		}
		nap();
	}
	for (int i = 0; i < workers_count; i++) {
		int status;

		waitpid(workers[i].pid, &status, 0);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			killed++;
		} else if (status) {
			ksft_print_msg("%d ended with status %#x, and did: %s\n",
				       workers[i].pid, status, did(&workers[i]));
			return -1;
		}
	}
	return killed;
}

/* Whether all modules are live, and not on their way to or from that. */
static inline bool all_modules_live(void)
{
	static char buf[65536];
	char *line, *save = NULL;

	if (slurp("/proc/modules", buf, sizeof(buf)) < 0)
		return false;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!strstr(line, " Live ")) {
			ksft_print_msg("not live: %s\n", line);
			return false;
		}
	}
	return true;
}

/* Whether nothing is in flight: the file has its heading only. */
static inline bool nothing_in_flight_yet(void)
{
	static char buf[65536];
	int len = slurp(DEDUP_FILE, buf, sizeof(buf));

	return len > 0 && strchr(buf, '\n') == buf + len - 1;
}

/* The same; says what is. */
static inline bool nothing_in_flight(void)
{
	static char buf[65536];

	if (nothing_in_flight_yet())
		return true;
	ksft_print_msg("in flight: %s\n", slurp(DEDUP_FILE, buf, sizeof(buf)) > 0 ? buf : "?");
	return false;
}

/*
 * What the kernel holds of memory that it could not give back, in kB; -1 if
 * there is something that remembers what was freed: then kmemleak must tell.
 */
static inline long kernel_memory(void)
{
	static const char * const what[] = {
		"SUnreclaim:", "VmallocUsed:", "Percpu:", "KernelStack:",
	};
	char buf[8192], *line;
	long sum = 0;

	if (!access(KMEMLEAK, F_OK))
		return -1;
	sync();
	for (int i = 0; i < 3; i++) {
		spit("/proc/sys/vm/drop_caches", "3");
		usleep(200000);
	}
	if (slurp("/proc/meminfo", buf, sizeof(buf)) <= 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
		line = strstr(buf, what[i]);
		sum += line ? atol(line + strlen(what[i])) : 0;
	}
	return sum;
}

/* Reports whether memory has grown by more than noise. */
static inline void report_memory(long before, long now)
{
	if (before < 0) {
		ksft_test_result_skip("memory is what it was (kmemleak tells)\n");
		return;
	}
	ksft_print_msg("memory of the kernel: %ld kB before, %ld kB after\n", before, now);
	/* Each CPU keeps some to itself. */
	ksft_test_result(now - before < 4096 + 64 * sysconf(_SC_NPROCESSORS_ONLN),
			 "memory is what it was\n");
}

/* Progress, for whoever waits for it. */
static inline void tell_host(const char *fmt, ...)
{
	va_list args;

	printf("@step ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

static inline void options(int argc, char **argv)
{
	int opt;

	seed = now_ns();
	while ((opt = getopt(argc, argv, "s:c:p:")) != -1) {
		if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'c')
			calls_wanted = atol(optarg);
		else if (opt == 'p')
			processes = atoi(optarg);
		else
			processes = -1;
	}
	if (optind != argc || calls_wanted < 1 || processes < 1 || processes > MAX_WORKERS) {
		fprintf(stderr, "Usage: %s [-s SEED] [-c CALLS] [-p PROCESSES]\n", argv[0]);
		exit(KSFT_FAIL);
	}
}

/* What both do at first. Needs a plan of so many results. */
static inline void begin(int results)
{
	ksft_print_header();
	if (access(DEDUP_PARAM, F_OK))
		ksft_exit_skip("this kernel has no module load de-duplication\n");
	ksft_set_plan(results);
	ksft_print_msg("seed %llu\n", seed);
	quick_removals();
	if (gates_load())
		ksft_exit_fail_msg("cannot load the gates\n");
	workers_init();
}

/* Says how far it is, twenty times. */
static inline void progress(long calls)
{
	static long told;

	if (calls - told < calls_wanted / 20)
		return;
	told = calls;
	tell_host("%ld of %ld calls", calls, calls_wanted);
}

/* Lets /proc/self/fail-nth fail allocations that may sleep, too. */
static inline bool faults_init(void)
{
	if (access(FAILSLAB, F_OK) || access(FAIL_NTH, F_OK))
		return false;
	spit(FAILSLAB "ignore-gfp-wait", "N");
	spit(FAILSLAB "verbose", "0");
	return true;
}

/*
 * Makes the nth allocation from here on fail; 0: none any more. Returns how many
 * were still to come, so 0 if one has failed.
 */
static inline int fail_nth(int nth)
{
	/* Open before anything fails. */
	static int fd = -1;
	char text[16] = "", number[16];

	if (fd < 0)
		fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return -1;
	snprintf(number, sizeof(number), "%d", nth);
	if (pwrite(fd, number, strlen(number), 0) < 0)
		return -1;
	return atoi(text);
}

#endif /* _MODULE_DEDUP_WORKERS_H */
