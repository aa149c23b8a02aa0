// SPDX-License-Identifier: GPL-2.0
/*
 * The same, under another name.
 */

#include "test_dedup.c"
