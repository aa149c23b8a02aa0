/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk in memory, for tests that need a filesystem whose times are coarse, or
 * one whose contents change without a change of its times.
 */
#ifndef _MODULE_TEST_DISK_H
#define _MODULE_TEST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define DISK "/dev/ram0"
/* Where it is mounted, and a module there. */
#define DISK_DIR "/tmp/test_dedup_disk"
#define DISK_KO DISK_DIR "/test_dedup.ko"

/* Makes the disk an empty minix filesystem, whose times are whole seconds. Returns 0 or -errno. */
int minix_format(void);

int disk_mount(const char *type, unsigned long flags);
void disk_umount(void);

/* Two modules, in files of the same size. */
struct alike {
	char *first, *second;
	size_t len;
};

struct alike read_alike(const char *first, const char *second);
void free_alike(struct alike *files);

/* Whether two files, or one at two times, look the same. */
bool same_stat(const struct stat *a, const struct stat *b);

/* The blocks of the disk that a file has. Returns how many, or -1. */
int file_blocks(const char *path, int *blocks, int max, int *block_size);

/* Puts other contents in the place of a file while nothing is mounted. Returns 0 or -errno. */
int write_blocks(const int *blocks, int n, int block_size, const char *data, size_t len);

#endif /* _MODULE_TEST_DISK_H */
