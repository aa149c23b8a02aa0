// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/minix_fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "disk.h"
#include "files.h"

#define MINIX_BLOCKS 8000
#define MINIX_INODES 64
/* Names of 30 characters. */
#define MINIX_MAGIC_30 0x138f

/* An entry of a folder. */
struct minix_entry {
	__u16 inode;
	char name[30];
};

/* Marks what a map of a block has beyond its last bit, and the first ones. */
static void minix_map(unsigned char *map, int bits)
{
	for (int bit = 0; bit < BLOCK_SIZE * 8; bit++) {
		if (bit < 2 || bit >= bits)
			map[bit / 8] |= 1 << bit % 8;
	}
}

int minix_format(void)
{
	const int inode_blocks = MINIX_INODES / MINIX_INODES_PER_BLOCK;
	const int first = 4 + inode_blocks;
	static unsigned char image[16][BLOCK_SIZE];
	struct minix_super_block *super = (void *)image[1];
	struct minix_inode *root = (void *)image[4];
	struct minix_entry *entries = (void *)image[first];
	int fd = open(DISK, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	memset(image, 0, sizeof(image));
	*super = (struct minix_super_block) {
		.s_ninodes	= MINIX_INODES,
		.s_nzones	= MINIX_BLOCKS,
		.s_imap_blocks	= 1,
		.s_zmap_blocks	= 1,
		.s_firstdatazone = first,
		.s_max_size	= (7 + 512 + 512 * 512) * BLOCK_SIZE,
		.s_magic	= MINIX_MAGIC_30,
		.s_state	= MINIX_VALID_FS,
	};
	minix_map(image[2], MINIX_INODES + 1);
	minix_map(image[3], MINIX_BLOCKS - first + 1);
	*root = (struct minix_inode) {
		.i_mode		= S_IFDIR | 0755,
		.i_size		= 2 * sizeof(*entries),
		.i_nlinks	= 2,
		.i_zone		= { first },
	};
	entries[0] = (struct minix_entry) { MINIX_ROOT_INO, "." };
	entries[1] = (struct minix_entry) { MINIX_ROOT_INO, ".." };
	if (write(fd, image, sizeof(image)) != sizeof(image) || fsync(fd))
		err = -EIO;
	close(fd);
	return err;
}

int disk_mount(const char *type, unsigned long flags)
{
	mkdir(DISK_DIR, 0755);
	return mount(DISK, DISK_DIR, type, flags, NULL) ? -errno : 0;
}

void disk_umount(void)
{
	umount(DISK_DIR);
	rmdir(DISK_DIR);
}

static char *read_padded(const char *path, size_t len)
{
	char *data = calloc(1, len + 1);

	slurp(path, data, len + 1);
	return data;
}

struct alike read_alike(const char *first, const char *second)
{
	long one = file_size(first), two = file_size(second);
	/* What comes after a module does not matter. */
	size_t len = one > two ? one : two;

	return (struct alike) { read_padded(first, len), read_padded(second, len), len };
}

void free_alike(struct alike *files)
{
	free(files->first);
	free(files->second);
}

bool same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

int file_blocks(const char *path, int *blocks, int max, int *block_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int n = -1;

	if (fd < 0)
		return -1;
	if (!fsync(fd) && !ioctl(fd, FIGETBSZ, block_size)) {
		n = (file_size(path) + *block_size - 1) / *block_size;
		for (int i = 0; i < n && n <= max; i++) {
			blocks[i] = i;
			if (ioctl(fd, FIBMAP, &blocks[i]) || !blocks[i])
				n = -1;
		}
	}
	close(fd);
	return n <= max ? n : -1;
}

int write_blocks(const int *blocks, int n, int block_size, const char *data, size_t len)
{
	int fd = open(DISK, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	for (int i = 0; i < n && !err; i++) {
		size_t at = (size_t)i * block_size;
		size_t part = len - at < (size_t)block_size ? len - at : (size_t)block_size;

		if (pwrite(fd, data + at, part, (off_t)blocks[i] * block_size) != (ssize_t)part)
			err = -EIO;
	}
	if (fsync(fd))
		err = -EIO;
	close(fd);
	return err;
}
