/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Module load de-duplication: what the loader calls. Empty, or what the
 * loader does anyway, without CONFIG_MODULE_DEDUP. Include internal.h first.
 */
#ifndef _KERNEL_MODULE_DEDUP_H
#define _KERNEL_MODULE_DEDUP_H

#include <linux/module.h>
#include <linux/module_dedup.h>
#include <linux/slab.h>
#include <linux/string.h>

#ifdef CONFIG_MODULE_DEDUP

/* Room for our lines in the buffer of debugfs' modules/stats. */
#define MODULE_DEDUP_STATS_SIZE 1024

void module_dedup_show_stats(char *buf, size_t size, unsigned int *len);

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

	mod->dedup_flight = call ? call->flight : NULL;
	mod->dedup_id_known = mod->dedup_flight;
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

static inline void module_dedup_unformed(const struct module *mod, int err)
{
	module_dedup_exists(mod->dedup_flight, err);
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
}

#else

#define MODULE_DEDUP_STATS_SIZE 0

static inline void module_dedup_show_stats(char *buf, size_t size,
					   unsigned int *len)
{
}

static inline void module_dedup_set_call(struct load_info *info,
					 struct module_dedup_call *call)
{
}

static inline char *module_dedup_args(const struct load_info *info,
				      const char __user *uargs)
{
	return strndup_user(uargs, ~0UL >> 1);
}

static inline void module_dedup_prepare(struct module *mod,
					const struct load_info *info)
{
}

static inline void module_dedup_becoming(const struct load_info *info, int err)
{
}

static inline void module_dedup_unformed(const struct module *mod, int err)
{
}

static inline void module_dedup_live(struct module *mod)
{
}

#endif /* CONFIG_MODULE_DEDUP */

#endif /* _KERNEL_MODULE_DEDUP_H */
