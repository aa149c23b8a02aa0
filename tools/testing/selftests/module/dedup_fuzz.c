// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile calls of finit_module() and init_module(): wrong descriptors, files
 * that are no files, files that shrink or cannot be read, bad pointers, lengths
 * and flags; and images with wrong headers, with holes, and that change.
 *
 * First each combination by itself, which must fail as it does with the kernel's
 * own C code, and an image for each eight of the calls that are wanted, with up to
 * four mistakes in its headers at once; then many calls at once, at random, which
 * the kernel must survive.
 *
 * What an image returns among others is known, too. One that cannot be loaded
 * returns what it did by itself, and one that can be loaded what any such image
 * did, or that the module is there (EEXIST), or busy (EBUSY). One that changes
 * meanwhile may return what any image did that can be loaded, or that cannot be.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/elf.h>
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
#include "lib/log.h"
#include "lib/memory.h"
#include "lib/modules.h"
#include "lib/random.h"
#include "lib/stats.h"
#include "lib/workers.h"

#define DIR "/tmp/dedup_fuzz/"
#define MAKE_IT_FAIL "/sys/block/ram0/make-it-fail"
#define FAIL_REQUEST "/sys/kernel/debug/fail_make_request/"
#define CONSOLE_LEVEL "/proc/sys/kernel/printk"
#define ALL_LEVELS "/sys/module/printk/parameters/ignore_loglevel"
#define NAME "test_dedup"
/* It differs in one byte, so that no third name is seen while one becomes the other. */
#define OTHER_NAME "test_dedux"
#define NAME_LEN (64 - sizeof(long))
#define STEPS 1000
/* For so many steps it is the turn of one image. */
#define TURN 16
#define PAGE 4096
/* How much of each part of an image is looked at, at the most. */
#define LOOK 256
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

/* Images of a module, for init_module(). */
struct copy {
	char what[96];
	char *image;
	size_t len;
	/* So many bytes there are other ones during the call: this value, or its low byte. */
	size_t at, size;
	unsigned long value;
	/* The page that cannot be read during the call, counted from 1. */
	size_t hole;
	/* Others change it. */
	bool changes;
	/* All that is looked at before it is copied is as in the good image. */
	bool alike;
	/* It is one of many that differ in a header. */
	bool generated;
	/* What it returns by itself, without arguments. */
	int want;
};

static struct copy copies[1024];
static int copies_count, copies_by_hand;
/* What images that cannot be loaded, and such that can, have returned by themselves. */
static bool seen[2][ERRNOS];

/*
 * The module, whose name, .modinfo and section headers have each a page of their
 * own, with others between them and after them, and a hole behind it. The same
 * for another version of the kernel is never loaded, whatever else is wrong with
 * it: this is found out after the headers, and before anything is done with it.
 */
enum { GOOD, FOREIGN, CHANGING_GOOD, CHANGING_FOREIGN, VANISHING, IMAGES };

static char *images[IMAGES];
/* The same for another kernel as it is in its file, which is quicker to copy. */
static char *short_foreign;
static size_t good_len, name_at;
static int vanishing;
static char long_name[NAME_LEN];
/* All names that the module may have; the first one is its own. */
static const char * const names[] = { NAME, OTHER_NAME, long_name };

static struct copy *add_copy(const char *what, const void *from, size_t len)
{
	struct copy *c = &copies[copies_count++];

	if (copies_count > (int)ARRAY_SIZE(copies))
		ksft_exit_fail_msg("too many images\n");
	*c = (struct copy){ .image = (char *)from, .len = len };
	snprintf(c->what, sizeof(c->what), "%s", what);
	return c;
}

static struct elf64_shdr *headers_of(char *from)
{
	return (void *)from + ((struct elf64_hdr *)from)->e_shoff;
}

static struct elf64_shdr *section(char *from, const char *name)
{
	struct elf64_shdr *found = image_section(from, name);

	if (!found)
		ksft_exit_fail_msg(TEST_KO " has no %s\n", name);
	return found;
}

/* Makes a module one for another version of the kernel. */
static void make_foreign(char *from)
{
	const struct elf64_shdr *info = section(from, ".modinfo");
	char *magic = memmem(from + info->sh_offset, info->sh_size, "vermagic=", 9);

	memset(magic + 9, 'x', strlen(magic + 9));
}

/* Memory of one process, or of all, with a hole behind it. */
#define ALONE (MAP_PRIVATE | MAP_ANONYMOUS)
#define TOGETHER (MAP_SHARED | MAP_ANONYMOUS)

static char *before_hole(size_t len, int flags, int fd)
{
	char *at = mmap(NULL, len + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mmap(at, len, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0);
}

/* Moves something to pages of its own at the end. */
static size_t move(char *to, const void *from, size_t len)
{
	size_t at = good_len + PAGE;

	memcpy(to + at, from, len);
	good_len = at + (len + PAGE - 1) / PAGE * PAGE;
	return at;
}

static void images_make(void)
{
	static const char * const moved[] = { ".gnu.linkonce.this_module", ".modinfo" };
	char *good = before_hole(64 * PAGE, ALONE, -1);
	struct elf64_hdr *header = (void *)good;

	memcpy(good, image, image_size);
	good_len = (image_size + PAGE - 1) / PAGE * PAGE;
	for (size_t i = 0; i < ARRAY_SIZE(moved); i++) {
		struct elf64_shdr *which = section(good, moved[i]);

		which->sh_offset = move(good, good + which->sh_offset, which->sh_size);
	}
	header->e_shoff = move(good, headers_of(good), header->e_shnum * sizeof(struct elf64_shdr));
	good_len += 2 * PAGE;

	vanishing = memfd_create("image", MFD_CLOEXEC);
	if (ftruncate(vanishing, good_len))
		ksft_exit_fail_msg("memfd_create: %s\n", strerror(errno));
	for (int i = 0; i < IMAGES; i++) {
		if (i == VANISHING)
			images[i] = before_hole(good_len, MAP_SHARED, vanishing);
		else
			images[i] = before_hole(good_len, i < CHANGING_GOOD ? ALONE : TOGETHER, -1);
		memcpy(images[i], good, good_len);
		if (i != GOOD && i != CHANGING_GOOD)
			make_foreign(images[i]);
	}
	short_foreign = before_hole(image_size, ALONE, -1);
	memcpy(short_foreign, image, image_size);
	make_foreign(short_foreign);
	name_at = section(good, moved[0])->sh_offset;
	name_at = (char *)memmem(good + name_at, PAGE, NAME, sizeof(NAME)) - good;
	memset(long_name, 'x', NAME_LEN - 1);
}

static void swap_bytes(char *at, char *other, size_t size)
{
	char byte;

	for (; size; size--, at++, other++) {
		byte = *at;
		*at = *other;
		*other = byte;
	}
}

/* Whether what can be seen of an image without copying it is as in the good one. */
static bool is_alike(const struct copy *c)
{
	const struct elf64_hdr *header = (void *)images[GOOD];
	const struct elf64_shdr *info = section(images[GOOD], ".modinfo");
	const struct { size_t at, len; } looked_at[] = {
		{ 0, LOOK }, { name_at, NAME_LEN }, { good_len - LOOK, LOOK },
		{ info->sh_offset + info->sh_size - LOOK, LOOK },
		{ header->e_shoff, header->e_shnum * sizeof(struct elf64_shdr) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(looked_at); i++) {
		size_t at = looked_at[i].at, end = at + looked_at[i].len, hole = c->hole * PAGE;

		if ((c->at < end && c->at + c->size > at) ||
		    (hole && hole - PAGE < end && hole > at))
			return false;
	}
	return c->image == images[GOOD] && c->len == good_len;
}

/* An image of which some bytes are other ones. */
static struct copy *add_edit(const char *what, int which, size_t at, size_t size,
			     unsigned long value)
{
	struct copy *c = add_copy(what, images[which], good_len);

	c->at = at;
	c->size = size;
	c->value = value;
	c->alike = is_alike(c);
	return c;
}

/* What is wrong in a header, in turn. */
static const struct value {
	enum { IS, OLD, LENGTH, NAME_OF_MODULE } base;
	long add;
} values[] = {
	{ IS, 0 }, { IS, 1 }, { IS, 2 }, { IS, SHT_NOBITS }, { IS, SHRT_MAX },
	{ IS, INT_MAX }, { IS, 1L << 31 }, { IS, LONG_MAX }, { IS, LONG_MIN }, { IS, -1 },
	{ IS, -64 }, { OLD, -1 }, { OLD, 1 }, { OLD, 64 }, { LENGTH, -64 }, { LENGTH, 0 },
	{ LENGTH, 1 }, { NAME_OF_MODULE, 0 },
};

struct field {
	const char *what;
	size_t at, size;
	/* Nobody looks at it, and the module is loaded all the same. */
	bool ignored;
};

static const struct field header_fields[] = {
	{ "e_ident[0]", offsetof(struct elf64_hdr, e_ident[0]), 1 },
	{ "e_ident[EI_CLASS]", offsetof(struct elf64_hdr, e_ident[EI_CLASS]), 1, true },
	{ "e_type", offsetof(struct elf64_hdr, e_type), 2 },
	{ "e_machine", offsetof(struct elf64_hdr, e_machine), 2 },
	{ "e_shoff", offsetof(struct elf64_hdr, e_shoff), 8 },
	{ "e_flags", offsetof(struct elf64_hdr, e_flags), 4, true },
	{ "e_shentsize", offsetof(struct elf64_hdr, e_shentsize), 2 },
	{ "e_shnum", offsetof(struct elf64_hdr, e_shnum), 2 },
	{ "e_shstrndx", offsetof(struct elf64_hdr, e_shstrndx), 2 },
};

static const struct field section_fields[] = {
	{ "sh_name", offsetof(struct elf64_shdr, sh_name), 4 },
	{ "sh_type", offsetof(struct elf64_shdr, sh_type), 4 },
	{ "sh_flags", offsetof(struct elf64_shdr, sh_flags), 8 },
	{ "sh_offset", offsetof(struct elf64_shdr, sh_offset), 8 },
	{ "sh_size", offsetof(struct elf64_shdr, sh_size), 8 },
	{ "sh_link", offsetof(struct elf64_shdr, sh_link), 4 },
};

/* The first one has no name. Of .modinfo the kernel believes whatever its header says. */
static const char * const edited_sections[] = {
	"", ".gnu.linkonce.this_module", ".shstrtab", ".symtab", ".strtab", ".comment",
};

static void add_edits(const char *where, size_t at, const struct field *field)
{
	int which = field->ignored ? GOOD : FOREIGN;
	char what[80];

	at += field->at;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		unsigned long bases[] = {
			[OLD] = 0, [LENGTH] = good_len,
			[NAME_OF_MODULE] = section(images[GOOD], edited_sections[1])->sh_name,
		};
		unsigned long value;

		memcpy(&bases[OLD], images[which] + at, field->size);
		value = bases[values[i].base] + values[i].add;
		if (!memcmp(&value, images[which] + at, field->size))
			continue;
		snprintf(what, sizeof(what), "%s %s %#lx", where, field->what, value);
		add_edit(what, which, at, field->size, value)->generated = true;
	}
}

static void add_headers(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(header_fields); i++)
		add_edits("header", 0, &header_fields[i]);
	for (size_t s = 0; s < ARRAY_SIZE(edited_sections); s++) {
		char *at = (char *)section(images[GOOD], edited_sections[s]);

		for (size_t i = 0; i < ARRAY_SIZE(section_fields); i++)
			add_edits(edited_sections[s], at - images[GOOD], &section_fields[i]);
	}
}

/* Images that are cut off, or that are said to be longer than they are. */
static void add_lengths(void)
{
	const size_t headers = headers_of(images[GOOD]) - (struct elf64_shdr *)images[GOOD];
	const size_t lengths[] = {
		63, 64, 65, PAGE - 1, PAGE, PAGE + 1, name_at, name_at + 1,
		headers * 64, headers * 64 + 64, good_len - 2 * PAGE, good_len - PAGE,
		good_len - 1, good_len + 1, good_len + PAGE, 1UL << 31, 1UL << 32,
	};
	char what[80];

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		snprintf(what, sizeof(what), "%zu bytes of %zu", lengths[i], good_len);
		add_copy(what, images[GOOD], lengths[i]);
		/* The same just before a hole. */
		if (lengths[i] < good_len && lengths[i] % PAGE == 0)
			add_copy(what, images[GOOD], lengths[i])->hole = lengths[i] / PAGE + 1;
	}
	for (size_t hole = 1; hole <= good_len / PAGE; hole++) {
		struct copy *c;

		snprintf(what, sizeof(what), "a hole in page %zu of %zu", hole, good_len / PAGE);
		c = add_copy(what, images[GOOD], good_len);
		c->hole = hole;
		c->alike = is_alike(c);
	}
}

/* Images with very many sections, most of which are nothing. */
static void add_many_sections(void)
{
	static const int counts[] = { 512, 513, 10000, SHN_LORESERVE - 1, SHN_LORESERVE, 65535 };
	const size_t headers_len = 65536 * sizeof(struct elf64_shdr);
	char *many = before_hole(good_len + headers_len, ALONE, -1), what[80];
	struct elf64_hdr *header = (void *)many;

	memcpy(many, images[GOOD], good_len);
	memcpy(many + good_len, headers_of(many), header->e_shnum * sizeof(struct elf64_shdr));
	header->e_shoff = good_len;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct copy *c;

		snprintf(what, sizeof(what), "%d sections", counts[i]);
		c = add_copy(what, many, good_len + counts[i] * sizeof(struct elf64_shdr));
		c->at = offsetof(struct elf64_hdr, e_shnum);
		c->size = sizeof(header->e_shnum);
		c->value = counts[i];
	}
	/* As ELF has it, which the kernel does not know. */
	many = before_hole(good_len + headers_len, ALONE, -1);
	memcpy(many, header, good_len + PAGE);
	header = (void *)many;
	headers_of(many)->sh_size = 65536;
	headers_of(many)->sh_link = header->e_shstrndx;
	header->e_shstrndx = SHN_HIRESERVE;
	header->e_shnum = 0;
	add_copy("a number of sections in the first of them", many, good_len + headers_len);
}

static void copies_make(void)
{
	struct elf64_shdr *strings = section(images[GOOD], ".shstrtab");
	struct elf64_shdr *info = section(images[GOOD], ".modinfo");
	struct sysinfo system;
	void *hole = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	sysinfo(&system);
	add_copy("the module", image, image_size);
	add_copy("nothing", image, 0);
	add_copy("a byte", image, 1);
	add_copy("its header", image, 64);
	add_copy("half of it", image, image_size / 2);
	add_copy("a byte less", image, image_size - 1);
	/* Less than all memory could really be allocated. */
	add_copy("more than there is", image, system.totalram * system.mem_unit + PAGE);
	add_copy("SIZE_MAX bytes", image, SIZE_MAX);
	add_copy("a terabyte", image, 1UL << 40);
	add_copy("a null pointer", NULL, image_size);
	add_copy("an address of the kernel", KERNEL_ADDRESS, image_size);
	add_copy("the last bytes", (void *)-64, image_size);
	add_copy("a hole", hole, 1 << 20);
	add_copy("zeros", calloc(1, 1 << 16), 1 << 16);

	add_edit("the module, spread over many pages", GOOD, 0, 0, 0);
	add_edit("the same for another kernel", FOREIGN, 0, 0, 0);
	add_edit("other bytes in the middle", GOOD, info->sh_offset - PAGE + 8, 8, -1);
	add_edit("another name", GOOD, name_at + sizeof(NAME) - 2, 1, 'x');
	add_edit("the longest name", GOOD, name_at, NAME_LEN - 1, 'x');
	add_edit("a name without an end", FOREIGN, name_at, NAME_LEN, 'x');
	add_edit("no name", FOREIGN, name_at, NAME_LEN, 0);
	add_edit("a name of slashes", FOREIGN, name_at, NAME_LEN - 1, '/');
	add_edit("names of sections without an end", FOREIGN,
		 strings->sh_offset + strings->sh_size - 1, 1, 'x');
	for (int which = CHANGING_GOOD; which < IMAGES; which++)
		add_edit("one that changes", which, 0, 0, 0)->changes = true;
	copies_by_hand = copies_count;
	add_lengths();
	add_many_sections();
	add_headers();
}

/* Calls init_module() with an image, as this one is to be. Returns 0 or an errno. */
static int init_copy(const struct copy *c, const char *args)
{
	char *hole = c->image + c->hole * PAGE - PAGE, bytes[NAME_LEN];
	int err;

	memset(bytes, c->value, sizeof(bytes));
	if (c->size <= sizeof(c->value))
		memcpy(bytes, &c->value, sizeof(c->value));
	swap_bytes(c->image + c->at, bytes, c->size);
	if (c->hole)
		mprotect(hole, PAGE, PROT_NONE);
	err = syscall(SYS_init_module, c->image, c->len, args) ? errno : 0;
	if (c->hole)
		mprotect(hole, PAGE, PROT_READ | PROT_WRITE);
	swap_bytes(c->image + c->at, bytes, c->size);
	return err;
}

static int init_whole(int which)
{
	const struct copy c = { .image = images[which], .len = good_len };

	return init_copy(&c, "");
}

static void unload_all(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unload(names[i]);
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

/* By itself, or with the module live, but none of another name. */
static int init_once(const struct copy *c, const struct pointer *p, const char *mode, bool live)
{
	set_dedup("on");
	for (size_t i = live; i < ARRAY_SIZE(names); i++)
		unload(names[i]);
	if (live)
		init_whole(GOOD);
	set_dedup(mode);
	return init_copy(c, p->args);
}

/*
 * Whether an image by itself returns what it does with the C code, while the
 * module is live, or is not. What differs in bytes that nobody has looked at is
 * taken for the module that is live.
 */
static bool copy_as_with_c(struct copy *c, const struct pointer *p, bool live)
{
	int want = init_once(c, p, "c", live);
	int got = init_once(c, p, "on", live);

	if (p == pointers && !live)
		c->want = want;
	seen[!c->want][want] = true;
	if (got == want || (live && c->alike && got == EEXIST))
		return true;
	ksft_print_msg("init_module, %s, %s%s: %s, but %s with the C code\n", c->what, p->what,
		       live ? ", live" : "", errno_name(got), errno_name(want));
	return false;
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
	for (int i = 0; i < 2 * copies_count; i++) {
		struct copy *c = &copies[i % copies_count];

		for (int p = 0; p < (c->generated ? 2 : pointers_count); p++) {
			if (pointers[p].unsteady)
				continue;
			differ += !copy_as_with_c(c, &pointers[p], i >= copies_count);
			*calls += 2;
		}
	}
	unload_all();
	return differ;
}

/* Some bytes of an image, and what is there instead. */
struct edit {
	size_t at, size;
	unsigned long value;
};

/*
 * The kernel believes whatever a section of no type has for the place of its
 * name, in a function that compares all names. So the types stay as they are, and
 * so does the place of the headers; each of these is tried by itself elsewhere.
 */
static bool may_be_one_of_many(const struct field *field)
{
	return strcmp(field->what, "sh_type") && strcmp(field->what, "e_shoff");
}

static struct edit some_edit(unsigned long long *random)
{
	const int place = below(random, ARRAY_SIZE(edited_sections) + 1) - 1;
	const struct value *v = &values[below(random, ARRAY_SIZE(values))];
	const struct field *field;
	unsigned long value = 0;
	size_t at = 0;

	do {
		field = place < 0 ? &header_fields[below(random, ARRAY_SIZE(header_fields))] :
				    &section_fields[below(random, ARRAY_SIZE(section_fields))];
	} while (!may_be_one_of_many(field));
	if (place >= 0)
		at = (char *)section(image, edited_sections[place]) - image;
	at += field->at;
	memcpy(&value, image + at, field->size);
	if (chance(random, 25))
		value = below(random, image_size);
	else
		value = v->add + (v->base == OLD ? value : v->base == LENGTH ? image_size : 0);
	return (struct edit){ at, field->size, value };
}

/* Calls init_module() with an image that has up to four mistakes. Returns an errno. */
static int init_edited(unsigned long long *random)
{
	struct edit edits[4];
	int count = 1 + below(random, ARRAY_SIZE(edits)), err;

	for (int i = 0; i < count; i++) {
		edits[i] = some_edit(random);
		swap_bytes(short_foreign + edits[i].at, (char *)&edits[i].value, edits[i].size);
	}
	err = syscall(SYS_init_module, short_foreign, image_size, "") ? errno : 0;
	while (count--)
		swap_bytes(short_foreign + edits[count].at, (char *)&edits[count].value,
			   edits[count].size);
	return err;
}

/*
 * Puts all lines of the log on the console but those that say what is wrong with
 * an image: there are so many of these that little else would be done.
 */
static void sift_log(int log)
{
	static const char * const usual[] = {
		"Invalid ", "ELF Spec violation", "test_dedup: ", "module ", "symbol ",
		"empty ", "section ",
	};
	const char *line;

	while ((line = log_find(log, ";"))) {
		bool is_usual = false;

		line = strchr(line, ';') + 1;
		for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
			is_usual |= !strncmp(line, usual[i], strlen(usual[i]));
		if (!is_usual)
			spit("/dev/kmsg", line);
	}
}

/* So many images of that kind, each with and without de-duplication. */
static int compare_edited(long wanted, int *calls)
{
	char level[64] = "", all_levels[8] = "";
	int differ = 0, first[256];

	slurp(CONSOLE_LEVEL, level, sizeof(level));
	slurp(ALL_LEVELS, all_levels, sizeof(all_levels));
	for (long from = 0; from < wanted; from += ARRAY_SIZE(first)) {
		unsigned long long random = seed_of(from, 0);
		int log = log_open();

		/* Worse things than errors still show at once. */
		spit(CONSOLE_LEVEL, "2");
		spit(ALL_LEVELS, "N");
		set_dedup("c");
		for (size_t i = 0; i < ARRAY_SIZE(first); i++)
			first[i] = init_edited(&random);
		random = seed_of(from, 0);
		set_dedup("on");
		for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
			int got = init_edited(&random);

			if (got == first[i])
				continue;
			differ++;
			ksft_print_msg("image %zu from %ld on: %s, but %s with the C code\n",
				       i, from, errno_name(got), errno_name(first[i]));
		}
		spit(CONSOLE_LEVEL, level);
		spit(ALL_LEVELS, all_levels);
		sift_log(log);
		close(log);
		*calls += 2 * ARRAY_SIZE(first);
		progress(*calls);
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

/* What an image may return while others are loaded, and the modules are. */
static bool is_allowed_for(const struct copy *c, int err)
{
	if (err == EEXIST || err == EBUSY)
		return !c->want || c->alike || c->changes;
	return !c->want || c->changes ? seen[!c->want][err] : err == c->want;
}

static void note(const char *what, const char *args, int err, bool allowed)
{
	atomic_fetch_add(&all->calls, 1);
	if (err >= 0 && err < ERRNOS)
		atomic_fetch_add(&all->results[err], 1);
	if (allowed)
		return;
	atomic_fetch_add(&all->wrong, 1);
	ksft_print_msg("round %u: %s with %s returned %s\n", all->round, what, args,
		       errno_name(err));
}

/* Changes an image over and over, and leaves it as it was, or not. */
static void change_image(unsigned long long *random)
{
	for (int i = 0; i < 64; i++) {
		const struct copy *c = &copies[below(random, copies_count)];
		int which = c->image == images[GOOD] ? CHANGING_GOOD : CHANGING_FOREIGN;

		/* A name that is half another one would never be removed. */
		if ((c->image != images[GOOD] && c->image != images[FOREIGN]) ||
		    c->size > sizeof(c->value))
			continue;
		memcpy(images[which], images[which - CHANGING_GOOD], good_len);
		memcpy(images[which] + c->at, &c->value, c->size);
	}
}

/* Changes what others are using. */
static void disturb(unsigned long long *random)
{
	char path[64];

	switch (below(random, 8)) {
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
	case 5:
		change_image(random);
		break;
	case 6:
		if (chance(random, 50))
			ftruncate(vanishing, below(random, good_len));
		else
			pwrite(vanishing, images[FOREIGN], good_len, 0);
		break;
	default:
		unload_all();
	}
}

/*
 * Of the images, one of those made by hand, or the one whose turn it is, so that
 * many call with the same one at once.
 */
static const struct copy *some_copy(unsigned long long *random, int step)
{
	if (chance(random, 25))
		return &copies[below(random, copies_by_hand)];
	return &copies[(all->round * STEPS + step) / TURN % copies_count];
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
			const struct copy *c = some_copy(&random, i);
			int err;

			doing(w, c->what);
			err = init_copy(c, p->args);
			note(c->what, p->what, err, is_allowed_for(c, err));
		} else {
			const struct fd *fd = some_fd(&random);
			int err;

			/* Most are no flags at all, and more of them shall get further. */
			if (chance(&random, 60))
				flags = 0;
			doing(w, fd->what);
			err = finit(fd->fd, p->args, flags);
			note(fd->what, p->what, err, is_allowed(err));
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
	images_make();
	copies_make();
	/* Only this keeps the kernel from believing all that is wrong in them. */
	if (init_whole(FOREIGN) != ENOEXEC)
		ksft_exit_fail_msg("the kernel loads modules of other kernels\n");
	fds_open();

	tell_host("each combination by itself");
	differ = compare_with_c(&compared);
	tell_host("images with several mistakes each");
	differ += compare_edited(calls_wanted / 8, &compared);
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
