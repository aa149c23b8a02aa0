// SPDX-License-Identifier: GPL-2.0
/*
 * Module load de-duplication: what is better done in C. The parameter, the
 * description of a call that the Rust side (dedup.rs) works with, and the
 * text of the statistics.
 */

#include <linux/audit.h>
#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/jhash.h>
#include <linux/limits.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <uapi/linux/module.h>

#include "internal.h"
#include "dedup.h"

/* Longer arguments than this are not compared: such a call goes alone. */
#define MODULE_DEDUP_ARGS_MAX SZ_4K

enum module_dedup_mode {
	MODULE_DEDUP_OFF,
	MODULE_DEDUP_C,
	MODULE_DEDUP_ON,
};

static const char * const module_dedup_modes[] = {
	[MODULE_DEDUP_OFF]	= "off",
	[MODULE_DEDUP_C]	= "c",
	[MODULE_DEDUP_ON]	= "on",
};

static int module_dedup_mode = MODULE_DEDUP_ON;

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

/* Fails if there is not enough known of the file to compare it to another. */
static int module_dedup_get_id(struct file *file, struct module_dedup_id *id)
{
	const u32 needed = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_CTIME;
	struct kstat stat;
	int err;

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
		.generation	= file_inode(file)->i_generation,
		.dev		= stat.dev,
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
static int module_dedup_check(struct file *file)
{
	struct inode *inode = file_inode(file);
	loff_t size = i_size_read(inode);

	if (!S_ISREG(inode->i_mode) || size <= 0 || size > INT_MAX)
		return -EINVAL;

	/* The loader denies writing while it reads, and that would fail. */
	if (inode_is_open_for_write(inode))
		return -ETXTBSY;

	return 0;
}

/* On success the caller owns call->args. */
static int module_dedup_describe(struct module_dedup_call *call)
{
	bool compressed = call->flags & MODULE_INIT_COMPRESSED_FILE;
	char *args;
	int err;

	err = module_dedup_check(call->file);
	if (err)
		return err;

	/*
	 * Nobody shares a load that it could not have done: each caller asks
	 * the security modules for itself. They are not told to expect another
	 * look at the contents, since most calls never read any.
	 */
	err = security_kernel_read_file(call->file,
					compressed ? READING_MODULE_COMPRESSED :
						     READING_MODULE, true);
	if (err)
		return err;

	err = module_dedup_get_id(call->file, &call->id);
	if (err)
		return err;

	args = strndup_user(call->uargs, MODULE_DEDUP_ARGS_MAX + 1);
	if (IS_ERR(args))
		return PTR_ERR(args);

	call->args = args;
	call->args_size = strlen(args) + 1;
	call->args_hash = jhash(args, call->args_size, 0);
	return 0;
}

/**
 * module_dedup_finit() - load a module, or share the load of somebody else
 * @file: the file
 * @uargs: the arguments, a string in user space
 * @flags: MODULE_INIT_*, valid ones only
 *
 * The caller was found to be allowed to load modules.
 *
 * Context: process context, may sleep for as long as a load takes.
 * Return: 0 if the module is live, or what the load that served this call
 * returned. -EBADF if @file is not open for reading, -ERESTARTSYS if a signal
 * came while the call waited for another one.
 */
int module_dedup_finit(struct file *file, const char __user *uargs, int flags)
{
	struct module_dedup_call call = {
		.file	= file,
		.uargs	= uargs,
		.flags	= flags,
	};

	if (!(file->f_mode & FMODE_READ))
		return -EBADF;

	switch (READ_ONCE(module_dedup_mode)) {
	case MODULE_DEDUP_OFF:
		return module_dedup_load(&call);
	case MODULE_DEDUP_C:
		return module_dedup_load_c(&call);
	default:
		module_dedup_describe(&call);
		return module_dedup_enter(&call);
	}
}

/* Whether a live module was loaded from this file, as it is, with these flags. */
static bool module_dedup_is_origin(const struct module *mod,
				   const struct module_dedup_call *call)
{
	const struct module_dedup_id *a = &mod->dedup_id, *b = &call->id;

	return mod->dedup_id_known && mod->dedup_flags == call->flags &&
	       a->ino == b->ino && a->dev == b->dev &&
	       a->generation == b->generation && a->size == b->size &&
	       a->ctime_nsec == b->ctime_nsec && a->ctime_sec == b->ctime_sec &&
	       a->change_cookie == b->change_cookie;
}

/**
 * module_dedup_is_late() - whether a load could only find its module live
 * @call: a call that leads a flight
 *
 * What it looks at is part of the module, so it is gone when the module is. If
 * the module is live the flight takes no more followers: their calls may begin
 * after the module was removed, which has to wait for this RCU section.
 *
 * Context: process context, may sleep.
 * Return: true if the module is live, and the load need not be tried.
 */
bool module_dedup_is_late(const struct module_dedup_call *call)
{
	char name[MODULE_NAME_LEN] = "";
	struct module *mod;

	scoped_guard(rcu) {
		list_for_each_entry_rcu(mod, &modules, list) {
			if (READ_ONCE(mod->state) == MODULE_STATE_LIVE &&
			    module_dedup_is_origin(mod, call)) {
				strscpy(name, mod->name);
				module_dedup_close(call->flight);
				break;
			}
		}
	}
	if (!name[0])
		return false;

	audit_log_kern_module(name);
	return true;
}

static bool module_dedup_is_restart(int result)
{
	switch (result) {
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
	case -ERESTART_RESTARTBLOCK:
		return true;
	default:
		return false;
	}
}

/**
 * module_dedup_is_private() - whether a load ended because of who loaded
 * @result: what the load of the current task returned
 *
 * Such an end says nothing of the file, so nobody else may have it.
 *
 * Context: any, in the task that loaded.
 * Return: true if a signal ended the load.
 */
bool module_dedup_is_private(int result)
{
	if (result == -EINTR || module_dedup_is_restart(result))
		return signal_pending(current);

	return result < 0 && fatal_signal_pending(current);
}

/**
 * module_dedup_shared_result() - what a follower returns
 * @result: what its leader's load returned
 *
 * A follower that has no signal to handle must not restart.
 *
 * Context: any.
 * Return: @result, or -EINTR if that would restart the system call.
 */
int module_dedup_shared_result(int result)
{
	return module_dedup_is_restart(result) ? -EINTR : result;
}

#define MODULE_DEDUP_LINE "%25s\t%llu\n"

/**
 * module_dedup_show_stats() - print what happened since boot
 * @buf: a buffer that holds a string
 * @size: its size in bytes
 * @len: the length of the string, which grows by what is printed
 *
 * Context: any.
 */
void module_dedup_show_stats(char *buf, size_t size, unsigned int *len)
{
	struct module_dedup_stats stats;

	module_dedup_read_stats(&stats);
	*len += scnprintf(buf + *len, size - *len,
			  MODULE_DEDUP_LINE MODULE_DEDUP_LINE MODULE_DEDUP_LINE
			  MODULE_DEDUP_LINE MODULE_DEDUP_LINE MODULE_DEDUP_LINE
			  MODULE_DEDUP_LINE MODULE_DEDUP_LINE MODULE_DEDUP_LINE,
			  "Flights led", stats.led,
			  "Calls joined", stats.joined,
			  "Joined bytes saved", stats.joined_bytes,
			  "Most followers at once", stats.most_followers,
			  "Followers interrupted", stats.interrupted,
			  "Same file, other call", stats.behind,
			  "Retried after leader end", stats.retried,
			  "Late duplicates", stats.late,
			  "Calls not joinable", stats.bypassed);
}

#if defined(CONFIG_DEBUG_FS) && !defined(CONFIG_MODULE_STATS)
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

static int __init module_dedup_debugfs_init(void)
{
	debugfs_create_file("dedup_stats", 0400, mod_debugfs_root, NULL,
			    &module_dedup_stats_fops);
	return 0;
}
late_initcall(module_dedup_debugfs_init);
#endif

early_initcall(module_dedup_init);
