// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"
#include "gates.h"
#include "modules.h"

#define GATE_KO MODULES_DIR "test_dedup_gate.ko"

int gates_load(void)
{
	int err = load_once(GATE_KO);

	if (err)
		fprintf(stderr, "# cannot load " GATE_KO ": %s\n", strerror(err));
	return err;
}

void gates_open(unsigned int mask)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", mask);
	spit(GATE_PARAM "open", text);
}

void gates_hold_going(int gate)
{
	char text[16];

	spit(GATE_PARAM "going", "0");
	snprintf(text, sizeof(text), "%d", gate);
	spit(GATE_PARAM "going_gate", text);
}

void gates_hold_live(int gate)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", gate);
	spit(GATE_PARAM "live_gate", text);
}

bool gates_hold_page(void *page, int gate)
{
	const size_t size = sysconf(_SC_PAGESIZE);
	int fd = open("/dev/test_dedup_gate", O_RDONLY | O_CLOEXEC);
	bool held = mmap(page, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd,
			 gate * size) == page;

	close(fd);
	return held;
}

void gates_reset(void)
{
	gates_hold_live(-1);
	gates_hold_going(-1);
	gates_open(0);
	spit(GATE_PARAM "log", "0");
}

int gates_entered(void)
{
	char buf[32];

	return slurp(GATE_PARAM "entered", buf, sizeof(buf)) > 0 ? atoi(buf) : -1;
}

void gates_wait_entered(int n)
{
	while (gates_entered() < n)
		nap();
}

void gates_wait_going(int n)
{
	char buf[32];

	while (slurp(GATE_PARAM "going", buf, sizeof(buf)) > 0 && atoi(buf) < n)
		nap();
}
