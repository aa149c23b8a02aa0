/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The gates of test_dedup_gate.ko: an init function waits at the gate that the
 * arguments of its module name until the test opens it, so no load ends before
 * the test says so.
 */
#ifndef _MODULE_TEST_GATES_H
#define _MODULE_TEST_GATES_H

#include <stdbool.h>

#define GATE_PARAM "/sys/module/test_dedup_gate/parameters/"

/* Loads the module of the gates. Returns 0 or an errno. */
int gates_load(void);

/* Opens the gates in the mask, and closes all others. */
void gates_open(unsigned int mask);

/* Modules on their way out, also those whose load has failed, wait at this gate. */
void gates_hold_going(int gate);

/* Modules that have become live wait at this gate, before their load is over. */
void gates_hold_live(int gate);

/*
 * Whoever reads this page from now on waits at a gate first, and comes by there.
 * The page is zero then. Returns false if that cannot be.
 */
bool gates_hold_page(void *page, int gate);

/* Closes all gates, and forgets who came by. */
void gates_reset(void);

/* How many init functions have run since the last reset. */
int gates_entered(void);

/* Waits until so many init functions have run. */
void gates_wait_entered(int n);

/* Waits until so many modules have come to the gate for those on their way out. */
void gates_wait_going(int n);

#endif /* _MODULE_TEST_GATES_H */
