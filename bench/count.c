// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU that counts the instructions of each CPU of the guest, and
 * needs nothing from the guest for that: how long a lock is held, for how long
 * interrupts are off, and which code ran how often. Counting starts and stops at
 * marks, which are calls of one system call.
 *
 * Arguments: points=FILE, out=FILE. Points are addresses with a letter on a line:
 *   M a mark        L a lock was taken     U it is given back
 *   D interrupts go off     E they come on     I an interrupt begins, or a fault
 *   R it returns    V a module is live     W its loader is in user space again
 *
 * QEMU's own header comes with its source alone. These few functions have been
 * the same since its first version of plugins.
 */

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define CPUS 256

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*cb)(unsigned int, void *), int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int, void *), int flags,
					    void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *),
				    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t n);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

/* The oldest version of plugins that this QEMU takes. */
EXPORT int qemu_plugin_version = 1;

static void __attribute__((constructor)) choose_version(void)
{
	if (dlsym(RTLD_DEFAULT, "qemu_plugin_scoreboard_new"))
		qemu_plugin_version = 2;
}

struct point {
	uint64_t address;
	char kind;
};

static struct point *points;
static size_t points_len;

/* Code that runs as one. */
struct block {
	uint64_t address;
	uint64_t insns;
	uint64_t runs;
	struct block *next;
};

static struct block *blocks;

/* An instruction that is a point, and how many of its block come after it. */
struct site {
	uint64_t address;
	uint64_t left;
	char kind;
};

static struct cpu {
	uint64_t insns;
	/* Since when the lock is held, or interrupts are off; 0 if not. */
	uint64_t held, off;
	uint64_t off_at;
	/* Since when the module is live that was loaded here. */
	uint64_t live;
	/* Interrupts that have not returned. */
	int depth;
} cpus[CPUS];

static bool counting;
static int window;
/* Of this window. */
static uint64_t holds, held_sum, held_max, off_max, off_from, off_to, leader;
static FILE *out;

static void mark(void)
{
	uint64_t insns = 0;

	for (int i = 0; i < CPUS; i++)
		insns += cpus[i].insns;
	counting = !counting;
	if (counting) {
		holds = held_sum = held_max = off_max = leader = 0;
		for (struct block *block = blocks; block; block = block->next)
			block->runs = 0;
		for (int i = 0; i < CPUS; i++)
			cpus[i].insns = 0;
		return;
	}
	fprintf(out, "window %d insns %lu holds %lu held %lu longest %lu leader %lu off %lu %lx %lx\n",
		window++, insns, holds, held_sum, held_max, leader, off_max, off_from, off_to);
	for (struct block *block = blocks; block; block = block->next) {
		if (block->runs)
			fprintf(out, "%lx %lu %lu\n", block->address, block->insns, block->runs);
	}
}

static void at_block(unsigned int number, void *data)
{
	struct block *block = data;

	block->runs++;
	cpus[number % CPUS].insns += block->insns;
}

static void at_site(unsigned int number, void *data)
{
	const struct site *site = data;
	struct cpu *cpu = &cpus[number % CPUS];
	/* Never 0, and the same before and after the numbers begin anew. */
	uint64_t now = cpu->insns - site->left + 1, took;

	switch (site->kind) {
	case 'M':
		mark();
		cpu->held = cpu->off = 0;
		break;
	case 'V':
		cpu->live = now;
		break;
	case 'W':
		leader = cpu->live ? now - cpu->live : 0;
		cpu->live = 0;
		break;
	case 'L':
		cpu->held = now;
		break;
	case 'U':
		took = cpu->held ? now - cpu->held : 0;
		if (counting && took && took < 1UL << 32) {
			holds++;
			held_sum += took;
			if (took > held_max)
				held_max = took;
		}
		cpu->held = 0;
		break;
	case 'D':
		if (!cpu->off && !cpu->depth) {
			cpu->off = now;
			cpu->off_at = site->address;
		}
		break;
	case 'I':
		cpu->depth++;
		/* What an interrupt takes is not the holder's. */
		cpu->held = cpu->off = 0;
		break;
	case 'R':
		if (cpu->depth)
			cpu->depth--;
		/* fallthrough */
	case 'E':
		took = cpu->off ? now - cpu->off : 0;
		if (counting && took < 1UL << 32 && took > off_max) {
			off_max = took;
			off_from = cpu->off_at;
			off_to = site->address;
		}
		cpu->off = 0;
		break;
	}
}

static int by_address(const void *a, const void *b)
{
	const struct point *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct block *block = calloc(1, sizeof(*block));

	(void)id;
	block->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	block->insns = n;
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, at_block, QEMU_PLUGIN_CB_NO_REGS, block);
	if (!(block->address >> 63))
		return;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		struct point key = { .address = qemu_plugin_insn_vaddr(insn) };
		struct point *found = bsearch(&key, points, points_len, sizeof(key), by_address);
		struct site *site;

		if (!found)
			continue;
		/* An address may be there twice: a lock that is given back is the next thing. */
		while (found > points && found[-1].address == key.address)
			found--;
		for (; found < points + points_len && found->address == key.address; found++) {
			site = calloc(1, sizeof(*site));
			*site = (struct site){ key.address, n - i, found->kind };
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_site,
							       QEMU_PLUGIN_CB_NO_REGS, site);
		}
	}
}

static void over(qemu_plugin_id_t id, void *data)
{
	(void)id;
	(void)data;
	fclose(out);
}

static bool read_points(const char *path)
{
	FILE *in = fopen(path, "r");
	struct point point;

	if (!in)
		return false;
	while (fscanf(in, "%lx %c", &point.address, &point.kind) == 2) {
		points = realloc(points, (points_len + 1) * sizeof(point));
		points[points_len++] = point;
	}
	fclose(in);
	qsort(points, points_len, sizeof(*points), by_address);
	return points_len;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "points=", 7) && !read_points(argv[i] + 7))
			return -1;
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	}
	if (!points || !out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, over, NULL);
	return 0;
}
