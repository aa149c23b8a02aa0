// SPDX-License-Identifier: GPL-2.0
/*
 * The same, for one test that lets it die: its name cannot be used again.
 */

#include "test_dedup.c"
