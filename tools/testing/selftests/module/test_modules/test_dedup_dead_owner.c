// SPDX-License-Identifier: GPL-2.0
/*
 * The same, for a test that lets the owner of the symbol die.
 */

#define SYMBOL test_dedup_dead_owned
#define SYMBOL_TOO test_dedup_dead_owned_too

#include "test_dedup_owner.c"
