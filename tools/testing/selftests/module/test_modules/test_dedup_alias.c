// SPDX-License-Identifier: GPL-2.0
/*
 * A module that modprobe finds by an alias, and before which it loads another
 * one. Its init function waits for a gate.
 */

#include <linux/module.h>

#include "test_dedup_gate.h"

static int __init test_dedup_alias_init(void)
{
	return test_dedup_gate_pass(3, 0, false);
}
module_init(test_dedup_alias_init);

static void __exit test_dedup_alias_exit(void)
{
}
module_exit(test_dedup_alias_exit);

MODULE_ALIAS("dedup-test-alias");
MODULE_SOFTDEP("pre: test_dedup_base");
MODULE_DESCRIPTION("A module with an alias for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
