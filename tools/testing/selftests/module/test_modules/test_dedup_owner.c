// SPDX-License-Identifier: GPL-2.0
/*
 * The same, with a symbol that another module needs.
 */

#include "test_dedup.c"
#include "test_dedup_owner.h"

int SYMBOL(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(SYMBOL);

int SYMBOL_TOO(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(SYMBOL_TOO);
