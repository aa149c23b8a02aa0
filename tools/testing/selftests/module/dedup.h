/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module load de-duplication selftests share: processes that call
 * finit_module() at the same time, and ways to see what became of them.
 *
 * No test waits for a time to pass. A caller counts as waiting once the kernel
 * shows it asleep in the system call; the gates of test_dedup_gate.ko keep a
 * load from ending before the test says so.
 */
#ifndef _MODULE_DEDUP_TEST_H
#define _MODULE_DEDUP_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/module.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MODULES_DIR "test_modules/"
#define STATS "/sys/kernel/debug/modules/stats"
#define DEDUP_FILE "/sys/kernel/debug/modules/dedup"
#define DEDUP_PARAM "/sys/module/module/parameters/dedup"
#define REQUESTS_PARAM "/sys/module/module/parameters/dedup_requests"
#define GATE_PARAM "/sys/module/test_dedup_gate/parameters/"
#define TEST_KO MODULES_DIR "test_dedup.ko"
#define BIG_KO MODULES_DIR "test_dedup_big.ko"
#define REQUEST_FILE "/sys/kernel/debug/test_dedup_request"
#define FAIL_NTH "/proc/self/fail-nth"
#define FAILSLAB "/sys/kernel/debug/failslab/"
#define KMEMLEAK "/sys/kernel/debug/kmemleak"
#define MAX_CALLERS 1024

/* A process that makes one call. Lives in memory that it shares with us. */
struct caller {
	pid_t pid;
	const char *path;
	const char *args;
	int flags;
	/* Whether it calls init_module(). */
	bool copy;
	/* Whether it has the kernel request what path says. */
	bool request;
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

static struct caller *callers;
static atomic_int *callers_go;

static inline long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static inline void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* Reads a small file into buf, as a string. Returns its length, or -errno. */
static inline int slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	size_t len = 0;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = '\0';
	return n < 0 ? -errno : (int)len;
}

static inline int spit(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static inline int finit(int fd, const char *args, int flags)
{
	return syscall(SYS_finit_module, fd, args, flags) ? errno : 0;
}

/* Loads a file by init_module(). Returns 0 or an errno. */
static inline int load_copy(const char *path, const char *args)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *image;
	int err;

	if (fd < 0)
		return errno;
	fstat(fd, &st);
	image = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (image == MAP_FAILED)
		return errno;
	err = syscall(SYS_init_module, image, st.st_size, args) ? errno : 0;
	munmap(image, st.st_size);
	return err;
}

/* Loads a file. Returns 0 or an errno. */
static inline int load(const char *path, const char *args, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return errno;
	err = finit(fd, args, flags);
	close(fd);
	return err;
}

/*
 * Seconds after which a test counts as hanging. No test needs it to be right;
 * a kernel where many hang, or that is slow, may get another limit.
 */
static inline int test_limit(void)
{
	const char *text = getenv("DEDUP_TEST_LIMIT");

	return text && atoi(text) > 0 ? atoi(text) : 30;
}

/*
 * How often to repeat a load and unload: each interrupts all CPUs many times,
 * which takes long where many CPUs are emulated by few, or where everything
 * that the kernel does is checked.
 */
static inline int rounds(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) > 16 || test_limit() > 60 ? 100 : 1000;
}

/*
 * Tells whoever reads the kernel log that lines with this text, or one of
 * several separated by "|", are our doing, until "nothing" is expected again.
 */
static inline void log_expect(const char *text)
{
	char line[128];

	snprintf(line, sizeof(line), "selftest expects: %s\n", text);
	spit("/dev/kmsg", line);
}

/* The kernel log, from here on. */
static inline int log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	lseek(fd, 0, SEEK_END);
	return fd;
}

/* The next line of it that contains a text, or NULL. */
static inline const char *log_find(int fd, const char *text)
{
	static char line[8192];
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		if (n < 0)
			continue;
		line[n] = '\0';
		if (strstr(line, text))
			return line;
	}
	return NULL;
}

/* Adds all lines that are there to a string. */
static inline void log_read(int fd, char *buf, size_t size)
{
	static char line[8192];
	size_t len = strlen(buf);
	ssize_t n;

	while ((n = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		if (n < 0)
			continue;
		line[n] = '\0';
		len += snprintf(buf + len, size - len, "%s", line);
		if (len >= size)
			break;
	}
}

/* What the kernel says of a wait that takes long. */
#define REPORTED "waited 10 s"

/* Waits for the kernel to report a wait, and for what it says then, up to some last words. */
static inline void log_wait_reported(int fd, const char *last, char *buf, size_t size)
{
	const char *line;
	long long begun;

	while (!(line = log_find(fd, REPORTED)))
		nap();
	snprintf(buf, size, "%s", line);
	/* There is an end to it if they do not come. */
	begun = now_ns();
	while (!strstr(buf, last) && now_ns() - begun < 3000000000LL) {
		log_read(fd, buf, size);
		nap();
	}
}

/* When a line was written, in us. */
static inline long long log_time(const char *line)
{
	long long time;

	return sscanf(line, "%*u,%*u,%lld", &time) == 1 ? time : 0;
}

/* What time it is by the clock of the log, in us. */
static inline long long log_now(void)
{
	int fd = log_open();
	const char *line;
	long long now;

	spit("/dev/kmsg", "selftest asks for the time\n");
	line = log_find(fd, "selftest asks for the time");
	now = line ? log_time(line) : 0;
	close(fd);
	return now;
}

/* How many lines of one kind the kernel writes in so many us, before it leaves some out. */
#define LOG_BURST 10
#define LOG_INTERVAL 5000000

/* Makes a request. Returns its result, or a message that it could not be made. */
static inline int request(const char *name)
{
	char text[16] = "-1000";
	int fd = open(REQUEST_FILE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1001;
	if (write(fd, name, strlen(name)) > 0 && read(fd, text, sizeof(text) - 1) <= 0)
		strcpy(text, "-1002");
	close(fd);
	return atoi(text);
}

/* Lets removals be quick: each waits for several RCU grace periods. */
static inline void quick_removals(void)
{
	spit("/sys/kernel/rcu_expedited", "1");
}

static inline int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? errno : 0;
}

static inline bool module_live(const char *name)
{
	char path[PATH_MAX], state[32];

	snprintf(path, sizeof(path), "/sys/module/%s/initstate", name);
	return slurp(path, state, sizeof(state)) > 0 && !strcmp(state, "live\n");
}

static inline void set_dedup(const char *mode)
{
	spit(DEDUP_PARAM, mode);
}

/* Y or N: whether requests are joined, too. */
static inline void set_dedup_requests(const char *mode)
{
	spit(REQUESTS_PARAM, mode);
}

/* The names that people know. */
static inline const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "0";

	return name ?: "?";
}

/* The size of a file, or -1. */
static inline long file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

/* Makes path a new file of len bytes. */
static inline int write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, data, len);
	close(fd);
	return n == (ssize_t)len ? 0 : -EIO;
}

/* The contents of a file, to be freed. */
static inline char *read_file(const char *path, size_t *len)
{
	long size = file_size(path);
	char *data = size < 0 ? NULL : malloc(size + 1);
	int n = data ? slurp(path, data, size + 1) : -1;

	*len = 0;
	if (n != size) {
		free(data);
		return NULL;
	}
	*len = size;
	return data;
}

static inline int copy_file(const char *from, const char *to)
{
	size_t len;
	char *data = read_file(from, &len);
	int err;

	if (!data)
		return -EIO;
	err = write_file(to, data, len);
	free(data);
	return err;
}

/* A line of the stats file, or -1 if there is none. */
static inline long long stat_line(const char *name)
{
	static char buf[65536];
	char *line, *save = NULL;

	if (slurp(STATS, buf, sizeof(buf)) < 0)
		return -1;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *tab = strchr(line, '\t');

		if (!tab)
			continue;
		*tab = '\0';
		line += strspn(line, " ");
		if (!strcmp(line, name))
			return atoll(tab + 1);
	}
	return -1;
}

/* All lines that tests compare, at one time. */
struct stats {
	long long led, joined, bytes, most, interrupted, behind, retried, late;
	long long bypassed, died, refused, wasted;
	long long requests_led, requests_joined, requests_alone, waited, longest;
};

static inline struct stats read_stats(void)
{
	return (struct stats) {
		.led		= stat_line("Flights led"),
		.joined		= stat_line("Calls joined"),
		.bytes		= stat_line("Joined bytes saved"),
		.most		= stat_line("Most followers at once"),
		.interrupted	= stat_line("Followers interrupted"),
		.behind		= stat_line("Same file, other call"),
		.retried	= stat_line("Retried after leader end"),
		.late		= stat_line("Late duplicates"),
		.bypassed	= stat_line("Calls not joinable"),
		.died		= stat_line("Leaders that died"),
		.refused	= stat_line("Deadlocks refused"),
		.wasted		= stat_line("Virtual mem wasted bytes"),
		.requests_led	= stat_line("Requests led"),
		.requests_joined = stat_line("Requests joined"),
		.requests_alone	= stat_line("Requests not joinable"),
		.waited		= stat_line("Total time waited (us)"),
		.longest	= stat_line("Longest wait (us)"),
	};
}

static inline struct stats stats_since(struct stats before)
{
	struct stats now = read_stats();

	now.led -= before.led;
	now.joined -= before.joined;
	now.bytes -= before.bytes;
	now.interrupted -= before.interrupted;
	now.behind -= before.behind;
	now.retried -= before.retried;
	now.late -= before.late;
	now.bypassed -= before.bypassed;
	now.died -= before.died;
	now.refused -= before.refused;
	now.wasted -= before.wasted;
	now.requests_led -= before.requests_led;
	now.requests_joined -= before.requests_joined;
	now.requests_alone -= before.requests_alone;
	now.waited -= before.waited;
	return now;
}

/* Whether this is part of what is in flight now. */
static inline bool in_flight(const char *text)
{
	static char buf[65536];

	return slurp(DEDUP_FILE, buf, sizeof(buf)) > 0 && strstr(buf, text);
}

/* The gates. */

/* Loads a module, unless that was done before. */
static inline int load_once(const char *path)
{
	int err = load(path, "", 0);

	return err == EEXIST ? 0 : err;
}

static inline int gates_load(void)
{
	return load_once(MODULES_DIR "test_dedup_gate.ko");
}

/* What request() needs. */
static inline int requests_load(void)
{
	return load_once(MODULES_DIR "test_dedup_request.ko");
}

static inline void gates_open(unsigned int mask)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", mask);
	spit(GATE_PARAM "open", text);
}

/* Modules on their way out, also those whose load has failed, wait at this gate. */
static inline void gates_hold_going(int gate)
{
	char text[16];

	spit(GATE_PARAM "going", "0");
	snprintf(text, sizeof(text), "%d", gate);
	spit(GATE_PARAM "going_gate", text);
}

static inline void gates_reset(void)
{
	gates_hold_going(-1);
	gates_open(0);
	spit(GATE_PARAM "log", "0");
}

/* How many init functions have run since the last reset. */
static inline int gates_entered(void)
{
	char buf[32];

	return slurp(GATE_PARAM "entered", buf, sizeof(buf)) > 0 ? atoi(buf) : -1;
}

/* Waits until so many modules have come to the gate for those on their way out. */
static inline void gates_wait_going(int n)
{
	char buf[32];

	while (slurp(GATE_PARAM "going", buf, sizeof(buf)) > 0 && atoi(buf) < n)
		nap();
}

static inline void gates_wait_entered(int n)
{
	while (gates_entered() < n)
		nap();
}

/* How often a process has slept. */
static inline long sleeps(pid_t pid)
{
	char path[64], buf[4096], *line;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (slurp(path, buf, sizeof(buf)) <= 0)
		return -1;
	line = strstr(buf, "\nvoluntary_ctxt_switches:");
	return line ? atol(strchr(line, ':') + 1) : -1;
}

/* Callers. */

static inline void callers_init(void)
{
	size_t size = sizeof(*callers) * MAX_CALLERS + sizeof(*callers_go);

	if (callers) {
		memset(callers, 0, size);
		return;
	}
	callers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (callers == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	callers_go = (atomic_int *)(callers + MAX_CALLERS);
}

static inline long bytes_read(void)
{
	char buf[512];

	if (slurp("/proc/self/io", buf, sizeof(buf)) <= 0)
		return 0;
	return atol(buf + strlen("rchar: "));
}

static inline void caller_run(struct caller *c)
{
	int fd = c->request ? -1 : open(c->path, O_RDONLY | O_CLOEXEC);
	long before;

	if (c->before)
		c->before(c);
	before = bytes_read();
	atomic_store(&c->ready, 1);
	while (!atomic_load(callers_go))
		syscall(SYS_futex, callers_go, FUTEX_WAIT, 0, NULL, NULL, 0);

	if (c->request)
		c->err = request(c->path);
	else if (fd < 0)
		c->err = errno;
	else if (c->copy)
		c->err = load_copy(c->path, c->args);
	else
		c->err = finit(fd, c->args, c->flags);
	c->returned = now_ns();
	c->read = bytes_read() - before;
	atomic_store(&c->done, 1);
}

/* Starts a process that will make the call once callers_release() was called. */
static inline void caller_start(struct caller *c, const char *path, const char *args, int flags)
{
	pid_t pid;

	c->path = path;
	c->args = args;
	c->flags = flags;
	c->err = -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		caller_run(c);
		_exit(0);
	}
	if (pid < 0) {
		perror("fork");
		exit(1);
	}
	c->pid = pid;
}

static inline void callers_release(void)
{
	atomic_store(callers_go, 1);
	syscall(SYS_futex, callers_go, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Whether the process is asleep in its call, or over. */
static inline bool caller_settled(const struct caller *c)
{
	char path[64], buf[512], *state;

	if (atomic_load(&c->done))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/syscall", c->pid);
	if (slurp(path, buf, sizeof(buf)) <= 0)
		return true;
	if (atoi(buf) != (c->request ? SYS_write : SYS_finit_module) &&
	    atoi(buf) != SYS_init_module)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/stat", c->pid);
	if (slurp(path, buf, sizeof(buf)) <= 0)
		return true;
	state = strrchr(buf, ')');
	/*
	 * A gate is an idle sleep, all other waits for a load are interruptible,
	 * and those for a request are killable.
	 */
	return state && strchr(c->request ? "D" : "SI", state[2]);
}

/* Waits until all of these are asleep in their calls, or over. */
static inline void callers_settle(const struct caller *c, int n)
{
	/* Twice: a caller may sleep on its way to where it waits. */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < n; i++) {
			while (!caller_settled(&c[i]))
				nap();
		}
	}
}

static inline void callers_start(struct caller *c, int n, const char *path,
				 const char *args, int flags)
{
	for (int i = 0; i < n; i++)
		caller_start(&c[i], path, args, flags);
	for (int i = 0; i < n; i++) {
		while (!atomic_load(&c[i].ready))
			nap();
	}
}

/* The same for callers that have the kernel make a request. */
static inline void requesters_start(struct caller *c, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		c[i].request = true;
	callers_start(c, n, name, "", 0);
}

/* One more caller that goes at once, and is asleep in its call on return. */
static inline void caller_add(struct caller *c, const char *path, const char *args, int flags)
{
	callers_release();
	caller_start(c, path, args, flags);
	callers_settle(c, 1);
}

static inline void requester_add(struct caller *c, const char *name)
{
	c->request = true;
	caller_add(c, name, "", 0);
}

static inline void callers_wait(struct caller *c, int n)
{
	for (int i = 0; i < n; i++) {
		while (waitpid(c[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
}

/* How many of these callers got this result. */
static inline int callers_with(const struct caller *c, int n, int err)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += c[i].err == err;
	return count;
}

/* How many of these are over. */
static inline int callers_done(const struct caller *c, int n)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += atomic_load(&c[i].done);
	return count;
}

/*
 * Waits until so many init functions have run, or none of these callers is left
 * to run one; and until those that are left are asleep.
 */
static inline void wait_entered_or_done(int entered, const struct caller *c, int n)
{
	while (gates_entered() < entered && callers_done(c, n) < n)
		nap();
	callers_settle(c, n);
}

/*
 * Waits until so many followers have seen that their leader's end is not for
 * them, or all are over: they may be woken late, and sleep as before until then.
 */
static inline void callers_wait_retried(const struct stats *before, const struct caller *c, int n)
{
	while (stats_since(*before).retried < n && callers_done(c, n) < n)
		nap();
}

#endif /* _MODULE_DEDUP_TEST_H */
