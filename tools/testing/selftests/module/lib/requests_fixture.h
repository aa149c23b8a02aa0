/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of dedup_12_requests and dedup_12_requests_slow.
 */
#ifndef _MODULE_TEST_REQUESTS_FIXTURE_H
#define _MODULE_TEST_REQUESTS_FIXTURE_H

#include "harness.h"
#include "helpers.h"
#include "log.h"
#include "requests.h"

FIXTURE(requests) {
	struct stats before;
	int log;
};

FIXTURE_SETUP(requests)
{
	ASSERT_EQ(0, requests_begin());
	self->before = read_stats();
	self->log = log_open();
}

FIXTURE_TEARDOWN(requests)
{
	requests_end();
	close(self->log);
}

#endif /* _MODULE_TEST_REQUESTS_FIXTURE_H */
