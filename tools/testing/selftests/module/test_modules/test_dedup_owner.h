/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The symbols that one module has and another one needs. There is a second pair of
 * modules with other symbols.
 */
#ifndef _TEST_DEDUP_OWNER_H
#define _TEST_DEDUP_OWNER_H

#include <linux/args.h>

#ifndef OWNED
#define OWNED test_dedup_owned
#endif
#define OWNED_TOO CONCATENATE(OWNED, _too)

int OWNED(void);
int OWNED_TOO(void);

#endif
