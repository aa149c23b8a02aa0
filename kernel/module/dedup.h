/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Module load de-duplication: what the loader calls. Empty, or what the loader
 * does anyway, without CONFIG_MODULE_DEDUP. Include internal.h first.
 *
 * A ticket is a load, or a request, that others may wait for. There is none if
 * there was no memory for it, or nothing is to be joined.
 */
#ifndef _KERNEL_MODULE_DEDUP_H
#define _KERNEL_MODULE_DEDUP_H

#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/module_dedup.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/umh.h>
#include <linux/wait.h>

#ifdef CONFIG_MODULE_DEDUP

/* Room for the lines of this feature in the buffer of debugfs' modules/stats. */
#define MODULE_DEDUP_STATS_SIZE 2048

/**
 * struct module_dedup_wait - a wait for the load of a module, in slices
 * @name: the name of the module; need not be known before the first slice
 * @left: how long to wait yet, in jiffies
 * @slice: how long to wait at once; 0 to have a look
 * @slices: how many slices of a second were waited
 * @ret: what the last slice returned
 * @begun: whether there was one
 */
struct module_dedup_wait {
	const char *name;
	long left;
	long slice;
	unsigned int slices;
	long ret;
	bool begun;
};

bool module_dedup_wait_on(struct module_dedup_wait *wait);
bool module_dedup_is_dead(const char *name);
int module_dedup_helper(struct subprocess_info *info, struct cred *new);

/* Whether the C code is not to be used. */
static inline bool module_dedup_replaces_c(void)
{
	return READ_ONCE(module_dedup_mode) != MODULE_DEDUP_C;
}

static inline void module_dedup_set_ticket(struct load_info *info,
					   struct module_dedup *ticket)
{
	info->dedup = ticket;
}

/* A copy of the arguments of this load, to be freed by the loader. */
static inline char *module_dedup_args(const struct load_info *info,
				      const char __user *uargs)
{
	const char *args = info->dedup ? module_dedup_get_args(info->dedup) : NULL;

	if (!args)
		return strndup_user(uargs, ~0UL >> 1);

	return kstrdup(args, GFP_KERNEL) ?: ERR_PTR(-ENOMEM);
}

/* The struct module came out of the file: give our members a value. */
static inline void module_dedup_prepare(struct module *mod,
					const struct load_info *info)
{
	mod->dedup = info->dedup;
	mod->dedup_load = 0;
	mod->dedup_dead = false;
	mod->dedup_id.counts = false;
}

/*
 * This load fails because of another module of the same name, as is seen under
 * module_mutex. Once that is released the other one could be removed, and for
 * a call that begins after that the result would not be true.
 */
static inline void module_dedup_becoming(const struct load_info *info, int err)
{
	if (err && info->dedup)
		module_dedup_exists(info->dedup, info->mod->name, err);
}

/* The load has failed, perhaps before there was a module. */
static inline void module_dedup_over(const struct load_info *info)
{
	if (info->dedup)
		module_dedup_close(info->dedup);
}

/* The module is in the list from here on, unless there is an error. */
static inline void module_dedup_unformed(struct module *mod, int err,
					 struct wait_queue_head *wq)
{
	if (!mod->dedup)
		return;

	if (err)
		module_dedup_exists(mod->dedup, mod->name, err);
	else
		WRITE_ONCE(mod->dedup_load,
			   module_dedup_set_module(mod->dedup, mod, mod->name,
						   &mod->dedup_id, wq));
}

/* The load has failed: later calls get no answer that is older than they are. */
static inline void module_dedup_failed(struct module *mod)
{
	if (mod->dedup)
		module_dedup_close(mod->dedup);
}

/* The module is being taken out of the list, or is not its loader's any more. */
static inline void module_dedup_gone(struct module *mod)
{
	if (mod->dedup)
		module_dedup_set_module(mod->dedup, NULL, NULL, NULL, NULL);
	mod->dedup = NULL;
}

/* The module is live: callers of init_module() need not wait for what follows. */
static inline void module_dedup_reached(struct module *mod)
{
	if (mod->dedup)
		module_dedup_answer(mod->dedup);
}

/*
 * The module is live, and still has the reference that its load holds: from
 * here on it could be removed at any time, so nobody may join any more.
 */
static inline void module_dedup_live(struct module *mod)
{
	module_dedup_failed(mod);
	module_dedup_gone(mod);
}

/* Whether nobody is going to finish the load of this module. */
static inline bool module_dedup_died(const struct module *mod)
{
	return mod && READ_ONCE(mod->dedup_dead);
}

/*
 * The waits for a module are macros, since what ends them is an expression of
 * the loader. Without the feature they are the loader's own waits.
 *
 * Waits for the module of that name to be loaded, interruptibly. -EDEADLK if
 * its loader waits for the caller.
 */
#define module_dedup_wait_loaded(wq, module, loaded)			\
({									\
	struct module_dedup_wait __w = {				\
		.name = module,						\
		.left = MAX_SCHEDULE_TIMEOUT,				\
	};								\
									\
	while (module_dedup_wait_on(&__w))				\
		__w.ret = wait_event_interruptible_timeout(wq, loaded,	\
							   __w.slice);	\
	(int)min(__w.ret, 0L);						\
})

/*
 * Waits for a symbol of a module, owner, that is being loaded. owner is only
 * known if the symbol was looked up and is not there yet. -EDEADLK if the
 * loader of owner waits for the caller.
 */
#define module_dedup_wait_symbol(wq, found, owner, timeout)		\
({									\
	struct module_dedup_wait __w = {				\
		.name = owner,						\
		.left = timeout,					\
	};								\
									\
	while (module_dedup_wait_on(&__w))				\
		__w.ret = wait_event_interruptible_timeout(wq,		\
				(found) || module_dedup_is_dead(__w.name),\
				__w.slice);				\
	__w.ret;							\
})

/*
 * A wait for a symbol may fail for a reason that concerns only the task that
 * waits, and that is what the load has to return.
 */
static inline const struct kernel_symbol *
module_dedup_symbol(const struct load_info *info,
		    const struct kernel_symbol *ksym, long ret)
{
	return ret < 0 && info->dedup ? ERR_PTR(ret) : ksym;
}

/* Whether the wait for a symbol ended like that: then a look at more is in vain. */
static inline bool module_dedup_refused(int err)
{
	return err == -EDEADLK || err == -ERESTARTSYS;
}

/* The helper is about to be started; it, and the worker that reaps it, get this. */
static inline void module_dedup_run(struct subprocess_info *info,
				    struct module_dedup *ticket)
{
	if (ticket)
		info->data = module_dedup_begin_run(ticket);
}

/* Neither the helper nor the worker is going to use it any more. */
static inline void module_dedup_free_run(void *run)
{
	if (run)
		module_dedup_put_run(run);
}

#else

#define MODULE_DEDUP_STATS_SIZE 0

/*
 * Macros, since even an empty function can change what the compiler makes of
 * the function that calls it.
 */
#define module_dedup_replaces_c()		false
#define module_dedup_begin(...)			false
#define module_dedup_begin_copy(...)		false
#define module_dedup_begin_request(...)		false
#define module_dedup_end(ticket, ret)		((void)(ticket), (ret))
#define module_dedup_set_ticket(...)		do { } while (0)
#define module_dedup_args(info, uargs)					\
	((void)(info), strndup_user(uargs, ~0UL >> 1))
#define module_dedup_prepare(...)		do { } while (0)
#define module_dedup_becoming(...)		do { } while (0)
#define module_dedup_over(...)			do { } while (0)
#define module_dedup_unformed(...)		do { } while (0)
#define module_dedup_failed(...)		do { } while (0)
#define module_dedup_gone(...)			do { } while (0)
#define module_dedup_reached(...)		do { } while (0)
#define module_dedup_live(...)			do { } while (0)
#define module_dedup_removal()			do { } while (0)
#define module_dedup_died(...)			false
#define module_dedup_symbol(info, ksym, left)				\
	((void)(info), (void)(left), (ksym))
#define module_dedup_refused(...)		false
#define module_dedup_helper			NULL
#define module_dedup_run(...)			do { } while (0)
#define module_dedup_free_run(...)		do { } while (0)
#define module_dedup_show_stats(...)		do { } while (0)

#define module_dedup_wait_loaded(wq, module, loaded)			\
	((void)(module), wait_event_interruptible(wq, loaded))

#define module_dedup_wait_symbol(wq, found, owner, timeout)		\
	((void)(owner), wait_event_interruptible_timeout(wq, found, timeout))

#endif /* CONFIG_MODULE_DEDUP */

#endif /* _KERNEL_MODULE_DEDUP_H */
