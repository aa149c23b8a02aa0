/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The symbols that one module has and another one needs, in two versions.
 */
#ifndef _TEST_DEDUP_OWNER_H
#define _TEST_DEDUP_OWNER_H

#ifndef SYMBOL
#define SYMBOL test_dedup_owned
#define SYMBOL_TOO test_dedup_owned_too
#endif

int SYMBOL(void);
int SYMBOL_TOO(void);

#endif
