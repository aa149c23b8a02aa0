// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 1 of Documentation/admin-guide/module-dedup.rst.
 *
 * While a flight is up, every other finit_module() with the same key waits and
 * returns the leader's result. It reads no file.
 */

#include "lib/harness.h"

#define MANY 255

FIXTURE(one_load) {
	struct stats before;
};

FIXTURE_SETUP(one_load)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	self->before = read_stats();
	if (has_counters())
		ASSERT_LE(0, self->before.led);
}

FIXTURE_TEARDOWN(one_load)
{
	gates_open(~0);
	unload("test_dedup");
	unload("test_dedup_big");
}

/* All of them go at once, and the load ends when each has arrived. */
static void storm(const char *path, const char *args, int flags)
{
	callers_start(callers, MANY, path, args, flags);
	callers_release();
	callers_settle(callers, MANY);
	gates_open(1);
	callers_wait(callers, MANY);
}

TEST_F_TIMEOUT(one_load, storm_of_255_processes, 300)
{
	long size = file_size(BIG_KO);
	struct stats since;
	int readers = 0;

	storm(BIG_KO, "gate=0", 0);
	EXPECT_EQ(MANY, callers_with(callers, MANY, 0));
	EXPECT_TRUE(module_live("test_dedup_big"));
	EXPECT_EQ(1, gates_entered());

	for (int i = 0; i < MANY; i++)
		readers += callers[i].read >= size;
	EXPECT_EQ(1, readers);

	since = stats_since(self->before);
	EXPECT_COUNT(1, since.led);
	EXPECT_COUNT(MANY - 1, since.joined);
	EXPECT_COUNT((MANY - 1) * size, since.bytes);
	if (has_counters())
		EXPECT_LE(MANY - 1, since.most);
	EXPECT_EQ(0, since.wasted);
	EXPECT_COUNT(0, since.behind);
	EXPECT_COUNT(0, since.interrupted);
	EXPECT_COUNT(0, since.bypassed);
	SAW("255 processes load one file of 1 MB", "%d succeed, %d reads it, %lld bytes wasted",
	    callers_with(callers, MANY, 0), readers, since.wasted);
}

TEST_F_TIMEOUT(one_load, all_get_the_error, 300)
{
	storm(TEST_KO, "gate=0 fail=-5", 0);
	EXPECT_EQ(MANY, callers_with(callers, MANY, EIO));
	EXPECT_FALSE(module_live("test_dedup"));
	EXPECT_EQ(1, gates_entered());
	EXPECT_COUNT(1, stats_since(self->before).led);
}

/* In the one format that this kernel can decompress. */
TEST_F_TIMEOUT(one_load, compressed_module, 300)
{
	const char *reason, *path = compressed_module(&reason);

	if (!path)
		SKIP(return, "%s", reason);
	TH_LOG("%s", path);

	storm(path, "gate=0", MODULE_INIT_COMPRESSED_FILE);
	EXPECT_EQ(MANY, callers_with(callers, MANY, 0));
	EXPECT_EQ(1, gates_entered());
	EXPECT_COUNT((MANY - 1) * file_size(path), stats_since(self->before).bytes);
}

/* A format that it cannot decompress is an error that all share, too. */
TEST_F(one_load, garbage)
{
	const char *path = "/tmp/garbage.ko";

	ASSERT_EQ(0, write_file(path, path, strlen(path)));
	EXPECT_EQ(ENOEXEC, load(path, "", 0));
	EXPECT_COUNT(1, stats_since(self->before).led);
}

/*
 * With more flights than buckets some share one. Each file is a module of its
 * own: a copy, with another name.
 */
#define FILES 272

static void name_of(char *name, int i)
{
	sprintf(name, "test_d%04d", i);
}

static void rename_module(char *data, size_t len, int i)
{
	const char *from = "test_dedup";
	char to[16], *hit = data;

	name_of(to, i);
	while ((hit = memmem(hit, data + len - hit, from, strlen(from)))) {
		/* Not the name of the symbol that it imports. */
		if (strncmp(hit, "test_dedup_gate", strlen("test_dedup_gate")))
			memcpy(hit, to, strlen(from));
		hit += strlen(from);
	}
}

TEST_F_TIMEOUT(one_load, files_that_share_a_bucket, 300)
{
	static char paths[FILES][32];
	struct stats since;

	for (int i = 0; i < FILES; i++) {
		size_t len;
		char *data = read_file(TEST_KO, &len);

		ASSERT_NE(NULL, data);
		rename_module(data, len, i);
		snprintf(paths[i], sizeof(paths[i]), "/tmp/test_d%04d.ko", i);
		ASSERT_EQ(0, write_file(paths[i], data, len));
		free(data);
	}

	for (int i = 0; i < FILES * 2; i++)
		caller_start(&callers[i], paths[i % FILES], "gate=0", 0);
	callers_release();
	callers_settle(callers, FILES * 2);
	gates_wait_entered(FILES);
	gates_open(1);
	callers_wait(callers, FILES * 2);
	EXPECT_EQ(FILES, gates_entered());

	EXPECT_EQ(FILES * 2, callers_with(callers, FILES * 2, 0));
	since = stats_since(self->before);
	EXPECT_COUNT(FILES, since.led);
	EXPECT_COUNT(FILES, since.joined);
	EXPECT_COUNT(0, since.behind);
	EXPECT_EQ(0, since.wasted);

	for (int i = 0; i < FILES; i++) {
		char name[16];

		name_of(name, i);
		EXPECT_TRUE(module_live(name));
		EXPECT_EQ(0, unload(name));
		unlink(paths[i]);
	}
}

TEST_HARNESS_MAIN
