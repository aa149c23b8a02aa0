// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 11 of Documentation/admin-guide/module-dedup.rst.
 *
 * finit_module() of a file whose module is live returns EEXIST
 * without reading the file, for as long as the module is live, the file and the
 * flags are the same, and its filesystem is mounted.
 */

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/disk.h"
#include "lib/harness.h"
#include "lib/process.h"

#define COPY "/tmp/test_dedup_late.ko"
#define OTHER "/tmp/test_dedup_other.ko"

FIXTURE(late) {
	struct stats before;
};

FIXTURE_SETUP(late)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	ASSERT_EQ(0, copy_file(BIG_KO, COPY));
	ASSERT_EQ(0, load(COPY, "", 0));
	self->before = read_stats();
}

FIXTURE_TEARDOWN(late)
{
	unload("test_dedup_big");
	unload("test_dedup");
	unload("test_dedup_b");
	unlink(COPY);
	disk_umount();
}

/* Whether a call, which must return EEXIST, read the file. */
static bool was_read(struct __test_metadata *_metadata, const char *args, int flags)
{
	long before = bytes_read();

	EXPECT_EQ(EEXIST, load(COPY, args, flags));
	return bytes_read() - before >= file_size(COPY);
}

TEST_F(late, reads_nothing)
{
	struct stats since;

	long before = bytes_read(), read;

	EXPECT_FALSE(was_read(_metadata, "", 0));
	read = bytes_read() - before;
	EXPECT_FALSE(was_read(_metadata, "tag=3", 0));
	SAW("a file of 1 MB whose module is live is loaded again", "EEXIST, reads %ld kB",
	    read / 1000);
	EXPECT_TRUE(module_live("test_dedup_big"));

	since = stats_since(self->before);
	EXPECT_COUNT(2, since.late);
	EXPECT_EQ(0, since.wasted);
	EXPECT_EQ(1, gates_entered());
}

TEST_F(late, after_removal_it_is_a_load)
{
	EXPECT_EQ(0, unload("test_dedup_big"));
	EXPECT_EQ(0, load(COPY, "", 0));
	EXPECT_EQ(2, gates_entered());
	EXPECT_COUNT(0, stats_since(self->before).late);
}

TEST_F(late, after_the_file_was_rewritten)
{
	size_t len;
	char *data = read_file(COPY, &len);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, write_file(COPY, data, len));
	free(data);
	EXPECT_TRUE(was_read(_metadata, "", 0));
	EXPECT_COUNT(0, stats_since(self->before).late);
}

TEST_F(late, after_the_file_was_replaced)
{
	ASSERT_EQ(0, copy_file(BIG_KO, OTHER));
	ASSERT_EQ(0, rename(OTHER, COPY));
	EXPECT_TRUE(was_read(_metadata, "", 0));
	EXPECT_COUNT(0, stats_since(self->before).late);
}

/* Makes files until there is only one inode left. */
static void use_up_inodes(void)
{
	char path[64];
	int n = 0, fd;

	do {
		snprintf(path, sizeof(path), DISK_DIR "/%d", n++);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		close(fd);
	} while (fd >= 0);
	snprintf(path, sizeof(path), DISK_DIR "/%d", n - 2);
	unlink(path);
}

/* Not even if a file is gone, and another one has its inode number. */
TEST_F(late, after_its_inode_number_was_used_again)
{
	const char *path = DISK_KO;
	ino_t first;
	struct stat st;

	if (access(DISK, F_OK))
		SKIP(return, "there is no " DISK);
	ASSERT_EQ(0, system("mke2fs -I 256 -i 65536 " DISK " > /dev/null"));
	if (disk_mount("ext4", 0))
		SKIP(return, "the kernel has no ext4");
	ASSERT_EQ(0, unload("test_dedup_big"));
	use_up_inodes();
	ASSERT_EQ(0, copy_file(BIG_KO, path));
	ASSERT_EQ(0, stat(path, &st));
	first = st.st_ino;
	EXPECT_EQ(0, load(path, "", 0));
	EXPECT_EQ(EEXIST, load(path, "", 0));
	EXPECT_COUNT(1, stats_since(self->before).late);

	ASSERT_EQ(0, unlink(path));
	ASSERT_EQ(0, copy_file(BIG_KO, path));
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_EQ(first, st.st_ino);
	EXPECT_EQ(EEXIST, load(path, "", 0));
	EXPECT_COUNT(1, stats_since(self->before).late);
	EXPECT_EQ(0, umount(DISK_DIR));
}

/* Nor if the file was changed, and its times are too coarse to tell. */
TEST_F(late, after_the_file_was_rewritten_within_a_second)
{
	struct alike files = read_alike(TEST_KO, B_KO);
	struct stat first, second;
	int err;

	if (minix_format() || disk_mount("minix", 0))
		SKIP(return, "there is no " DISK ", or the kernel has no minix");
	for (;;) {
		ASSERT_EQ(0, write_file(DISK_KO, files.first, files.len));
		ASSERT_EQ(0, stat(DISK_KO, &first));
		ASSERT_EQ(0, load(DISK_KO, "", 0));
		ASSERT_EQ(0, write_file(DISK_KO, files.second, files.len));
		ASSERT_EQ(0, stat(DISK_KO, &second));
		if (same_stat(&first, &second))
			break;
		/* A second was over in between. */
		ASSERT_EQ(0, unload("test_dedup"));
	}
	free_alike(&files);

	err = load(DISK_KO, "", 0);
	EXPECT_EQ(0, err);
	EXPECT_TRUE(module_live("test_dedup_b"));
	EXPECT_COUNT(0, stats_since(self->before).late);
	SAW("a file on minix becomes another module within a second", "%s, and that is %s",
	    errno_name(err), module_live("test_dedup_b") ? "live" : "not live");
}

/*
 * Nor if the filesystem was unmounted, and another one is on that device, where
 * everything is the same but the contents: as with images that were built to be
 * reproducible.
 */
TEST_F(late, after_another_image_was_mounted)
{
	struct alike files = read_alike(TEST_KO, B_KO);
	static int blocks[16384];
	struct stat first, second;
	int n, size, err;

	if (access(DISK, F_OK))
		SKIP(return, "there is no " DISK);
	ASSERT_EQ(0, system("mke2fs -I 256 " DISK " > /dev/null"));
	if (disk_mount("ext4", 0))
		SKIP(return, "the kernel has no ext4");
	ASSERT_EQ(0, write_file(DISK_KO, files.first, files.len));
	n = file_blocks(DISK_KO, blocks, ARRAY_SIZE(blocks), &size);
	ASSERT_LT(0, n);
	ASSERT_EQ(0, umount(DISK_DIR));

	ASSERT_EQ(0, disk_mount("ext4", MS_RDONLY));
	ASSERT_EQ(0, stat(DISK_KO, &first));
	EXPECT_EQ(0, load(DISK_KO, "", 0));
	EXPECT_TRUE(module_live("test_dedup"));
	EXPECT_EQ(EEXIST, load(DISK_KO, "", 0));
	EXPECT_COUNT(1, stats_since(self->before).late);
	ASSERT_EQ(0, umount(DISK_DIR));

	ASSERT_EQ(0, write_blocks(blocks, n, size, files.second, files.len));
	free_alike(&files);
	ASSERT_EQ(0, disk_mount("ext4", MS_RDONLY));
	ASSERT_EQ(0, stat(DISK_KO, &second));
	ASSERT_TRUE(same_stat(&first, &second));
	err = load(DISK_KO, "", 0);
	EXPECT_EQ(0, err);
	EXPECT_TRUE(module_live("test_dedup_b"));
	EXPECT_COUNT(1, stats_since(self->before).late);
	SAW("another image that looks the same is mounted, with another module",
	    "%s, and that is %s", errno_name(err),
	    module_live("test_dedup_b") ? "live" : "not live");
}

TEST_F(late, with_other_flags)
{
	EXPECT_TRUE(was_read(_metadata, "", MODULE_INIT_IGNORE_MODVERSIONS));
	EXPECT_COUNT(0, stats_since(self->before).late);
}

/* The same file, looked up again: nothing of it was kept in memory for us. */
TEST_F(late, no_file_is_kept_open)
{
	int fd = open(COPY, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, fcntl(fd, F_SETLEASE, F_WRLCK));
	close(fd);
}

/* What the caller may not do, it may not do late either. */
TEST_F(late, own_rights_come_first)
{
	int fd = open(COPY, O_WRONLY | O_CLOEXEC);

	EXPECT_EQ(EBADF, finit(fd, "", 0));
	close(fd);
	fd = open(COPY, O_RDWR | O_CLOEXEC);
	EXPECT_EQ(ETXTBSY, finit(fd, "", 0));
	EXPECT_EQ(ETXTBSY, load(COPY, "", 0));
	close(fd);
	EXPECT_EQ(EFAULT, load(TEST_KO, (char *)8, 0));
}

TEST_HARNESS_MAIN
