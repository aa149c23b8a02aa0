// SPDX-License-Identifier: GPL-2.0
/*
 * The same, with a symbol that another module needs.
 */

#include "test_dedup.c"
#include "test_dedup_owner.h"

int OWNED(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(OWNED);

int OWNED_TOO(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(OWNED_TOO);
