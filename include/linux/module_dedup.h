/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Module load de-duplication: concurrent finit_module() calls for the same file
 * share one load, concurrent init_module() calls for the same image wait for one
 * load, and concurrent request_module() calls for the same name share one
 * modprobe. The engine is rust/kernel/module_dedup.rs, the policy is in
 * kernel/module/dedup/, and what the loader calls in kernel/module/dedup.h.
 */
#ifndef _LINUX_MODULE_DEDUP_H
#define _LINUX_MODULE_DEDUP_H

#include <linux/types.h>

struct cred;
struct dentry;
struct file;
struct inode;
struct mnt_namespace;
struct module;
struct module_dedup;
struct seq_file;
struct subprocess_info;
struct vfsmount;
struct wait_queue_head;

/**
 * enum module_dedup_mode - the parameter module.dedup
 * @MODULE_DEDUP_OFF: calls are not joined
 * @MODULE_DEDUP_C: the C code joins calls for the same inode
 * @MODULE_DEDUP_ON: the flight table joins calls
 */
enum module_dedup_mode {
	MODULE_DEDUP_OFF,
	MODULE_DEDUP_C,
	MODULE_DEDUP_ON,
};

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
 * @flags: MODULE_INIT_*, which say how the file is loaded
 * @counts: whether a change of the contents would show in the other members
 *
 * If two of these count, and are equal in every member, then so are the
 * contents. One that is kept in a module is compared without @inode, and two of
 * files that are open at the same time without @mount.
 *
 * Of an image in user memory there is @size, and a fingerprint in @ino; all else
 * is 0. No file is like that, since no mount has the number 0.
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
	int flags;
	bool counts;
};

/**
 * struct module_dedup_key - what two calls of finit_module() are compared by
 * @id: the file, and the flags
 * @args: a copy of the arguments, from kmalloc(), or NULL if there are none
 * @args_size: size of @args in bytes, with the final NUL
 * @args_hash: hash of @args
 */
struct module_dedup_key {
	struct module_dedup_id id;
	char *args;
	size_t args_size;
	u32 args_hash;
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
 * struct module_dedup_context - on whose behalf a task loads
 * @cred: its credentials
 * @mnt_ns: its mount namespace, which is not followed
 * @root_mnt: the mount of its root directory, which is not followed
 * @root: its root directory, which is not followed
 */
struct module_dedup_context {
	const struct cred *cred;
	const struct mnt_namespace *mnt_ns;
	const struct vfsmount *root_mnt;
	const struct dentry *root;
};

/**
 * struct module_dedup_seen - a flight, as the tracepoints show it
 * @name: what is loaded or requested
 * @leader: the process or thread id of the leader, in the initial namespace
 * @request: whether it is a request
 */
struct module_dedup_seen {
	const char *name;
	pid_t leader;
	bool request;
};

#ifdef CONFIG_MODULE_DEDUP

extern int module_dedup_mode;
extern bool module_dedup_requests;

/* kernel/module/dedup.rs, and the files in kernel/module/dedup/ */
int module_dedup_init(void);
bool module_dedup_begin(struct module_dedup **ticket, int *ret,
			struct file *file, const char __user *uargs, int flags,
			int (*may_load)(void));
bool module_dedup_begin_copy(struct module_dedup **ticket, int *ret,
			     const void __user *umod, unsigned long len,
			     int (*may_load)(void));
bool module_dedup_begin_request(struct module_dedup **ticket, int *ret,
				const char *name, bool wait, unsigned long ip);
int module_dedup_end(struct module_dedup *ticket, int ret);
void module_dedup_close(struct module_dedup *ticket);
void module_dedup_exists(struct module_dedup *ticket, const char *name, int err);
void module_dedup_answer(struct module_dedup *ticket);
u64 module_dedup_set_module(struct module_dedup *ticket, struct module *mod,
			    const char *name, struct module_dedup_id *id,
			    struct wait_queue_head *wq);
const char *module_dedup_get_args(struct module_dedup *ticket);
int module_dedup_wait_for(u64 id, unsigned int waited);
struct module_dedup *module_dedup_begin_run(struct module_dedup *ticket);
void module_dedup_set_helper(struct module_dedup *run);
void module_dedup_end_run(struct module_dedup *run, int ret);
void module_dedup_put_run(struct module_dedup *run);
void module_dedup_removal(void);
void module_dedup_show_stats(char *buf, size_t size, unsigned int *len);
int module_dedup_show(struct seq_file *m, void *unused);

/* kernel/module/dedup_peek.c */
int module_dedup_peek(struct module_dedup_key *key, char *name,
		      const void __user *umod, unsigned long len);

/* kernel/module/dedup_call.c */
int module_dedup_describe(struct module_dedup_key *key, struct file *file,
			  const char __user *uargs, int flags);
int module_dedup_is_late(struct module_dedup *ticket,
			 const struct module_dedup_id *id, const char *name);
void module_dedup_audit(const char *name);
void module_dedup_bury(struct module *mod, struct wait_queue_head *wq);
void module_dedup_get_context(struct module_dedup_context *context);
void module_dedup_put_context(struct module_dedup_context *context);
bool module_dedup_is_for_me(const struct module_dedup_context *leader, int result);
void module_dedup_get_name(struct file *file, char *name, size_t size);
void module_dedup_current(struct module_dedup_task *task);
bool module_dedup_is_helped(void);
bool module_dedup_stands_in(const struct module_dedup_task *helper,
			    struct module_dedup_task *thread);
bool module_dedup_find_helper(struct module_dedup_task *helper);
void module_dedup_get_comm(const struct module_dedup_task *task, char *comm);
void module_dedup_show_task(const struct module_dedup_task *task);
void module_dedup_trace_request(char *name, unsigned long ip);
u64 module_dedup_hash(const void *data, size_t size);
bool module_dedup_may_print(bool refused);

/* The end of a helper, for kernel/umh.c */
void module_dedup_reaped(const struct subprocess_info *info);

#else

#define module_dedup_reaped(...)	do { } while (0)

#endif /* CONFIG_MODULE_DEDUP */

#endif /* _LINUX_MODULE_DEDUP_H */
