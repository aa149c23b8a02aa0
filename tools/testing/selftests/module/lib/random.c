// SPDX-License-Identifier: GPL-2.0
#include "random.h"

/* This is splitmix64. */
unsigned long long next_random(unsigned long long *state)
{
	unsigned long long z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

unsigned int below(unsigned long long *state, unsigned int n)
{
	return next_random(state) % n;
}

bool chance(unsigned long long *state, unsigned int percent)
{
	return below(state, 100) < percent;
}
