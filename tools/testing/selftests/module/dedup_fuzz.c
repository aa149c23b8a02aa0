// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile calls of finit_module() and init_module(): wrong descriptors, files
 * that are no files, files that shrink or cannot be read, bad pointers, lengths
 * and flags.
 *
 * First each combination by itself, which must fail as it does with the kernel's
 * own C code; then many at once, at random, which the kernel must survive.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "kselftest.h"
#include "lib/disk.h"
#include "lib/files.h"
#include "lib/memory.h"
#include "lib/modules.h"
#include "lib/random.h"
#include "lib/stats.h"
#include "lib/workers.h"

#define DIR "/tmp/dedup_fuzz/"
#define MAKE_IT_FAIL "/sys/block/ram0/make-it-fail"
#define FAIL_REQUEST "/sys/kernel/debug/fail_make_request/"
#define NAME "test_dedup"
#define STEPS 1000
#define PAGE 4096
/* Where only the kernel may look. */
#define KERNEL_ADDRESS ((void *)0xffffffff81000000)

/* Files, whose contents or whose state may change while they are in use. */
static const char good[] = DIR "good.ko", shrinking[] = DIR "shrinking.ko",
		  replaced[] = DIR "replaced.ko", written[] = DIR "written.ko",
		  empty[] = DIR "empty.ko", half[] = DIR "half.ko", zeros[] = DIR "zeros.ko",
		  huge[] = DIR "huge.ko", stacked[] = DIR "merged/lower.ko",
		  copied_up[] = DIR "merged/upper.ko", failing[] = DIR "disk/failing.ko";

static char *image;
static size_t image_size;

/* Descriptors. */
struct fd {
	const char *what;
	int fd;
	/* The same call need not return the same twice. */
	bool unsteady;
	/* It can be read, which takes long compared to a mere error. */
	bool readable;
};

static struct fd fds[64];
static int fds_count;

static void add_fd(const char *what, int fd, bool unsteady)
{
	struct stat st;
	bool readable = !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size;

	fds[fds_count++] = (struct fd){ what, fd, unsteady, readable };
}

/* Mostly one that is wrong by itself. */
static const struct fd *some_fd(unsigned long long *random)
{
	const struct fd *fd;

	do {
		fd = &fds[below(random, fds_count)];
	} while (fd->readable && !chance(random, 15));
	return fd;
}

static void add_file(const char *path, int flags, bool unsteady)
{
	int fd = open(path, flags | O_CLOEXEC);

	/* A kernel without that filesystem has no such file. */
	if (fd >= 0)
		add_fd(path, fd, unsteady);
}

static int memory_file(const char *name, const void *data, size_t len, int seals)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		ksft_exit_fail_msg("memfd_create: %s\n", strerror(errno));
	if (seals)
		fcntl(fd, F_ADD_SEALS, seals);
	return fd;
}

/* Each process has its own. */
static void fds_open(void)
{
	char path[64];
	int pair[2], fd;

	fds_count = 0;
	add_fd("-1", -1, false);
	add_fd("INT_MIN", INT_MIN, false);
	add_fd("INT_MAX", INT_MAX, false);
	add_fd("a closed descriptor", 900, false);
	add_file(good, O_RDONLY, false);
	add_file(good, O_PATH, false);
	add_file(DIR, O_RDONLY | O_DIRECTORY, false);
	add_file(written, O_WRONLY, false);
	add_file(written, O_RDWR, false);
	add_file(empty, O_RDONLY, false);
	add_file(half, O_RDONLY, false);
	add_file(zeros, O_RDONLY, false);
	add_file(huge, O_RDONLY, false);
	add_file(stacked, O_RDONLY, false);
	add_file(copied_up, O_RDONLY, false);
	add_file("/dev/null", O_RDONLY, false);
	add_file("/dev/zero", O_RDONLY, false);
	add_file("/proc/version", O_RDONLY, false);
	add_file("/proc/self/maps", O_RDONLY, false);
	add_file("/proc/kallsyms", O_RDONLY, false);
	add_file("/sys/kernel/uevent_helper", O_RDONLY, false);
	add_file("/sys/kernel/debug/modules/stats", O_RDONLY, false);
	add_file(DISK, O_RDONLY, false);
	if (pipe2(pair, O_CLOEXEC) == 0) {
		add_fd("a pipe to read", pair[0], false);
		add_fd("a pipe to write", pair[1], false);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0)
		add_fd("a socket", pair[0], false);
	add_fd("an eventfd", eventfd(0, EFD_CLOEXEC), false);
	add_fd("an epoll descriptor", epoll_create1(EPOLL_CLOEXEC), false);
	add_fd("a memfd, open for writing", memory_file("module", image, image_size, 0), false);
	fd = memory_file("module", image, image_size, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
	add_fd("a sealed memfd", fd, false);
	add_fd("a memfd of nothing", memory_file("module", "", 0, 0), false);
	snprintf(path, sizeof(path), DIR "deleted.%d", getpid());
	write_file(path, image, image_size);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	add_fd("a deleted file", fd, false);
	add_file(shrinking, O_RDONLY, true);
	add_file(replaced, O_RDONLY, true);
	add_file(failing, O_RDONLY, true);
}

/* Pointers to arguments. */
struct pointer {
	const char *what;
	const char *args;
	bool unsteady;
};

static struct pointer pointers[32];
static int pointers_count;
/* Written to by all, while it is used. */
static char *scribble;

static void add_pointer(const char *what, const void *args, bool unsteady)
{
	pointers[pointers_count++] = (struct pointer){ what, args, unsteady };
}

static char *string_of(size_t len, char c)
{
	char *text = malloc(len + 1);

	memset(text, c, len);
	text[len] = '\0';
	return text;
}

static void pointers_make(void)
{
	char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	memset(pages, ' ', 3 * PAGE);
	mprotect(pages + 2 * PAGE, PAGE, PROT_NONE);
	pages[PAGE - 1] = '\0';

	add_pointer("no arguments", "", false);
	add_pointer("a null pointer", NULL, false);
	add_pointer("a small number", (void *)8, false);
	add_pointer("an address of the kernel", KERNEL_ADDRESS, false);
	add_pointer("the last byte", (void *)-1, false);
	add_pointer("a hole", pages + 2 * PAGE, false);
	add_pointer("a string that ends in a hole", pages + PAGE, false);
	add_pointer("a string at the end of a page", pages + PAGE - 1, false);
	add_pointer("4095 bytes", string_of(4095, ' '), false);
	add_pointer("4096 bytes", string_of(4096, ' '), false);
	add_pointer("4097 bytes", string_of(4097, ' '), false);
	add_pointer("64 kilobytes", string_of(1 << 16, ' '), false);
	add_pointer("arguments", "tag=7 text=\"a b\"", false);
	add_pointer("a failing init", "fail=-71", false);
	add_pointer("a bad value", "tag=x", false);
	add_pointer("an open quote", "text=\"", false);
	add_pointer("percent signs", "%s%n%p=%d %n", false);
	add_pointer("bytes of all kinds", "\xff\xfe\x01\x7f=\x80 \x1b[0m", false);
	add_pointer("what others write to", scribble, true);
}

static const int all_flags[] = {
	0, MODULE_INIT_IGNORE_MODVERSIONS, MODULE_INIT_IGNORE_VERMAGIC,
	MODULE_INIT_COMPRESSED_FILE,
	MODULE_INIT_COMPRESSED_FILE | MODULE_INIT_IGNORE_VERMAGIC, 8, 1 << 30, -1, INT_MIN,
};

/* Copies of a module, for init_module(). */
struct copy {
	const char *what;
	const void *image;
	size_t len;
};

static struct copy copies[32];
static int copies_count;

static void add_copy(const char *what, const void *from, size_t len)
{
	copies[copies_count++] = (struct copy){ what, from, len };
}

static void copies_make(void)
{
	struct sysinfo info;
	void *hole = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	sysinfo(&info);
	add_copy("the module", image, image_size);
	add_copy("nothing", image, 0);
	add_copy("a byte", image, 1);
	add_copy("its header", image, 64);
	add_copy("half of it", image, image_size / 2);
	add_copy("a byte less", image, image_size - 1);
	/* Less than all memory could really be allocated. */
	add_copy("more than there is", image, info.totalram * info.mem_unit + PAGE);
	add_copy("SIZE_MAX bytes", image, SIZE_MAX);
	add_copy("a terabyte", image, 1UL << 40);
	add_copy("a null pointer", NULL, image_size);
	add_copy("an address of the kernel", KERNEL_ADDRESS, image_size);
	add_copy("the last bytes", (void *)-64, image_size);
	add_copy("a hole", hole, 1 << 20);
	add_copy("zeros", calloc(1, 1 << 16), 1 << 16);
}

/* A file that cannot be read, every other time. */
static bool disk_make(void)
{
	mkdir(DIR "disk", 0755);
	if (access(DISK, F_OK) || access(MAKE_IT_FAIL, F_OK) ||
	    system("mke2fs -I 256 -i 65536 " DISK " > /dev/null") ||
	    mount(DISK, DIR "disk", "ext4", 0, NULL))
		return false;
	if (write_file(failing, image, image_size) || umount(DIR "disk") ||
	    mount(DISK, DIR "disk", "ext4", MS_RDONLY, "noload"))
		return false;
	spit(FAIL_REQUEST "verbose", "0");
	spit(FAIL_REQUEST "interval", "1");
	spit(FAIL_REQUEST "times", "-1");
	spit(FAIL_REQUEST "probability", "50");
	return !spit(MAKE_IT_FAIL, "1");
}

static bool overlay_make(void)
{
	mkdir(DIR "lower", 0755);
	mkdir(DIR "upper", 0755);
	mkdir(DIR "work", 0755);
	mkdir(DIR "merged", 0755);
	write_file(DIR "lower/lower.ko", image, image_size);
	write_file(DIR "lower/upper.ko", image, image_size);
	if (mount("overlay", DIR "merged", "overlay", 0,
		  "lowerdir=" DIR "lower,upperdir=" DIR "upper,workdir=" DIR "work"))
		return false;
	return !chmod(copied_up, 0600);
}

/* Returns whether there are files of all kinds. */
static bool files_make(void)
{
	char *nothing = calloc(1, 1 << 16);

	mkdir(DIR, 0755);
	image = read_file(TEST_KO, &image_size);
	if (!image)
		ksft_exit_fail_msg("cannot read " TEST_KO "\n");
	write_file(good, image, image_size);
	write_file(shrinking, image, image_size);
	write_file(replaced, image, image_size);
	write_file(written, image, image_size);
	write_file(empty, "", 0);
	write_file(half, image, image_size / 2);
	write_file(zeros, nothing, 1 << 16);
	write_file(huge, image, image_size);
	truncate(huge, 3LL << 30);
	free(nothing);
	return overlay_make() & disk_make();
}

static void files_remove(void)
{
	spit(FAIL_REQUEST "probability", "0");
	spit(MAKE_IT_FAIL, "0");
	umount(DIR "disk");
	umount(DIR "merged");
}

static int finit_once(const struct fd *fd, const struct pointer *p, int flags, const char *mode)
{
	int err;

	set_dedup(mode);
	err = finit(fd->fd, p->args, flags);
	if (!err)
		unload(NAME);
	return err;
}

static int init_once(const struct copy *c, const struct pointer *p, const char *mode)
{
	int err;

	set_dedup(mode);
	err = syscall(SYS_init_module, c->image, c->len, p->args) ? errno : 0;
	if (!err)
		unload(NAME);
	return err;
}

/* Each combination by itself: with de-duplication it fails as it does without. */
static int compare_with_c(int *calls)
{
	int differ = 0;

	for (int f = 0; f < fds_count; f++) {
		for (int p = 0; p < pointers_count; p++) {
			for (size_t i = 0; i < ARRAY_SIZE(all_flags); i++) {
				int want, got;

				if (fds[f].unsteady || pointers[p].unsteady)
					continue;
				want = finit_once(&fds[f], &pointers[p], all_flags[i], "c");
				got = finit_once(&fds[f], &pointers[p], all_flags[i], "on");
				*calls += 2;
				if (got == want)
					continue;
				differ++;
				ksft_print_msg("%s, %s, %#x: %s, but %s with the C code\n",
					       fds[f].what, pointers[p].what, all_flags[i],
					       errno_name(got), errno_name(want));
			}
		}
	}
	for (int c = 0; c < copies_count; c++) {
		for (int p = 0; p < pointers_count; p++) {
			int want, got;

			if (pointers[p].unsteady)
				continue;
			want = init_once(&copies[c], &pointers[p], "c");
			got = init_once(&copies[c], &pointers[p], "on");
			*calls += 2;
			if (got == want)
				continue;
			differ++;
			ksft_print_msg("init_module, %s, %s: %s, but %s with the C code\n",
				       copies[c].what, pointers[p].what, errno_name(got),
				       errno_name(want));
		}
	}
	return differ;
}

static struct {
	unsigned int round;
	atomic_long calls;
	atomic_long results[ERRNOS];
	atomic_int wrong;
} *all;

/* What hostile calls may return; a signal, for one, is nowhere. */
static bool is_allowed(int err)
{
	static const int allowed[] = {
		0, EBADF, EBUSY, EEXIST, EFAULT, EFBIG, EINVAL, EIO, ENOEXEC, ENOMEM,
		EPROTO, ETXTBSY,
	};

	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		if (err == allowed[i])
			return true;
	}
	return false;
}

static void note(const char *what, const char *args, int err)
{
	atomic_fetch_add(&all->calls, 1);
	if (err >= 0 && err < ERRNOS)
		atomic_fetch_add(&all->results[err], 1);
	if (is_allowed(err))
		return;
	atomic_fetch_add(&all->wrong, 1);
	ksft_print_msg("round %u: %s with %s returned %s\n", all->round, what, args,
		       errno_name(err));
}

/* Changes what others are using. */
static void disturb(unsigned long long *random)
{
	char path[64];

	switch (below(random, 6)) {
	case 0:
		truncate(shrinking, below(random, image_size));
		break;
	case 1:
		write_file(shrinking, image, image_size);
		break;
	case 2:
		snprintf(path, sizeof(path), DIR "new.%d", getpid());
		write_file(path, image, image_size);
		rename(path, replaced);
		break;
	case 3:
		for (int i = 0; i < PAGE; i++)
			scribble[i] = chance(random, 5) ? '\0' : ' ' + below(random, 90);
		break;
	case 4:
		for (int i = 0; i < fds_count; i++) {
			if (!strcmp(fds[i].what, failing))
				posix_fadvise(fds[i].fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		break;
	default:
		unload(NAME);
	}
}

static void work(int number, struct worker *w)
{
	unsigned long long random = seed_of(all->round, number + 1);

	fds_open();
	for (int i = 0; i < STEPS; i++) {
		const struct pointer *p = &pointers[below(&random, pointers_count)];
		int flags = all_flags[below(&random, ARRAY_SIZE(all_flags))];

		if (chance(&random, 3)) {
			doing(w, "disturb");
			disturb(&random);
		} else if (chance(&random, 15)) {
			const struct copy *c = &copies[below(&random, copies_count)];

			doing(w, "init_module");
			note(c->what, p->what,
			     syscall(SYS_init_module, c->image, c->len, p->args) ? errno : 0);
		} else {
			const struct fd *fd = some_fd(&random);

			/* Most are no flags at all, and more of them shall get further. */
			if (chance(&random, 60))
				flags = 0;
			doing(w, fd->what);
			note(fd->what, p->what, finit(fd->fd, p->args, flags));
		}
	}
}

int main(int argc, char **argv)
{
	int differ, compared = 0, killed = 0, unfinished = 0, stuck = 0;
	long memory = -1;
	bool all_files;

	workers_begin(argc, argv, 16);
	ksft_set_plan(7);
	unload(NAME);
	all_files = files_make();
	all = shared_memory(sizeof(*all));
	scribble = shared_memory(PAGE);
	pointers_make();
	copies_make();
	fds_open();

	tell_host("each combination by itself");
	differ = compare_with_c(&compared);
	ksft_test_result(!differ, "errors are those of the C code, in %d calls\n", compared);
	set_dedup("on");

	do {
		if (memory < 0 && all->calls * 10 >= calls_wanted) {
			unload(NAME);
			memory = kernel_memory();
		}
		workers_start(processes, work);
		killed = workers_wait();
		if (killed)
			break;
		all->round++;
		unfinished += !all_modules_live();
		stuck += !nothing_left_in_flight();
		progress(all->calls);
	} while (all->calls < calls_wanted && !all->wrong && !unfinished && !stuck);

	unload(NAME);
	files_remove();
	for (int err = 0; err < ERRNOS; err++) {
		if (all->results[err])
			ksft_print_msg("%s: %ld\n", errno_name(err), all->results[err]);
	}
	ksft_test_result(all_files, "there are files of all kinds\n");
	ksft_test_result(!all->wrong, "every call got a result that is allowed\n");
	ksft_test_result(!killed, "no process hangs, or is killed\n");
	ksft_test_result(!unfinished, "no module is left coming or going\n");
	ksft_test_result(!stuck, "nothing is left in flight\n");
	ksft_test_result_report(memory_verdict(memory, kernel_memory()),
				"memory is what it was\n");
	printf("@fuzz seed=%llu rounds=%u calls=%ld compared=%d\n", seed, all->round,
	       all->calls, compared);
	ksft_finished();
}
