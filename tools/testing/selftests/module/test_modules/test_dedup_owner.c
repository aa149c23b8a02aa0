// SPDX-License-Identifier: GPL-2.0
/*
 * The same, with a symbol that another module needs.
 */

#include "test_dedup.c"

#ifndef SYMBOL
#define SYMBOL test_dedup_owned
#define SYMBOL_TOO test_dedup_owned_too
#endif

int SYMBOL(void);

int SYMBOL(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(SYMBOL);

int SYMBOL_TOO(void);

int SYMBOL_TOO(void)
{
	return 0;
}
EXPORT_SYMBOL_GPL(SYMBOL_TOO);
