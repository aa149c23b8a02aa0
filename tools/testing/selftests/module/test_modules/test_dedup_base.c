// SPDX-License-Identifier: GPL-2.0
/*
 * A module that others depend on.
 */

#include <linux/delay.h>
#include <linux/module.h>

int test_dedup_base(void);

int test_dedup_base(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(test_dedup_base);

/* Long enough for the other modprobe to find this one while it is coming. */
static int __init test_dedup_base_init(void)
{
	msleep(20);
	return 0;
}
module_init(test_dedup_base_init);

static void __exit test_dedup_base_exit(void)
{
}
module_exit(test_dedup_base_exit);

MODULE_DESCRIPTION("A shared dependency for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
