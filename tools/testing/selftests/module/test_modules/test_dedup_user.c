// SPDX-License-Identifier: GPL-2.0
/*
 * A module that depends on another one. It is built twice.
 */

#include <linux/module.h>

int test_dedup_base(void);

static int __init test_dedup_user_init(void)
{
	return test_dedup_base();
}
module_init(test_dedup_user_init);

static void __exit test_dedup_user_exit(void)
{
}
module_exit(test_dedup_user_exit);

MODULE_DESCRIPTION("A dependent module for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
