// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"
#include "gates.h"
#include "kselftest.h"
#include "modules.h"
#include "random.h"
#include "stats.h"
#include "workers.h"

/* Seconds without any progress of anybody, after which a process counts as hanging. */
#define STALLED 180

unsigned long long seed;
long calls_wanted = 20000;
int processes;

struct worker *workers;
int workers_count;

static void read_options(int argc, char **argv)
{
	int opt;

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

void workers_begin(int argc, char **argv, int default_processes)
{
	seed = now_ns();
	processes = default_processes;
	read_options(argc, argv);
	ksft_print_header();
	if (!has_counters())
		ksft_exit_skip("this kernel has no module load de-duplication\n");
	ksft_print_msg("seed %llu\n", seed);
	quick_removals();
	if (gates_load())
		ksft_exit_fail_msg("cannot load the gates\n");
	workers = shared_memory(MAX_WORKERS * sizeof(*workers));
}

unsigned long long seed_of(unsigned int round, unsigned int worker)
{
	unsigned long long state = seed ^ (round + 0ULL) << 32 ^ worker;

	return next_random(&state);
}

void workers_start(int n, void (*run)(int number, struct worker *w))
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

void doing(struct worker *w, const char *what)
{
	atomic_store(&w->doing, (uintptr_t)what);
	atomic_fetch_add(&w->steps, 1);
}

static const char *did(struct worker *w)
{
	return (const char *)atomic_load(&w->doing) ?: "nothing";
}

static void worker_show(struct worker *w)
{
	char path[64], call[256] = "", wchan[128] = "";

	snprintf(path, sizeof(path), "/proc/%d/syscall", w->pid);
	slurp(path, call, sizeof(call));
	snprintf(path, sizeof(path), "/proc/%d/wchan", w->pid);
	slurp(path, wchan, sizeof(wchan));
	ksft_print_msg("%d hangs: %s; %s; system call %s\n", w->pid, did(w), wchan, call);
}

/* Whether a process is over. It is not reaped, so nobody else gets its number. */
static bool worker_over(const struct worker *w)
{
	siginfo_t info = { };

	return waitid(P_PID, w->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/* Waits until all workers are over. Returns false if some hang. */
static bool workers_end(void)
{
	unsigned long before = 0;
	long long since = now_ns();

	for (;;) {
		unsigned long steps = 0;
		int over = 0;

		for (int i = 0; i < workers_count; i++) {
			over += worker_over(&workers[i]);
			steps += atomic_load(&workers[i].steps);
		}
		if (over == workers_count)
			return true;
		if (steps + over != before) {
			before = steps + over;
			since = now_ns();
		} else if (now_ns() - since > STALLED * NSEC_PER_SEC) {
			return false;
		}
		nap();
	}
}

int workers_wait(void)
{
	int killed = 0;

	if (!workers_end()) {
		for (int i = 0; i < workers_count; i++) {
			if (!worker_over(&workers[i]))
				worker_show(&workers[i]);
		}
		return -1;
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

bool all_modules_live(void)
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

bool nothing_left_in_flight(void)
{
	static char buf[65536];

	if (nothing_in_flight())
		return true;
	ksft_print_msg("in flight: %s\n", slurp(DEDUP_FILE, buf, sizeof(buf)) > 0 ? buf : "?");
	return false;
}

void tell_host(const char *fmt, ...)
{
	va_list args;

	printf("@step ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void progress(long calls)
{
	static long told;

	/* Another count has begun. */
	if (calls < told)
		told = 0;
	if (calls - told < calls_wanted / 20)
		return;
	told = calls;
	tell_host("%ld of %ld calls", calls, calls_wanted);
}
