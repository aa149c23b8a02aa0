// SPDX-License-Identifier: GPL-2.0
/*
 * Module load de-duplication: what is better done in C. The parameter, the
 * description of a call that the Rust side (dedup.rs) works with, the files in
 * debugfs, and the tracepoints.
 */

#include <linux/audit.h>
#include <linux/cleanup.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/fs_struct.h>
#include <linux/gfs2_ondisk.h>
#include <linux/jhash.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/nsproxy.h>
#include <linux/once.h>
#include <linux/path.h>
#include <linux/pid_namespace.h>
#include <linux/ptrace.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/rculist.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/siphash.h>
#include <linux/sizes.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/time64.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/umh.h>
#include <trace/events/module.h>
#include <uapi/linux/module.h>

#include "../../fs/mount.h"
#include "internal.h"
#include "dedup.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/module_dedup.h>

/* Longer arguments than this are not compared: such a call goes alone. */
#define MODULE_DEDUP_ARGS_MAX SZ_4K

static const char * const module_dedup_modes[] = {
	[MODULE_DEDUP_OFF]	= "off",
	[MODULE_DEDUP_C]	= "c",
	[MODULE_DEDUP_ON]	= "on",
};

int module_dedup_mode = MODULE_DEDUP_ON;

static int module_dedup_mode_set(const char *val, const struct kernel_param *kp)
{
	int mode;

	if (!val)
		return -EINVAL;

	mode = sysfs_match_string(module_dedup_modes, val);
	if (mode < 0)
		return mode;

	WRITE_ONCE(module_dedup_mode, mode);
	return 0;
}

static int module_dedup_mode_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n",
			  module_dedup_modes[READ_ONCE(module_dedup_mode)]);
}

static const struct kernel_param_ops module_dedup_mode_ops = {
	.set = module_dedup_mode_set,
	.get = module_dedup_mode_get,
};

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "module."
module_param_cb(dedup, &module_dedup_mode_ops, NULL, 0644);
MODULE_PARM_DESC(dedup, "join concurrent loads of one file: on, c (the C code) or off");

bool module_dedup_requests = true;
module_param_named(dedup_requests, module_dedup_requests, bool, 0644);
MODULE_PARM_DESC(dedup_requests, "with dedup=on, join concurrent requests for one name, too");

/* As fs/hfs/hfs.h has it. */
#define MODULE_DEDUP_HFS_MAGIC 0x4244

/*
 * Whether the change time of a file is kept by this kernel, and changes with
 * the contents. FAT and HFS have no change time; and what another node, a server
 * or a user space filesystem reports may be out of date.
 */
static bool module_dedup_has_ctime(const struct super_block *sb)
{
	switch (sb->s_magic) {
	case MSDOS_SUPER_MAGIC:
	case EXFAT_SUPER_MAGIC:
	case AFFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
	case AFS_SUPER_MAGIC:
	case CEPH_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case CODA_SUPER_MAGIC:
	case FUSE_SUPER_MAGIC:
	case GFS2_MAGIC:
	case MODULE_DEDUP_HFS_MAGIC:
	case NFS_SUPER_MAGIC:
	case OCFS2_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case V9FS_MAGIC:
		return false;
	default:
		return true;
	}
}

/* Whether files of this filesystem are never written. */
static bool module_dedup_is_image(const struct super_block *sb)
{
	switch (sb->s_magic) {
	case CRAMFS_MAGIC:
	case EROFS_SUPER_MAGIC_V1:
	case ISOFS_SUPER_MAGIC:
	case SQUASHFS_MAGIC:
		return true;
	default:
		return false;
	}
}

/*
 * Whether a change of the contents, after these attributes were taken, would
 * change them. A file with a multigrain change time gets another one with each
 * change after a task has looked, and one that is never written keeps its own.
 * Elsewhere the change time comes from a coarse clock: if that, as it was before
 * the attributes were taken, shows a later time than they do, then so will every
 * change. A server without change cookies of its own makes them of its clock.
 */
static bool module_dedup_counts(struct inode *inode, const struct kstat *stat,
				const struct timespec64 *before)
{
	struct timespec64 clock;

	if (stat->result_mask & STATX_CHANGE_COOKIE &&
	    (inode->i_sb->s_magic != NFS_SUPER_MAGIC ||
	     stat->attributes & STATX_ATTR_CHANGE_MONOTONIC))
		return true;

	if (!module_dedup_has_ctime(inode->i_sb))
		return false;

	if (is_mgtime(inode) || module_dedup_is_image(inode->i_sb))
		return true;

	clock = timestamp_truncate(*before, inode);
	return timespec64_compare(&stat->ctime, &clock) < 0;
}

/* Fails if there is not enough known of the file to compare it to another. */
static int module_dedup_get_id(struct module_dedup_id *id, struct file *file,
			       struct inode *real)
{
	const u32 needed = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_CTIME;
	struct timespec64 before;
	struct kstat stat;
	int err;

	ktime_get_coarse_real_ts64(&before);
	err = vfs_getattr_nosec(&file->f_path, &stat,
				needed | STATX_CHANGE_COOKIE,
				AT_STATX_SYNC_AS_STAT);
	if (err)
		return err;

	if ((stat.result_mask & needed) != needed)
		return -EOPNOTSUPP;

	*id = (struct module_dedup_id) {
		.inode		= file_inode(file),
		.ino		= stat.ino,
		.size		= stat.size,
		.ctime_sec	= stat.ctime.tv_sec,
		.ctime_nsec	= stat.ctime.tv_nsec,
		.generation	= real->i_generation,
		.mount		= real_mount(file->f_path.mnt)->mnt_id_unique,
		.dev		= stat.dev,
		.counts		= module_dedup_counts(real, &stat, &before),
	};
	if (stat.result_mask & STATX_CHANGE_COOKIE)
		id->change_cookie = stat.change_cookie;

	return 0;
}

/*
 * Everything that could make the loader refuse this caller, or this file,
 * before it reads: then the call is not described, and goes to the loader by
 * itself, which decides what it returns.
 */
static int module_dedup_check(struct file *file, struct inode *real)
{
	struct inode *inode = file_inode(file);
	loff_t size = i_size_read(inode);

	if (!S_ISREG(inode->i_mode) || size <= 0 || size > INT_MAX)
		return -EINVAL;

	/*
	 * The loader denies writing while it reads, and that would fail. A file
	 * below this one may be mapped, and change without a trace.
	 */
	if (inode_is_open_for_write(inode) || inode_is_open_for_write(real))
		return -ETXTBSY;

	return 0;
}

/* A copy of the arguments. Most calls have none: for those nothing is allocated. */
static int module_dedup_copy_args(struct module_dedup_key *key,
				  const char __user *uargs)
{
	char *args, first;

	if (get_user(first, uargs))
		return -EFAULT;

	if (!first)
		return 0;

	args = strndup_user(uargs, MODULE_DEDUP_ARGS_MAX + 1);
	if (IS_ERR(args))
		return PTR_ERR(args);

	key->args = args;
	key->args_size = strlen(args) + 1;
	key->args_hash = jhash(args, key->args_size, 0);
	return 0;
}

/**
 * module_dedup_describe() - find out what a call of finit_module() asks for
 * @key: where to, zeroed; the caller owns what is allocated
 * @file: the file
 * @uargs: the arguments, a string in user space
 * @flags: MODULE_INIT_*
 *
 * A caller shares no load that it could not have done: each one asks the
 * security modules for itself. If they deny it, that is the answer, so that they
 * are asked, and log it, once.
 *
 * Context: process context, may sleep.
 * Return: 0 if the call can be compared with others, 1 if it cannot be, or a
 * negative errno if a security module denies it.
 */
int module_dedup_describe(struct module_dedup_key *key, struct file *file,
			  const char __user *uargs, int flags)
{
	/* Of a file that is stacked on another one, the other one. */
	struct inode *real = d_real_inode(file->f_path.dentry);
	int err;

	if (module_dedup_check(file, real))
		return 1;

	err = security_kernel_read_file(file, flags & MODULE_INIT_COMPRESSED_FILE ?
					      READING_MODULE_COMPRESSED :
					      READING_MODULE, true);
	if (err) {
		mod_stat_inc(&failed_kreads);
		return err;
	}

	if (module_dedup_get_id(&key->id, file, real) ||
	    module_dedup_copy_args(key, uargs))
		return 1;

	key->id.flags = flags;
	return 0;
}

/* Whether a module was loaded from this file, as it is, with these flags. */
static bool module_dedup_is_origin(const struct module_dedup_id *a,
				   const struct module_dedup_id *b)
{
	return a->counts && b->counts && a->flags == b->flags &&
	       a->mount == b->mount && a->ino == b->ino && a->dev == b->dev &&
	       a->generation == b->generation && a->size == b->size &&
	       a->ctime_nsec == b->ctime_nsec && a->ctime_sec == b->ctime_sec &&
	       a->change_cookie == b->change_cookie;
}

/**
 * module_dedup_is_late() - whether a load could only find its module there
 * @ticket: the ticket of the load
 * @id: the file, or the image
 * @name: the name of the module, of an image; NULL for a file
 *
 * What it looks at is part of the module, so it is gone when the module is. If
 * the module is live the flight takes no more followers: their calls may begin
 * after the module was removed, which has to wait for this RCU section.
 *
 * The loader copies an image before it looks whether a module of that name is on
 * its way out.
 *
 * Context: process context, may sleep.
 * Return: -EEXIST if the module is live, -EBUSY if a module of the same image is
 * being removed, or has failed and is not gone, 0 if the load is to be tried.
 */
int module_dedup_is_late(struct module_dedup *ticket,
			 const struct module_dedup_id *id, const char *name)
{
	char found[MODULE_NAME_LEN];
	struct module *mod;
	int err = 0;

	scoped_guard(rcu) {
		list_for_each_entry_rcu(mod, &modules, list) {
			enum module_state state = READ_ONCE(mod->state);

			if ((state != MODULE_STATE_LIVE &&
			     !(name && state == MODULE_STATE_GOING)) ||
			    !module_dedup_is_origin(&mod->dedup_id, id) ||
			    (name && strcmp(mod->name, name)))
				continue;

			err = state == MODULE_STATE_LIVE ? -EEXIST : -EBUSY;
			strscpy(found, mod->name);
			module_dedup_close(ticket);
			break;
		}
	}
	if (err)
		audit_log_kern_module(found);
	return err;
}

/**
 * module_dedup_audit() - note the name of a module that a call has meant
 * @name: the name
 *
 * The loader does this for each image that it copies.
 *
 * Context: process context, may sleep.
 */
void module_dedup_audit(const char *name)
{
	audit_log_kern_module(name);
}

static void module_dedup_identify(const struct task_struct *task,
				  struct module_dedup_task *id)
{
	id->pid = task_pid_nr((struct task_struct *)task);
	id->started = task->start_time;
}

/* The caller holds the RCU read lock. */
static struct task_struct *
module_dedup_find(const struct module_dedup_task *id)
{
	struct task_struct *task = find_task_by_pid_ns(id->pid, &init_pid_ns);

	return task && task->start_time == id->started ? task : NULL;
}

/**
 * module_dedup_current() - identify the current task
 * @task: where to
 *
 * Context: any.
 */
void module_dedup_current(struct module_dedup_task *task)
{
	module_dedup_identify(current, task);
}

/**
 * module_dedup_is_helped() - whether the current task descends from a helper
 *
 * Context: any.
 * Return: true if one of its ancestors was started for a request.
 */
bool module_dedup_is_helped(void)
{
	return task_modprobe(current);
}

/**
 * module_dedup_find_helper() - find the helper that the current task runs for
 * @helper: set to the helper
 *
 * Context: any.
 * Return: false if the current task does not descend from a helper, or if an
 * ancestor in between has ended.
 */
bool module_dedup_find_helper(struct module_dedup_task *helper)
{
	struct task_struct *task = current->group_leader, *parent;

	if (!task_modprobe(current))
		return false;

	guard(rcu)();
	for (;;) {
		parent = rcu_dereference(task->real_parent);
		if (parent->flags & PF_KTHREAD)
			break;
		task = parent->group_leader;
	}
	module_dedup_identify(task, helper);
	return task_modprobe(task);
}

/*
 * Whether a process with one thread sleeps until its only child has ended. The
 * caller holds tasklist_lock.
 */
static bool module_dedup_awaits_child(struct task_struct *task)
{
	/*
	 * Every thread in wait() is on that queue, also when it only has a look,
	 * or is busy with a child that has ended; but it does not sleep then,
	 * or not interruptibly.
	 */
	return waitqueue_active(&task->signal->wait_chldexit) &&
	       READ_ONCE(task->__state) & TASK_INTERRUPTIBLE &&
	       !READ_ONCE(task->on_rq) &&
	       list_is_singular(&task->children) &&
	       list_empty(&task->ptraced);
}

/**
 * module_dedup_stands_in() - find the thread that a helper waits for
 * @helper: the helper
 * @thread: set to the thread: the helper's own, or, if that does nothing but
 *	wait for its only child, the thread for which the child stands in
 *
 * A process with several threads, or with several children, goes on when any
 * of these does, so it waits for none of them.
 *
 * Context: any but an interrupt; takes tasklist_lock, does not sleep.
 * Return: false if there is no such thread.
 */
bool module_dedup_stands_in(const struct module_dedup_task *helper,
			    struct module_dedup_task *thread)
{
	struct task_struct *task;

	guard(rcu)();
	guard(read_lock)(&tasklist_lock);
	task = module_dedup_find(helper);
	/* A chain longer than this is no helper's, or not worth the time. */
	for (int depth = 0; task && depth < 32; depth++) {
		if (task->exit_state || !thread_group_empty(task))
			return false;

		if (!module_dedup_awaits_child(task)) {
			module_dedup_identify(task, thread);
			return true;
		}
		task = list_first_entry(&task->children, struct task_struct,
					sibling);
	}
	return false;
}

/**
 * module_dedup_get_comm() - get the name of a task
 * @task: the task
 * @comm: TASK_COMM_LEN bytes, set to "?" if the task is over
 *
 * Context: any.
 */
void module_dedup_get_comm(const struct module_dedup_task *task, char *comm)
{
	const struct task_struct *found;

	guard(rcu)();
	found = module_dedup_find(task);
	strscpy(comm, found ? found->comm : "?", TASK_COMM_LEN);
}

/**
 * module_dedup_show_task() - print what a task does, and where it sleeps
 * @task: the task; nothing is printed if it is over
 *
 * Context: process context, may sleep.
 */
void module_dedup_show_task(const struct module_dedup_task *task)
{
	struct task_struct *found;

	scoped_guard(rcu) {
		found = module_dedup_find(task);
		if (found)
			get_task_struct(found);
	}
	if (!found)
		return;

	sched_show_task(found);
	put_task_struct(found);
}

/**
 * module_dedup_get_context() - note on whose behalf the current task loads
 * @context: where to; to be given back with module_dedup_put_context()
 *
 * Context: process context.
 */
void module_dedup_get_context(struct module_dedup_context *context)
{
	struct path root;

	get_fs_root(current->fs, &root);
	*context = (struct module_dedup_context) {
		.cred		= get_current_cred(),
		.mnt_ns		= current->nsproxy->mnt_ns,
		.root_mnt	= root.mnt,
		.root		= root.dentry,
	};
	path_put(&root);
}

/**
 * module_dedup_put_context() - give back what module_dedup_get_context() took
 * @context: the context
 *
 * Context: any.
 */
void module_dedup_put_context(struct module_dedup_context *context)
{
	put_cred(context->cred);
}

/* Whether two tasks with these credentials may do the same things. */
static bool module_dedup_same_cred(const struct cred *a, const struct cred *b)
{
	struct lsm_prop prop_a = { }, prop_b = { };

	if (a == b)
		return true;

	if (!uid_eq(a->uid, b->uid) || !gid_eq(a->gid, b->gid) ||
	    !uid_eq(a->euid, b->euid) || !gid_eq(a->egid, b->egid) ||
	    !uid_eq(a->suid, b->suid) || !gid_eq(a->sgid, b->sgid) ||
	    !uid_eq(a->fsuid, b->fsuid) || !gid_eq(a->fsgid, b->fsgid) ||
	    a->securebits != b->securebits || a->user_ns != b->user_ns ||
	    a->cap_inheritable.val != b->cap_inheritable.val ||
	    a->cap_permitted.val != b->cap_permitted.val ||
	    a->cap_effective.val != b->cap_effective.val ||
	    a->cap_bset.val != b->cap_bset.val ||
	    a->cap_ambient.val != b->cap_ambient.val)
		return false;

	if (a->group_info->ngroups != b->group_info->ngroups ||
	    memcmp(a->group_info->gid, b->group_info->gid,
		   array_size(a->group_info->ngroups, sizeof(kgid_t))))
		return false;

	security_cred_getlsmprop(a, &prop_a);
	security_cred_getlsmprop(b, &prop_b);
	return !memcmp(&prop_a, &prop_b, sizeof(prop_a));
}

/**
 * module_dedup_is_for_me() - whether a leader's result holds for a follower
 * @leader: on whose behalf the leader has loaded
 * @result: what its load returned
 *
 * An init function may open files by path, in the root of the task that loads,
 * and with its rights.
 *
 * Context: process context, in the follower.
 * Return: false if the result may come from what the leader is, and the
 * follower is not.
 */
bool module_dedup_is_for_me(const struct module_dedup_context *leader,
			    int result)
{
	struct module_dedup_context mine;
	bool same;

	if (result >= 0 || result == -EEXIST)
		return true;

	module_dedup_get_context(&mine);
	same = mine.mnt_ns == leader->mnt_ns &&
	       mine.root_mnt == leader->root_mnt && mine.root == leader->root;
	if (result == -EACCES || result == -EPERM)
		same = same && module_dedup_same_cred(mine.cred, leader->cred);
	module_dedup_put_context(&mine);
	return same;
}

/**
 * module_dedup_hash() - hash what unprivileged users may choose
 * @data: the data
 * @size: its size in bytes
 *
 * Context: any.
 * Return: a hash that nobody can predict.
 */
u64 module_dedup_hash(const void *data, size_t size)
{
	static siphash_key_t key __read_mostly;

	get_random_once(&key, sizeof(key));
	return siphash(data, size, &key);
}

/**
 * module_dedup_may_print() - limit how often the log is written to
 * @refused: whether the line is about a wait that was refused, rather than one
 *	that takes long
 *
 * Context: any.
 * Return: false if there were too many lines lately.
 */
bool module_dedup_may_print(bool refused)
{
	static DEFINE_RATELIMIT_STATE(refusals, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);
	static DEFINE_RATELIMIT_STATE(delays, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	return __ratelimit(refused ? &refusals : &delays);
}

/**
 * module_dedup_get_name() - get the name of a file, without its folder
 * @file: the file
 * @name: where to
 * @size: the size of @name, in bytes
 *
 * Context: any.
 */
void module_dedup_get_name(struct file *file, char *name, size_t size)
{
	/* Names are freed after a grace period. */
	guard(rcu)();
	strscpy(name, READ_ONCE(file->f_path.dentry->d_name.name), size);
}

/**
 * module_dedup_helper() - note that the current task is the helper of a request
 * @info: how the helper is started; its data is the run, or NULL
 * @new: unused
 *
 * Context: process context, in the helper, before it runs its program.
 * Return: 0
 */
int module_dedup_helper(struct subprocess_info *info, struct cred *new)
{
	task_set_modprobe(current);
	if (info->data)
		module_dedup_set_helper(info->data);
	return 0;
}

/**
 * module_dedup_reaped() - note that a helper has ended
 * @info: how it was started, and what came of it
 *
 * Context: process context, in the worker that has waited for the helper.
 */
void module_dedup_reaped(const struct subprocess_info *info)
{
	if (info->init == module_dedup_helper && info->data)
		module_dedup_end_run(info->data, info->retval);
}

/**
 * module_dedup_trace_request() - show a request that joins another one
 * @name: what is requested
 * @ip: the caller
 *
 * Context: any.
 */
void module_dedup_trace_request(char *name, unsigned long ip)
{
	trace_module_request(name, true, ip);
}

/*
 * Returns -EDEADLK if the loader of a module waits for the current task. Tells
 * people of the wait if it takes long.
 */
static int module_dedup_may_wait(const char *name, unsigned int waited)
{
	struct module *mod;
	u64 load = 0;

	scoped_guard(rcu) {
		mod = find_module_all(name, strlen(name), true);
		if (mod && READ_ONCE(mod->state) != MODULE_STATE_LIVE)
			load = READ_ONCE(mod->dedup_load);
	}
	/* No edge leads to a load that is over: this may be a wait for a removal. */
	return module_dedup_wait_for(load, waited);
}

/**
 * module_dedup_wait_on() - whether to wait for a module, or to go on with it
 * @wait: the wait
 *
 * The first slice only has a look; the others take a second, after which others
 * may have closed a circle.
 *
 * Context: process context, may sleep.
 * Return: true if another slice is to be waited; if not, @wait->ret is what the
 * wait returns: more than 0 if it was successful, 0 if time is up, -ERESTARTSYS,
 * or -EDEADLK if the loader waits for the current task.
 */
bool module_dedup_wait_on(struct module_dedup_wait *wait)
{
	if (!wait->begun) {
		wait->begun = true;
		return true;
	}

	if (!wait->ret && wait->left > 0) {
		wait->ret = module_dedup_may_wait(wait->name, wait->slices);
		if (!wait->ret) {
			wait->slices++;
			wait->slice = min_t(long, wait->left, HZ);
			if (wait->left != MAX_SCHEDULE_TIMEOUT)
				wait->left -= wait->slice;
			return true;
		}
	}

	/* Something was noted if there was more than a look. */
	if (wait->slice || wait->ret < 0)
		module_dedup_wait_for(0, 0);
	return false;
}

/**
 * module_dedup_is_dead() - whether nobody is going to finish a load
 * @name: the name of the module
 *
 * Context: any.
 * Return: true if its loader has died.
 */
bool module_dedup_is_dead(const char *name)
{
	const struct module *mod;

	guard(rcu)();
	mod = find_module_all(name, strlen(name), true);
	return mod && module_dedup_died(mod);
}

/**
 * module_dedup_bury() - let nobody wait for a module any more
 * @mod: a module in the list, whose loader has died; it stays there
 * @wq: where tasks wait for modules
 *
 * The loader may have died with module_mutex held, so that is not taken.
 *
 * Context: process context, does not sleep.
 */
void module_dedup_bury(struct module *mod, struct wait_queue_head *wq)
{
	mod->dedup = NULL;
	WRITE_ONCE(mod->dedup_dead, true);
	wake_up_all(wq);
}

#ifdef CONFIG_DEBUG_FS
DEFINE_SHOW_ATTRIBUTE(module_dedup);

#ifndef CONFIG_MODULE_STATS
static int module_dedup_stats_show(struct seq_file *m, void *unused)
{
	char *buf __free(kfree) = kmalloc(MODULE_DEDUP_STATS_SIZE, GFP_KERNEL);
	unsigned int len = 0;

	if (!buf)
		return -ENOMEM;

	module_dedup_show_stats(buf, MODULE_DEDUP_STATS_SIZE, &len);
	seq_write(m, buf, len);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(module_dedup_stats);
#endif

static int __init module_dedup_debugfs_init(void)
{
	debugfs_create_file("dedup", 0400, mod_debugfs_root, NULL,
			    &module_dedup_fops);
#ifndef CONFIG_MODULE_STATS
	debugfs_create_file("dedup_stats", 0400, mod_debugfs_root, NULL,
			    &module_dedup_stats_fops);
#endif
	return 0;
}
late_initcall(module_dedup_debugfs_init);
#endif

early_initcall(module_dedup_init);
