/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _BENCH_CLOCK_H
#define _BENCH_CLOCK_H

int bench_clock_init(void);

#endif
