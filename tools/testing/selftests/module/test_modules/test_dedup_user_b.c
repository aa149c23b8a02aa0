// SPDX-License-Identifier: GPL-2.0
/*
 * Another module that depends on the same one.
 */

#include "test_dedup_user_a.c"
