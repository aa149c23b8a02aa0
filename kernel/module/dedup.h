/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Module load de-duplication: what the loader calls. Empty, or what the
 * loader does anyway, without CONFIG_MODULE_DEDUP. Include internal.h first.
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
#define MODULE_DEDUP_STATS_SIZE 1536

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
void module_dedup_show_stats(char *buf, size_t size, unsigned int *len);
bool module_dedup_is_dead(const char *name);
int module_dedup_helper(struct subprocess_info *info, struct cred *new);
bool module_dedup_request(struct module_dedup_request *request);

static inline void module_dedup_set_call(struct load_info *info,
					 struct module_dedup_call *call)
{
	info->dedup_call = call;
}

/* A copy of the arguments of this load, to be freed by the loader. */
static inline char *module_dedup_args(const struct load_info *info,
				      const char __user *uargs)
{
	char *args;

	if (!info->dedup_call || !info->dedup_call->args)
		return strndup_user(uargs, ~0UL >> 1);

	args = kstrdup(info->dedup_call->args, GFP_KERNEL);
	return args ?: ERR_PTR(-ENOMEM);
}

/* The struct module came out of the file: give our members a value. */
static inline void module_dedup_prepare(struct module *mod,
					const struct load_info *info)
{
	const struct module_dedup_call *call = info->dedup_call;

	mod->dedup_dead = false;
	mod->dedup_load = call ? call->load : NULL;
	mod->dedup_load_id = call ? call->load_id :
				    (struct module_dedup_load_id){ };
	mod->dedup_flight = call ? call->flight : NULL;
	mod->dedup_id_known = mod->dedup_flight && call->id.counts;
	if (mod->dedup_id_known) {
		mod->dedup_id = call->id;
		mod->dedup_flags = call->flags;
	}
}

/*
 * This load fails because of another module of the same name, as is seen under
 * module_mutex. Once that is released the other one could be removed, and for
 * a call that begins after that the result would not be true.
 */
static inline void module_dedup_exists(const void *flight, int err)
{
	if (err && flight)
		module_dedup_close(flight);
}

static inline void module_dedup_becoming(const struct load_info *info, int err)
{
	if (info->dedup_call)
		module_dedup_exists(info->dedup_call->flight, err);
}

/* The module is in the list from here on, unless there is an error. */
static inline void module_dedup_unformed(struct module *mod, int err)
{
	module_dedup_exists(mod->dedup_flight, err);
	if (!err && mod->dedup_load)
		module_dedup_set_module(mod->dedup_load, mod, mod->name);
}

/* The load has failed: later calls get no answer that is older than they are. */
static inline void module_dedup_failed(struct module *mod)
{
	if (mod->dedup_flight)
		module_dedup_close(mod->dedup_flight);
	mod->dedup_flight = NULL;
}

/* The module is being taken out of the list, or is not its loader's any more. */
static inline void module_dedup_gone(struct module *mod)
{
	if (mod->dedup_load)
		module_dedup_set_module(mod->dedup_load, NULL, NULL);
	mod->dedup_load = NULL;
}

/*
 * The module is live, and still has the reference that its load holds: from
 * here on it could be removed at any time, so nobody may join any more.
 */
static inline void module_dedup_live(struct module *mod)
{
	if (mod->dedup_flight)
		module_dedup_close(mod->dedup_flight);
	mod->dedup_flight = NULL;
	module_dedup_gone(mod);
}

/* Whether nobody is going to finish the load of this module. */
static inline bool module_dedup_died(const struct module *mod)
{
	return mod && READ_ONCE(mod->dedup_dead);
}

/*
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
	if (ret < 0 && info->dedup_call && info->dedup_call->load)
		return ERR_PTR(ret);
	return ksym;
}

/* Whether the wait for a symbol ended like that: then a look at more is in vain. */
static inline bool module_dedup_refused(int err)
{
	return err == -EDEADLK || err == -ERESTARTSYS;
}

/* The helper is about to be started; it, and the worker that reaps it, get this. */
static inline void module_dedup_run(struct subprocess_info *info,
				    const struct module_dedup_request *request)
{
	if (request->ticket)
		info->data = module_dedup_begin_run(request->ticket);
}

/* Neither the helper nor the worker is going to use it any more. */
static inline void module_dedup_free_run(void *run)
{
	if (run)
		module_dedup_put_run(run);
}

/* The caller waits no more for its request, and returns this. */
static inline int module_dedup_requested(struct module_dedup_request *request,
					 int ret)
{
	if (request->ticket)
		module_dedup_leave_request(request->ticket, ret);
	return ret;
}

#else

#define MODULE_DEDUP_STATS_SIZE 0

/*
 * Macros, since even an empty function can change what the compiler makes of
 * the function that calls it.
 */
#define module_dedup_set_call(...)	do { } while (0)
#define module_dedup_prepare(...)	do { } while (0)
#define module_dedup_becoming(...)	do { } while (0)
#define module_dedup_unformed(...)	do { } while (0)
#define module_dedup_live(...)	do { } while (0)
#define module_dedup_gone(...)	do { } while (0)
#define module_dedup_failed(...)	do { } while (0)
#define module_dedup_removal()	do { } while (0)

static inline void module_dedup_show_stats(char *buf, size_t size,
					   unsigned int *len)
{
}

static inline char *module_dedup_args(const struct load_info *info,
				      const char __user *uargs)
{
	return strndup_user(uargs, ~0UL >> 1);
}

static inline bool module_dedup_died(const struct module *mod)
{
	return false;
}

#define module_dedup_wait_loaded(wq, module, loaded)			\
	((void)(module), wait_event_interruptible(wq, loaded))

#define module_dedup_wait_symbol(wq, found, owner, timeout)		\
	((void)(owner), wait_event_interruptible_timeout(wq, found, timeout))

static inline const struct kernel_symbol *
module_dedup_symbol(const struct load_info *info,
		    const struct kernel_symbol *ksym, long ret)
{
	return ksym;
}

static inline bool module_dedup_refused(int err)
{
	return false;
}

#define module_dedup_helper NULL

static inline bool module_dedup_request(struct module_dedup_request *request)
{
	return false;
}

static inline void module_dedup_run(struct subprocess_info *info,
				    const struct module_dedup_request *request)
{
}

static inline void module_dedup_free_run(void *run)
{
}

static inline int module_dedup_requested(struct module_dedup_request *request,
					 int ret)
{
	return ret;
}

#endif /* CONFIG_MODULE_DEDUP */

#endif /* _KERNEL_MODULE_DEDUP_H */
