// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init function requests this very module, by an alias.
 */

#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static int requested;
module_param(requested, int, 0444);
MODULE_PARM_DESC(requested, "what that request returned");

static int __init test_dedup_self_init(void)
{
	requested = request_module("dedup-test-self");
	return 0;
}
module_init(test_dedup_self_init);

static void __exit test_dedup_self_exit(void)
{
}
module_exit(test_dedup_self_exit);

MODULE_ALIAS("dedup-test-self");
MODULE_DESCRIPTION("A module that requests itself for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
