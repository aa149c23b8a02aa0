// SPDX-License-Identifier: GPL-2.0
/*
 * The same, in a file of more than a megabyte.
 */

#include <linux/sizes.h>

#include "test_dedup.c"

static const char __used ballast[SZ_1M] = { 1 };
