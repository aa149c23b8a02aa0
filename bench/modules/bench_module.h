/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A module with a ballast: BALLAST names a file, in a string.
 */

#include <linux/module.h>

#include "bench_clock.h"

asm(".pushsection .rodata\n"
    ".incbin \"" BALLAST "\"\n"
    ".popsection\n");

static int __init bench_module_init(void)
{
	return bench_clock_init();
}
module_init(bench_module_init);

static void __exit bench_module_exit(void)
{
}
module_exit(bench_module_exit);

MODULE_DESCRIPTION("A module for the module load benchmarks");
MODULE_LICENSE("GPL");
