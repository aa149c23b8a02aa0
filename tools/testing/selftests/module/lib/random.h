/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random numbers that a seed repeats. Each function changes the state that it is
 * given.
 */
#ifndef _MODULE_TEST_RANDOM_H
#define _MODULE_TEST_RANDOM_H

#include <stdbool.h>

unsigned long long next_random(unsigned long long *state);

/* A number below n. */
unsigned int below(unsigned long long *state, unsigned int n);

/* True so many times of a hundred. */
bool chance(unsigned long long *state, unsigned int percent);

#endif /* _MODULE_TEST_RANDOM_H */
