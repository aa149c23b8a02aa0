// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 7 of Documentation/admin-guide/module-dedup.rst.
 *
 * If the task that loads a module dies in it, all calls that wait for that load
 * get EBUSY, and so do all calls that come later.
 *
 * The modules that die here stay in the list of modules until the next boot, so
 * each test has one of its own, and none runs twice.
 */

#include <limits.h>
#include <pthread.h>
#include <sys/ptrace.h>

#include "lib/harness.h"
#include "lib/log.h"

#define FOLLOWERS 4
#define COPY "/tmp/test_dedup_dead.ko"
#define DIES "gate=0 oops=1"
#define DEAD_OWNER MODULES_DIR "test_dedup_dead_owner.ko"
#define DEAD_BORROWER MODULES_DIR "test_dedup_dead_borrower.ko"

FIXTURE(dead_leader) {
	struct stats before;
	int log;
};

FIXTURE_SETUP(dead_leader)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	callers_release();
	self->before = read_stats();
	self->log = log_open();
}

FIXTURE_TEARDOWN(dead_leader)
{
	gates_open(~0);
	unlink(COPY);
	close(self->log);
}

/* A module with that name does not have to be loaded before, or ever. */
static bool module_known(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/module/%s", name);
	return !access(path, F_OK);
}

/* The leader is at its gate. */
static void start(struct caller *c, const char *path)
{
	caller_start(c, path, DIES, 0);
	gates_wait_entered(1);
}

/* Opens the gate, and waits until the leader is dead. */
static void die(struct __test_metadata *_metadata, struct caller *c)
{
	int status;
	pid_t pid;

	log_expect("Oops: |Call Trace:");
	gates_open(1);
	while ((pid = waitpid(c->pid, &status, __WALL)) < 0 && errno == EINTR)
		;
	ASSERT_EQ(c->pid, pid);
	log_expect("nothing");
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_FALSE(atomic_load(&c->done));
}

static atomic_int tracing;

/* Another module is not concerned. */
static void others_load(struct __test_metadata *_metadata)
{
	EXPECT_EQ(0, load(TEST_KO, "", 0));
	EXPECT_EQ(0, unload("test_dedup"));
}

TEST_F(dead_leader, with_followers)
{
	const char *path = MODULES_DIR "test_dedup_dead_a.ko";
	struct caller *in_line = &callers[1 + FOLLOWERS];
	struct caller *by_name = &callers[2 + FOLLOWERS];
	struct caller *copied = &callers[3 + FOLLOWERS];
	int waited = 3 + FOLLOWERS, busy;

	start(&callers[0], path);
	for (int i = 1; i <= FOLLOWERS; i++)
		caller_add(&callers[i], path, DIES, 0);
	caller_add(in_line, path, "tag=1", 0);
	/* These wait for the name. */
	ASSERT_EQ(0, copy_file(path, COPY));
	caller_add(by_name, COPY, "", 0);
	copied->copy = true;
	caller_add(copied, path, "", 0);

	die(_metadata, &callers[0]);
	callers_wait(&callers[1], waited);
	EXPECT_COUNT(FOLLOWERS, stats_since(self->before).joined);
	busy = callers_with(&callers[1], waited, EBUSY);
	EXPECT_EQ(waited, busy);
	EXPECT_EQ(EBUSY, load(path, DIES, 0));
	EXPECT_EQ(EBUSY, load(path, "", 0));
	EXPECT_EQ(EBUSY, load(COPY, "", 0));
	EXPECT_EQ(EBUSY, load_copy(path, ""));
	EXPECT_EQ(1, gates_entered());
	EXPECT_TRUE(module_known("test_dedup_dead_a"));
	EXPECT_FALSE(module_live("test_dedup_dead_a"));
	EXPECT_COUNT(1, stats_since(self->before).died);
	others_load(_metadata);
	SAW("init oopses while 7 wait for it, 4 more come later",
	    "%d and 4 get EBUSY, other modules load", busy);
}

TEST_F(dead_leader, alone)
{
	const char *path = MODULES_DIR "test_dedup_dead_b.ko";
	int first, second;

	start(&callers[0], path);
	die(_metadata, &callers[0]);
	first = load(path, DIES, 0);
	second = load(path, "", 0);
	EXPECT_EQ(EBUSY, first);
	EXPECT_EQ(EBUSY, second);
	EXPECT_COUNT(1, stats_since(self->before).died);
	others_load(_metadata);
	SAW("init oopses, others load that file later", "%s, %s",
	    errno_name(first), errno_name(second));
}

TEST_F(dead_leader, by_init_module)
{
	const char *path = MODULES_DIR "test_dedup_dead_c.ko";
	int copied, file;

	callers[0].copy = true;
	callers[1].copy = true;
	start(&callers[0], path);
	caller_add(&callers[1], path, "", 0);
	caller_add(&callers[2], path, "", 0);
	die(_metadata, &callers[0]);
	callers_wait(&callers[1], 2);
	EXPECT_EQ(2, callers_with(&callers[1], 2, EBUSY));
	EXPECT_COUNT(1, stats_since(self->before).copies_joined);
	copied = load_copy(path, "");
	file = load(path, "", 0);
	EXPECT_EQ(EBUSY, copied);
	EXPECT_EQ(EBUSY, file);
	EXPECT_COUNT(1, stats_since(self->before).died);
	others_load(_metadata);
	SAW("the same through init_module()", "%s, %s", errno_name(copied), errno_name(file));
}

static void *trace(void *pid)
{
	int status;

	ptrace(PTRACE_SEIZE, (pid_t)(uintptr_t)pid, NULL, PTRACE_O_TRACEEXIT);
	atomic_store(&tracing, 1);
	/* It stops on its way out, and is let go. */
	waitpid((uintptr_t)pid, &status, __WALL);
	ptrace(PTRACE_CONT, (pid_t)(uintptr_t)pid, NULL, NULL);
	return NULL;
}

/* A tracer that looks on makes other things happen on the way out. */
TEST_F(dead_leader, while_traced)
{
	const char *path = MODULES_DIR "test_dedup_dead_e.ko";
	pthread_t tracer;

	start(&callers[0], path);
	caller_add(&callers[1], path, DIES, 0);
	ASSERT_EQ(0, pthread_create(&tracer, NULL, trace, (void *)(uintptr_t)callers[0].pid));
	while (!atomic_load(&tracing))
		nap();
	log_expect("Oops: |Call Trace:");
	gates_open(1);
	callers_wait(&callers[1], 1);
	pthread_join(tracer, NULL);
	callers_wait(callers, 1);
	log_expect("nothing");
	EXPECT_EQ(EBUSY, callers[1].err);
	EXPECT_EQ(EBUSY, load(path, "", 0));
	EXPECT_COUNT(1, stats_since(self->before).died);
	others_load(_metadata);
}

/* The gate takes the tag of a module as soon as its init runs. */
TEST_F(dead_leader, with_other_arguments_first)
{
	const char *path = MODULES_DIR "test_dedup_dead_d.ko";

	caller_add(&callers[0], path, "gate=1 fail=-5", 0);
	gates_wait_entered(1);
	/* Leads when its turn has come, and has followers by then. */
	caller_add(&callers[1], path, DIES, 0);
	caller_add(&callers[2], path, DIES, 0);
	gates_open(2);
	callers_wait(&callers[0], 1);
	EXPECT_EQ(EIO, callers[0].err);
	gates_wait_entered(2);
	die(_metadata, &callers[1]);
	callers_wait(&callers[2], 1);
	EXPECT_EQ(EBUSY, callers[2].err);
	EXPECT_COUNT(1, stats_since(self->before).died);
	EXPECT_COUNT(1, stats_since(self->before).joined);
}

/* Nobody waits for symbols that the dead module will not give. */
TEST_F(dead_leader, with_symbols_that_others_need)
{
	int later;

	start(&callers[0], DEAD_OWNER);
	caller_add(&callers[1], DEAD_BORROWER, "", 0);
	die(_metadata, &callers[0]);
	callers_wait(&callers[1], 1);
	EXPECT_EQ(EBUSY, callers[1].err);

	later = load(DEAD_BORROWER, "", 0);
	EXPECT_EQ(EBUSY, later);
	/* Stock says that after 30 s. */
	EXPECT_EQ(NULL, log_find(self->log, "gave up waiting for init of module"));
	others_load(_metadata);
	SAW("init oopses, another module needs its symbols", "%s, without waiting",
	    errno_name(later));
}

TEST_HARNESS_MAIN
