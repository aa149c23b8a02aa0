// SPDX-License-Identifier: GPL-2.0
/*
 * The same, under a third name.
 */

#include "test_dedup.c"
