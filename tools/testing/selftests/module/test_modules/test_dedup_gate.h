/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TEST_DEDUP_GATE_H
#define _TEST_DEDUP_GATE_H

int test_dedup_gate_pass(int gate, int tag, bool interruptible);

#endif
