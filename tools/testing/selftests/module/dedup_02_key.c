// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 2 of Documentation/admin-guide/module-dedup.rst.
 *
 * Only calls for the same contents, with the same flags and the same arguments,
 * share a load. Others for the same file wait their turn and read nothing
 * meanwhile. A call that cannot be compared is left to the loader, and gets the
 * errno that it got before.
 */

#include <fcntl.h>
#include <sys/stat.h>

#include "lib/disk.h"
#include "lib/harness.h"

#define COPY "/tmp/test_dedup_copy.ko"
#define OTHERS 7

FIXTURE(key) {
	struct stats before;
};

FIXTURE_SETUP(key)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	ASSERT_EQ(0, copy_file(TEST_KO, COPY));
	self->before = read_stats();
}

FIXTURE_TEARDOWN(key)
{
	gates_open(~0);
	set_dedup("on");
	unload("test_dedup");
	unload("test_dedup_b");
	unlink(COPY);
	disk_umount();
}

/* A leader at its gate, and seven callers with other arguments. */
static void leader_and_others(const char *leader_args, const char *args, int flags)
{
	caller_add(&callers[0], COPY, leader_args, 0);
	gates_wait_entered(1);
	callers_start(&callers[1], OTHERS, COPY, args, flags);
	callers_settle(&callers[1], OTHERS);
}

TEST_F(key, other_arguments_while_the_first_load_fails)
{
	struct stats since;

	leader_and_others("gate=0 fail=-5", "", 0);
	EXPECT_EQ(1, gates_entered());
	gates_open(1);
	callers_wait(callers, 1 + OTHERS);

	EXPECT_EQ(EIO, callers[0].err);
	EXPECT_EQ(OTHERS, callers_with(&callers[1], OTHERS, 0));
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));

	since = stats_since(self->before);
	EXPECT_COUNT(2, since.led);
	EXPECT_COUNT(OTHERS - 1, since.joined);
	EXPECT_COUNT(1, since.behind);
	EXPECT_COUNT(0, since.interrupted);
	SAW("first load fails with fail=-5, 7 call without arguments meanwhile",
	    "%d get EIO, %d succeed", callers_with(callers, 1 + OTHERS, EIO),
	    callers_with(callers, 1 + OTHERS, 0));
}

TEST_F(key, other_arguments_while_the_first_load_succeeds)
{
	leader_and_others("gate=0", "tag=9", 0);
	gates_open(1);
	callers_wait(callers, 1 + OTHERS);

	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(OTHERS, callers_with(&callers[1], OTHERS, EEXIST));
	EXPECT_EQ(1, gates_entered());
	EXPECT_COUNT(OTHERS - 1, stats_since(self->before).joined);
	SAW("a load succeeds, 7 call with other arguments meanwhile",
	    "%d are told that theirs did, %d get EEXIST",
	    callers_with(&callers[1], OTHERS, 0), callers_with(&callers[1], OTHERS, EEXIST));
}

TEST_F(key, those_that_wait_read_nothing)
{
	char path[64], io[512];

	leader_and_others("gate=0", "tag=9", 0);
	for (int i = 1; i <= OTHERS; i++) {
		snprintf(path, sizeof(path), "/proc/%d/io", callers[i].pid);
		ASSERT_LT(0, slurp(path, io, sizeof(io)));
		EXPECT_GT(file_size(COPY), atol(io + strlen("rchar: ")));
	}
	gates_open(1);
	callers_wait(callers, 1 + OTHERS);
}

TEST_F(key, other_flags)
{
	leader_and_others("gate=0", "gate=0", MODULE_INIT_IGNORE_MODVERSIONS);
	gates_open(1);
	callers_wait(callers, 1 + OTHERS);

	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(OTHERS, callers_with(&callers[1], OTHERS, EEXIST));
	SAW("the same with other flags", "%d are told that theirs did, %d get EEXIST",
	    callers_with(&callers[1], OTHERS, 0), callers_with(&callers[1], OTHERS, EEXIST));
}

TEST_F(key, file_rewritten_in_place)
{
	size_t len;
	char *data = read_file(COPY, &len);

	ASSERT_NE(NULL, data);
	caller_add(&callers[0], COPY, "gate=0", 0);
	gates_wait_entered(1);
	ASSERT_EQ(0, write_file(COPY, data, len));
	free(data);

	caller_add(&callers[1], COPY, "gate=0", 0);
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(EEXIST, callers[1].err);
	EXPECT_COUNT(0, stats_since(self->before).joined);
	EXPECT_COUNT(1, stats_since(self->before).behind);
	SAW("the file is rewritten while it is loaded, one more calls", "%s",
	    errno_name(callers[1].err));
}

/*
 * The same, on a filesystem whose times are whole seconds, so that nothing of
 * the file shows that it has changed.
 */
TEST_F(key, file_rewritten_within_a_second)
{
	struct alike files = read_alike(TEST_KO, B_KO);
	struct stat first, second;

	if (minix_format() || disk_mount("minix", 0))
		SKIP(return, "there is no " DISK ", or the kernel has no minix");
	for (;;) {
		ASSERT_EQ(0, write_file(DISK_KO, files.first, files.len));
		ASSERT_EQ(0, stat(DISK_KO, &first));
		caller_add(&callers[0], DISK_KO, "gate=0", 0);
		gates_wait_entered(1);
		ASSERT_EQ(0, write_file(DISK_KO, files.second, files.len));
		ASSERT_EQ(0, stat(DISK_KO, &second));
		if (same_stat(&first, &second))
			break;
		/* A second was over in between. */
		gates_open(1);
		callers_wait(callers, 1);
		ASSERT_EQ(0, unload("test_dedup"));
		gates_reset();
		callers_init();
	}
	free_alike(&files);

	caller_add(&callers[1], DISK_KO, "gate=0", 0);
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(2, callers_with(callers, 2, 0));
	EXPECT_TRUE(module_live("test_dedup"));
	EXPECT_TRUE(module_live("test_dedup_b"));
	EXPECT_COUNT(0, stats_since(self->before).joined);
	SAW("a file on minix becomes another module within a second, while it is loaded",
	    "%s, and that is %s", errno_name(callers[1].err),
	    module_live("test_dedup_b") ? "live" : "not live");
}

TEST_F(key, another_inode_with_the_same_contents)
{
	caller_add(&callers[0], COPY, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	/* It waits in the loader, for the name. */
	caller_add(&callers[1], TEST_KO, "gate=0 fail=-5", 0);
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(EIO, callers[0].err);
	EXPECT_EQ(EBUSY, callers[1].err);
	EXPECT_COUNT(2, stats_since(self->before).led);
	EXPECT_COUNT(0, stats_since(self->before).joined);
}

TEST_F(key, in_order_of_arrival_one_key_at_a_time)
{
	static char args[8][64];
	char log[256];

	caller_add(&callers[0], COPY, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	for (int i = 0; i < 8; i++) {
		snprintf(args[i], sizeof(args[i]), "fail=-%d tag=%d", 30 + i, 1 + i);
		/* Two callers for each. */
		caller_add(&callers[1 + i], COPY, args[i], 0);
		caller_add(&callers[9 + i], COPY, args[i], 0);
	}
	gates_open(1);
	callers_wait(callers, 17);

	ASSERT_LT(0, slurp(GATE_PARAM "log", log, sizeof(log)));
	EXPECT_STREQ("0 1 2 3 4 5 6 7 8", log);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(30 + i, callers[1 + i].err);
		EXPECT_EQ(30 + i, callers[9 + i].err);
	}
	EXPECT_COUNT(8, stats_since(self->before).joined);
}

/* User space changes the string while the kernel loads: what counts is the copy. */
TEST_F(key, arguments_are_copied_once)
{
	char *args = shared_memory(4096);

	caller_add(&callers[0], COPY, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	strcpy(args, "fail=-33");
	caller_add(&callers[1], COPY, args, 0);
	strcpy(args, "fail=-34");
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(33, callers[1].err);
	munmap(args, 4096);
}

/* What a call returns by itself, and that it is the same without us. */
struct bad_call {
	const char *what;
	int expected;
	int (*call)(void);
};

static int open_flags(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);
	int err = fd < 0 ? errno : finit(fd, "", 0);

	close(fd);
	return err;
}

static int of_contents(const void *data, size_t len)
{
	write_file("/tmp/contents.ko", data, len);
	return load("/tmp/contents.ko", "", 0);
}

static char *long_args(size_t len)
{
	static char args[10000] = "text=";

	memset(args + 5, 'x', len - 5);
	args[len] = '\0';
	return args;
}

static int no_args(void) { return load(TEST_KO, NULL, 0); }
static int bad_args(void) { return load(TEST_KO, (char *)8, 0); }
static int args_4095(void) { return load(TEST_KO, long_args(4095), 0); }
static int args_4096(void) { return load(TEST_KO, long_args(4096), 0); }
static int args_4097(void) { return load(TEST_KO, long_args(4097), 0); }
static int args_9000(void) { return load(TEST_KO, long_args(9000), 0); }
static int bad_param(void) { return load(TEST_KO, "gate=x", 0); }
static int read_only(void) { return open_flags(TEST_KO, O_RDONLY); }
static int write_only(void) { return open_flags(TEST_KO, O_WRONLY); }
static int read_write(void) { return open_flags(TEST_KO, O_RDWR); }
static int path_only(void) { return open_flags(TEST_KO, O_PATH); }
static int directory(void) { return open_flags(MODULES_DIR, O_RDONLY); }
static int device(void) { return open_flags("/dev/null", O_RDONLY); }
static int procfs(void) { return open_flags("/proc/self/stat", O_RDONLY); }
static int closed_fd(void) { return finit(-1, "", 0); }
static int empty(void) { return of_contents("", 0); }
static int garbage(void) { return of_contents("garbage", 7); }
static int elf_magic(void) { return of_contents("\177ELF", 4); }
static int bad_flags(void) { return load(TEST_KO, "", 0x1000); }
static int not_compressed(void) { return load(TEST_KO, "", MODULE_INIT_COMPRESSED_FILE); }

static int truncated(void)
{
	size_t len;
	char *data = read_file(TEST_KO, &len);
	int err = of_contents(data, len / 2);

	free(data);
	return err;
}

static int a_pipe(void)
{
	int fds[2];
	int err = pipe(fds) ? -1 : finit(fds[0], "", 0);

	close(fds[0]);
	close(fds[1]);
	return err;
}

static int open_for_writing(void)
{
	int fd = open(COPY, O_RDWR | O_CLOEXEC);
	int err = load(COPY, "", 0);

	close(fd);
	return err;
}

/* The caller has no right to load modules. */
static int no_capability(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(TEST_KO, O_RDONLY);

		if (setuid(1000))
			_exit(255);
		_exit(finit(fd, "", 0));
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1;
}

static const struct bad_call bad_calls[] = {
	{ "no argument pointer", EFAULT, no_args },
	{ "unmapped argument pointer", EFAULT, bad_args },
	/* The parameter itself is limited to 1,024 bytes. */
	{ "arguments of 4,095 bytes", ENOSPC, args_4095 },
	{ "arguments of 4,096 bytes", ENOSPC, args_4096 },
	{ "arguments of 4,097 bytes", ENOSPC, args_4097 },
	{ "arguments of 9,000 bytes", ENOSPC, args_9000 },
	{ "bad parameter", EINVAL, bad_param },
	{ "read-only fd", 0, read_only },
	{ "write-only fd", EBADF, write_only },
	{ "read-write fd", ETXTBSY, read_write },
	{ "path fd", EBADF, path_only },
	{ "closed fd", EBADF, closed_fd },
	{ "file open for writing", ETXTBSY, open_for_writing },
	{ "directory", EINVAL, directory },
	{ "device", EINVAL, device },
	{ "pipe", EINVAL, a_pipe },
	{ "procfs file", EINVAL, procfs },
	{ "empty file", EINVAL, empty },
	{ "garbage", ENOEXEC, garbage },
	{ "ELF magic and nothing more", ENOEXEC, elf_magic },
	{ "truncated module", ENOEXEC, truncated },
	{ "unknown flags", EINVAL, bad_flags },
	{ "compressed flag on a plain module", EINVAL, not_compressed },
	{ "no capability", EPERM, no_capability },
};

TEST_F(key, errors_are_those_of_the_loader)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_calls); i++) {
		const struct bad_call *bad = &bad_calls[i];
		int c, on;

		set_dedup("c");
		c = bad->call();
		unload("test_dedup");
		set_dedup("on");
		on = bad->call();
		unload("test_dedup");

		EXPECT_EQ(bad->expected, on)
			TH_LOG("%s", bad->what);
		EXPECT_EQ(c, on)
			TH_LOG("%s", bad->what);
	}
}

/* Also while somebody else loads that file. */
TEST_F(key, errors_while_a_flight_is_up)
{
	caller_add(&callers[0], TEST_KO, "gate=0", 0);
	gates_wait_entered(1);
	EXPECT_EQ(EBADF, write_only());
	EXPECT_EQ(ETXTBSY, read_write());
	EXPECT_EQ(EINVAL, bad_flags());
	EXPECT_EQ(EPERM, no_capability());
	gates_open(1);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
}

TEST_HARNESS_MAIN
