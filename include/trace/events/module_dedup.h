/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What becomes of calls of finit_module(), init_module() and request_module()
 * that are de-duplicated. A leader has lead and done. A follower has join, and
 * then done with the result, refuse if it would have waited for itself, or retry
 * if there was no result to share, after which it asks again. A call that ends
 * while it stands in line has only done or refuse. A leader that waits for another load
 * of the same name can have a refuse before its done.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM module_dedup

#if !defined(_TRACE_MODULE_DEDUP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MODULE_DEDUP_H

#include <linux/module_dedup.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#define MODULE_DEDUP_NAME_LEN 64

DECLARE_EVENT_CLASS(module_dedup,
		    TP_PROTO(const struct module_dedup_seen *seen, int result,
			     unsigned int followers, u64 waited),
		    TP_ARGS(seen, result, followers, waited),

		    TP_STRUCT__entry(__array(char, name, MODULE_DEDUP_NAME_LEN)
				     __field(bool, request)
				     __field(pid_t, leader)
				     __field(int, result)
				     __field(unsigned int, followers)
				     __field(u64, waited)),

		    TP_fast_assign(strscpy(__entry->name, seen->name);
				   __entry->request = seen->request;
				   __entry->leader = seen->leader;
				   __entry->result = result;
				   __entry->followers = followers;
				   __entry->waited = waited;),

		    TP_printk("%s %s leader=%d result=%d followers=%u waited_ns=%llu",
			      __entry->request ? "request" : "load",
			      __entry->name, __entry->leader, __entry->result,
			      __entry->followers, __entry->waited)
);

#define MODULE_DEDUP_EVENT(name)					\
DEFINE_EVENT(module_dedup, name,					\
	     TP_PROTO(const struct module_dedup_seen *seen, int result,	\
		      unsigned int followers, u64 waited),		\
	     TP_ARGS(seen, result, followers, waited))

MODULE_DEDUP_EVENT(module_dedup_lead);
MODULE_DEDUP_EVENT(module_dedup_join);
MODULE_DEDUP_EVENT(module_dedup_done);
MODULE_DEDUP_EVENT(module_dedup_retry);
MODULE_DEDUP_EVENT(module_dedup_refuse);

#endif /* _TRACE_MODULE_DEDUP_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
