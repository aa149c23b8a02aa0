/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Module load de-duplication: what struct module keeps of its load.
 */
#ifndef _LINUX_MODULE_DEDUP_TYPES_H
#define _LINUX_MODULE_DEDUP_TYPES_H

#include <linux/types.h>

struct inode;

/**
 * struct module_dedup_id - a file with its contents
 * @inode: the address of the inode, which is not followed
 * @ino: inode number, as stat() reports it
 * @size: size in bytes
 * @change_cookie: change cookie, 0 where the filesystem reports none
 * @ctime_sec: change time, seconds
 * @ctime_nsec: change time, nanoseconds
 * @generation: tells apart files that had the same inode number in turn
 * @mount: the mount that the file was found on, a number never used again
 * @dev: device number, as stat() reports it
 * @counts: whether a change of the contents would show in the other members
 *
 * If two of these count, and are equal in every member, then so are the
 * contents. One that is kept in a module is compared without @inode, and two of
 * files that are open at the same time without @mount.
 */
struct module_dedup_id {
	const struct inode *inode;
	u64 ino;
	u64 size;
	u64 change_cookie;
	u64 mount;
	s64 ctime_sec;
	u32 ctime_nsec;
	u32 generation;
	dev_t dev;
	bool counts;
};

/**
 * struct module_dedup_task - a task
 * @pid: its process or thread id, in the initial namespace
 * @started: when it was started, in ns since boot; so that a process id which
 *	is used again is another task
 */
struct module_dedup_task {
	pid_t pid;
	u64 started;
};

/**
 * struct module_dedup_load_id - a load, as those name it who wait for its end
 * @task: who loads
 * @serial: a number that is never used again, or 0 for none
 */
struct module_dedup_load_id {
	struct module_dedup_task task;
	unsigned long serial;
};

#endif /* _LINUX_MODULE_DEDUP_TYPES_H */
