// SPDX-License-Identifier: GPL-2.0
/*
 * A module that needs a symbol of another one.
 */

#include <linux/module.h>

#include "test_dedup_owner.h"

static int __init test_dedup_borrower_init(void)
{
	return OWNED() + OWNED_TOO();
}
module_init(test_dedup_borrower_init);

static void __exit test_dedup_borrower_exit(void)
{
}
module_exit(test_dedup_borrower_exit);

MODULE_DESCRIPTION("A dependent module for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
