// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "modules.h"

int finit(int fd, const char *args, int flags)
{
	return syscall(SYS_finit_module, fd, args, flags) ? errno : 0;
}

int load(const char *path, const char *args, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return errno;
	err = finit(fd, args, flags);
	close(fd);
	return err;
}

struct image image_of(const char *path, size_t zeros)
{
	struct image image = { .len = file_size(path) + zeros };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return (struct image) { };
	image.data = mmap(NULL, image.len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (image.data == MAP_FAILED ||
	    mmap(image.data, image.len - zeros, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		 fd, 0) == MAP_FAILED)
		image.data = NULL;
	close(fd);
	return image;
}

struct elf64_shdr *image_section(char *data, const char *name)
{
	const struct elf64_hdr *header = (void *)data;
	struct elf64_shdr *sections = (void *)data + header->e_shoff;
	const char *names = data + sections[header->e_shstrndx].sh_offset;

	for (int i = 0; i < header->e_shnum; i++) {
		if (!strcmp(names + sections[i].sh_name, name))
			return &sections[i];
	}
	return NULL;
}

char *image_middle(const struct image *image)
{
	const size_t page = sysconf(_SC_PAGESIZE);

	return image->data + image->len / 2 / page * page;
}

void image_hide(const struct image *image)
{
	mprotect(image_middle(image), sysconf(_SC_PAGESIZE), PROT_NONE);
}

int init(const struct image *image, const char *args)
{
	return syscall(SYS_init_module, image->data, image->len, args) ? errno : 0;
}

int load_copy(const char *path, const char *args)
{
	struct image image = image_of(path, 0);
	int err;

	if (!image.data)
		return errno;
	err = init(&image, args);
	munmap(image.data, image.len);
	return err;
}

int load_once(const char *path)
{
	int err = load(path, "", 0);

	return err == EEXIST ? 0 : err;
}

int copy_module(const char *from, const char *name, const char *to, const char *other)
{
	size_t len, name_len = strlen(name);
	char *image = read_file(from, &len);
	int err;

	if (!image)
		return -ENOENT;
	/* Also where it is not that of the module: in lines that people read. */
	for (char *at = image; (at = memmem(at, image + len - at, name, name_len + 1));)
		memcpy(at, other, name_len);
	err = write_file(to, image, len);
	free(image);
	return err;
}

int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? errno : 0;
}

void quick_removals(void)
{
	spit("/sys/kernel/rcu_expedited", "1");
}

bool module_live(const char *name)
{
	char path[PATH_MAX], state[32];

	snprintf(path, sizeof(path), "/sys/module/%s/initstate", name);
	return slurp(path, state, sizeof(state)) > 0 && !strcmp(state, "live\n");
}

int module_param(const char *name, const char *param)
{
	char path[PATH_MAX], value[32];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", name, param);
	return slurp(path, value, sizeof(value)) > 0 ? atoi(value) : 0;
}

const char *compressed_module(const char **reason)
{
	char format[16];

	*reason = NULL;
	if (slurp("/sys/module/compression", format, sizeof(format)) <= 0)
		*reason = "this kernel decompresses no modules";
	else if (!strcmp(format, "zstd\n") && access("test_dedup.ko.zst", R_OK))
		*reason = "test_dedup.ko.zst is missing: it is built if there is a zstd";
	else if (!strcmp(format, "xz\n") && access("test_dedup.ko.xz", R_OK))
		*reason = "test_dedup.ko.xz is missing: it is built if there is an xz";
	else if (strcmp(format, "zstd\n") && strcmp(format, "xz\n"))
		*reason = "this kernel decompresses a format that no test module has";
	if (*reason)
		return NULL;
	return *format == 'z' ? "test_dedup.ko.zst" : "test_dedup.ko.xz";
}

const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "0";

	return name ?: "?";
}
