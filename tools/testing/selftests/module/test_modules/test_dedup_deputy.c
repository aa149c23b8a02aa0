// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init function has a kernel thread request a module, and waits
 * for that: nobody can know on whose behalf the thread asks.
 */

#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kmod.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>

static DECLARE_COMPLETION(answered);

static int test_dedup_deputy_ask(void *unused)
{
	request_module("deputy");
	kthread_complete_and_exit(&answered, 0);
}

static int __init test_dedup_deputy_init(void)
{
	struct task_struct *task = kthread_run(test_dedup_deputy_ask, NULL, "dedup_deputy");

	if (IS_ERR(task))
		return PTR_ERR(task);

	/* Without a complaint about a hung task, however long that takes. */
	wait_for_completion_state(&answered, TASK_IDLE);
	return 0;
}
module_init(test_dedup_deputy_init);

static void __exit test_dedup_deputy_exit(void)
{
}
module_exit(test_dedup_deputy_exit);

MODULE_DESCRIPTION("Asks by a kernel thread for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
