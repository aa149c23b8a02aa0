/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Module load de-duplication: concurrent finit_module() calls for the same
 * file share one load, and concurrent request_module() calls for the same name
 * one request. The engine is rust/kernel/module_dedup.rs, the policy
 * kernel/module/dedup.rs.
 */
#ifndef _LINUX_MODULE_DEDUP_H
#define _LINUX_MODULE_DEDUP_H

#include <linux/compiler_types.h>
#include <linux/module_dedup_types.h>
#include <linux/types.h>

struct cred;
struct dentry;
struct file;
struct load_info;
struct mnt_namespace;
struct module;
struct seq_file;
struct subprocess_info;
struct vfsmount;

/**
 * struct module_dedup_call - one call of finit_module() or init_module()
 * @file: the file; the caller holds a reference for as long as the call takes
 * @info: what init_module() copied from user space; then there is no @file
 * @uargs: the arguments in user space
 * @flags: MODULE_INIT_*
 * @id: what @file holds; valid if @args is set
 * @args: a copy of the arguments, or NULL if this call cannot be joined to
 *	another, in which case the loader reads @uargs
 * @args_size: size of @args in bytes, with the final NUL, or 0 if there are none
 * @args_hash: hash of @args
 * @denied: whether a security module does not let this caller load @file
 * @flight: the flight that this call leads, or NULL
 * @load: what the Rust side keeps of the load, for module_dedup_set_module()
 * @load_id: names the load
 */
struct module_dedup_call {
	struct file *file;
	struct load_info *info;
	const char __user *uargs;
	int flags;
	struct module_dedup_id id;
	const char *args;
	size_t args_size;
	u32 args_hash;
	bool denied;
	const void *flight;
	const void *load;
	struct module_dedup_load_id load_id;
};

/**
 * struct module_dedup_request - one call of request_module()
 * @name: what is requested
 * @ip: who requests it, for the tracepoint
 * @wait: whether the caller waits for the answer
 * @result: the answer, if another caller got it
 * @ticket: what the Rust side keeps of the request otherwise, or NULL
 */
struct module_dedup_request {
	char *name;
	unsigned long ip;
	bool wait;
	int result;
	void *ticket;
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
 * struct module_dedup_seen - what a call waits for, as the tracepoints show it
 * @name: what is loaded or requested
 * @leader: the process or thread id of who does it, in the initial namespace
 * @request: whether it is a request
 */
struct module_dedup_seen {
	const char *name;
	pid_t leader;
	bool request;
};

/**
 * struct module_dedup_stats - what happened since boot
 * @led: flights led
 * @joined: calls that returned the result of another caller's flight
 * @joined_bytes: the sizes of the files of these calls, which they did not
 *	read, in bytes
 * @most_followers: the most followers that one flight had at once
 * @interrupted: followers, and callers in line, that a signal ended
 * @behind: calls that had to wait for another load of the same file
 * @retried: followers that tried again, because the result of their leader was
 *	private, or older than their question
 * @late: flights that ended without a load, since the module was live
 * @bypassed: calls that could not be de-duplicated, and went to the loader
 * @died: loads whose task died in them
 * @refused: waits that were refused, since the task would have waited for itself
 * @requests_led: requests that went to user space, and could be joined
 * @requests_joined: requests that returned the answer to another one
 * @requests_alone: requests that went to user space, and could not be joined;
 *	with dedup_requests=N requests are not counted at all
 * @waited_ns: how long all calls together have waited for others, in ns
 * @longest_ns: how long one of them did, at the most, in ns
 *
 * Each call that is de-duplicated, or could not be, ends as exactly one of
 * @led, @joined, @requests_led, @requests_joined, @requests_alone, @interrupted
 * and @bypassed, or its wait for another call is @refused. A load that leads can
 * be @refused as well, if it waits for another one of the same name. A call that
 * security modules deny is in none of these; nor is one that has followed, and
 * may not load any more when it would have to.
 */
struct module_dedup_stats {
	u64 led;
	u64 joined;
	u64 joined_bytes;
	u64 most_followers;
	u64 interrupted;
	u64 behind;
	u64 retried;
	u64 late;
	u64 bypassed;
	u64 died;
	u64 refused;
	u64 requests_led;
	u64 requests_joined;
	u64 requests_alone;
	u64 waited_ns;
	u64 longest_ns;
};

#ifdef CONFIG_MODULE_DEDUP

/* kernel/module/dedup.rs */
int module_dedup_init(void);
int module_dedup_enter(struct module_dedup_call *call);
int module_dedup_watch(struct module_dedup_call *call);
void module_dedup_close(const void *flight);
void module_dedup_set_module(const void *load, struct module *mod,
			     const char *name);
int module_dedup_wait_for(const struct module_dedup_load_id *id);
void module_dedup_waited(void);
void module_dedup_delayed(const struct module_dedup_load_id *id);
bool module_dedup_enter_request(struct module_dedup_request *request);
void *module_dedup_begin_run(void *ticket);
void module_dedup_set_helper(const void *run);
void module_dedup_end_run(const void *run, int result);
void module_dedup_put_run(void *run);
void module_dedup_leave_request(void *ticket, int result);
void module_dedup_removal(void);
void module_dedup_read_stats(struct module_dedup_stats *stats);
int module_dedup_show(struct seq_file *m, void *unused);

/* kernel/module/dedup_call.c */
int module_dedup_finit(struct file *file, const char __user *uargs, int flags);
int module_dedup_copy(struct load_info *info, const char __user *uargs);
bool module_dedup_is_late(const struct module_dedup_call *call);
bool module_dedup_is_private(int result);
int module_dedup_shared_result(int result);
void module_dedup_trace_request(const struct module_dedup_request *request);
void module_dedup_current(struct module_dedup_task *task);
bool module_dedup_is_helped(void);
bool module_dedup_stands_in(const struct module_dedup_task *helper,
			    struct module_dedup_task *thread);
bool module_dedup_find_helper(struct module_dedup_task *helper);
void module_dedup_show_task(const struct module_dedup_task *task);
void module_dedup_get_context(struct module_dedup_context *context);
void module_dedup_put_context(struct module_dedup_context *context);
bool module_dedup_is_for_me(const struct module_dedup_context *leader,
			    int result);
u64 module_dedup_hash(const void *data, size_t size);
bool module_dedup_may_print(bool refused);
bool module_dedup_joins_requests(void);
void module_dedup_get_comm(const struct module_dedup_task *task, char *comm);
void module_dedup_get_name(struct file *file, char *name, size_t size);
void module_dedup_bury(struct module *mod);

/* The loader without the table, kernel/module/main.c */
int module_dedup_load(struct module_dedup_call *call);
int module_dedup_load_c(struct module_dedup_call *call);
int module_dedup_may_load(void);
void module_dedup_wake(void);

/* The end of a helper, kernel/umh.c */
void module_dedup_reaped(const struct subprocess_info *info);

#else

static inline int module_dedup_finit(struct file *file,
				     const char __user *uargs, int flags)
{
	return 0;
}

static inline int module_dedup_copy(struct load_info *info,
				    const char __user *uargs)
{
	return 0;
}

static inline void module_dedup_reaped(const struct subprocess_info *info)
{
}

#endif /* CONFIG_MODULE_DEDUP */

#endif /* _LINUX_MODULE_DEDUP_H */
