// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 15 of Documentation/admin-guide/module-dedup.rst.
 *
 * Callers of init_module() with the same image wait for the one that has come
 * first, and the kernel copies the image once. They get what the loader says to
 * those who have lost: EEXIST once the module is live, EBUSY if it has failed.
 *
 * Most callers have an image the middle of which cannot be read, so they would
 * get EFAULT if it were copied.
 */

#include <linux/elf.h>
#include <signal.h>
#include <sys/mman.h>

#include "lib/harness.h"
#include "lib/log.h"

#define N 6
/* So much takes a while to be copied. */
#define LARGE 0x1000000
#define CONF "/tmp/test_dedup_conf"

FIXTURE(copies) {
	struct stats before;
	/* What the leader has, and the same for those who wait. */
	struct image image, hidden;
};

static void clean_up(void)
{
	gates_hold_live(-1);
	gates_hold_going(-1);
	gates_open(~0);
	unload("test_dedup_big");
	unload("test_dedup_bix");
	unload("test_dedup");
	unlink(CONF);
}

FIXTURE_SETUP(copies)
{
	ASSERT_EQ(0, gates_load());
	clean_up();
	gates_reset();
	callers_init();
	self->image = image_of(BIG_KO, 0);
	self->hidden = image_of(BIG_KO, 0);
	ASSERT_NE(NULL, self->image.data);
	ASSERT_NE(NULL, self->hidden.data);
	image_hide(&self->hidden);
	self->before = read_stats();
}

FIXTURE_TEARDOWN(copies)
{
	clean_up();
	if (has_counters())
		EXPECT_TRUE(nothing_in_flight());
}

/* A leader at its gate, and N - 1 followers that are asleep. */
static void start(const struct _test_data_copies *self, const char *args)
{
	copier_add(&callers[0], BIG_KO, args);
	gates_wait_entered(1);
	for (int i = 1; i < N; i++)
		callers[i].image = self->hidden;
	copiers_start(&callers[1], N - 1, BIG_KO, args);
	callers_settle(&callers[1], N - 1);
}

static void no_loads(struct __test_metadata *_metadata, const struct stats *since)
{
	EXPECT_COUNT(0, since->led + since->joined + since->bytes + since->behind);
	EXPECT_COUNT(0, since->bypassed + since->late + since->refused);
}

TEST_F(copies, one_copy_for_all)
{
	struct stats since;

	start(self, "gate=0");
	EXPECT_EQ(0, callers_done(callers, N));
	EXPECT_FALSE(module_live("test_dedup_big"));
	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EEXIST));
	EXPECT_TRUE(module_live("test_dedup_big"));
	EXPECT_EQ(1, gates_entered());

	since = stats_since(self->before);
	EXPECT_COUNT(1, since.copies_led);
	EXPECT_COUNT(N - 1, since.copies_joined);
	EXPECT_COUNT((N - 1) * self->image.len, since.copies_bytes);
	EXPECT_COUNT(0, since.wasted);
	EXPECT_COUNT(0, since.copies_late + since.retried + since.interrupted);
	no_loads(_metadata, &since);
	SAW("6 call init_module() for one image", "%lld kB are wasted", since.wasted / 1024);
}

/* What comes when the module is live, as asynchronous probes do, is not waited for. */
TEST_F(copies, answer_is_not_late)
{
	start(self, "gate=0");
	gates_hold_live(1);
	gates_open(1);
	callers_wait(&callers[1], N - 1);
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EEXIST));
	EXPECT_TRUE(module_live("test_dedup_big"));
	/* Whoever comes now does not wait either. */
	EXPECT_EQ(EEXIST, init(&self->hidden, ""));
	EXPECT_EQ(0, callers_done(callers, 1));
	gates_open(3);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_COUNT(N - 1, stats_since(self->before).copies_joined);
	EXPECT_COUNT(1, stats_since(self->before).copies_late);
}

/* All at once, so it is not known who leads. */
TEST_F(copies, storm)
{
	const int n = 200;
	struct stats since;

	copiers_start(callers, n, TEST_KO, "gate=0");
	callers_release();
	gates_wait_entered(1);
	callers_settle(callers, n);
	EXPECT_EQ(0, callers_done(callers, n));
	gates_open(1);
	callers_wait(callers, n);
	EXPECT_EQ(1, callers_with(callers, n, 0));
	EXPECT_EQ(n - 1, callers_with(callers, n, EEXIST));
	EXPECT_EQ(1, gates_entered());
	since = stats_since(self->before);
	EXPECT_COUNT(1, since.copies_led);
	EXPECT_COUNT(n - 1, since.copies_joined);
	EXPECT_COUNT(0, since.wasted);
	no_loads(_metadata, &since);
}

TEST_F(copies, arguments_do_not_matter)
{
	copier_add(&callers[0], BIG_KO, "gate=0 tag=1");
	gates_wait_entered(1);
	callers[1].image = self->hidden;
	callers[2].image = self->hidden;
	copier_add(&callers[1], BIG_KO, "gate=0 tag=2");
	copier_add(&callers[2], BIG_KO, NULL);
	gates_open(1);
	callers_wait(callers, 3);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(2, callers_with(&callers[1], 2, EEXIST));
	EXPECT_COUNT(2, stats_since(self->before).copies_joined);
}

/* The same name, but a byte more, or another one at the end, or in the header. */
TEST_F(copies, other_contents_are_not_joined)
{
	struct image leader = image_of(BIG_KO, 1), others[] = {
		image_of(BIG_KO, 2), image_of(BIG_KO, 1), image_of(BIG_KO, 1),
		image_of(BIG_KO, 1),
	};
	const int n = ARRAY_SIZE(others);
	struct stats since;

	others[0].data[leader.len] = 1;
	others[1].data[leader.len - 1] = 1;
	others[2].data[EI_NIDENT - 1] = 1;
	callers[0].image = leader;
	copier_add(&callers[0], BIG_KO, "gate=0");
	gates_wait_entered(1);
	for (int i = 0; i < n; i++) {
		image_hide(&others[i]);
		callers[1 + i].image = others[i];
		copier_add(&callers[1 + i], BIG_KO, "gate=0");
	}
	EXPECT_EQ(n - 1, callers_with(&callers[1], n - 1, EFAULT));
	/* The last one is as the leader's. */
	EXPECT_EQ(0, callers_done(&callers[n], 1));
	gates_open(1);
	callers_wait(callers, 1 + n);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(EEXIST, callers[n].err);
	since = stats_since(self->before);
	EXPECT_COUNT(n, since.copies_led);
	EXPECT_COUNT(1, since.copies_joined);
	no_loads(_metadata, &since);
}

/* If it can be copied it waits for the name, and is told that it has lost. */
TEST_F(copies, other_contents_wait_for_the_name)
{
	copier_add(&callers[0], TEST_KO, "gate=0");
	gates_wait_entered(1);
	callers[1].image = image_of(TEST_KO, 1);
	copier_add(&callers[1], TEST_KO, "");
	EXPECT_EQ(0, callers_done(callers, 2));
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(EEXIST, callers[1].err);
	EXPECT_COUNT(2, stats_since(self->before).copies_led);
	EXPECT_COUNT(0, stats_since(self->before).copies_joined);
}

TEST_F(copies, init_fails)
{
	struct stats since;

	start(self, "gate=0 fail=-5");
	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(EIO, callers[0].err);
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EBUSY));
	EXPECT_EQ(1, gates_entered());
	since = stats_since(self->before);
	EXPECT_COUNT(N - 1, since.copies_joined);
	EXPECT_COUNT((N - 1) * self->image.len, since.copies_bytes);
	no_loads(_metadata, &since);
	/* Nothing of that is remembered. */
	EXPECT_EQ(EFAULT, init(&self->hidden, ""));
	EXPECT_EQ(0, init(&self->image, ""));
}

/*
 * A load that fails before the name matters says nothing to others: each of them
 * gets the error of its own call. The image is large, so that they meet.
 */
TEST_F(copies, wrong_version)
{
	struct image large = image_of(BIG_KO, LARGE);
	char *version = memmem(large.data, large.len, "vermagic=", 9);
	struct stats since;

	ASSERT_NE(NULL, version);
	version[9] ^= 1;
	for (int i = 0; i < N; i++)
		callers[i].image = large;
	copiers_start(callers, N, BIG_KO, "");
	callers_release();
	callers_wait(callers, N);
	EXPECT_EQ(N, callers_with(callers, N, ENOEXEC));
	since = stats_since(self->before);
	EXPECT_COUNT(0, since.copies_joined + since.copies_late);
	EXPECT_COUNT(N, since.copies_led + since.bypassed);
	TH_LOG("%lld of %d had followed", since.bypassed, N);
}

/* One that is to be found out as late as can be: live is another one of that name. */
TEST_F(copies, wrong_version_of_a_live_module)
{
	char *version = memmem(self->image.data, self->image.len, "vermagic=", 9);

	ASSERT_EQ(0, init(&self->image, ""));
	version[9] ^= 1;
	EXPECT_EQ(ENOEXEC, init(&self->image, ""));
	EXPECT_COUNT(0, stats_since(self->before).copies_late);
}

/* The kernel cannot tell what these are, so the loader says what is wrong, as ever. */
TEST_F(copies, odd_images)
{
	static const struct {
		size_t at;
		unsigned char byte;
	} odd[] = {
		{ EI_MAG0, 0 },
		{ offsetof(struct elf64_hdr, e_shentsize), 1 },
		{ offsetof(struct elf64_hdr, e_shnum) + 1, 0x80 },
		{ offsetof(struct elf64_hdr, e_shoff) + 6, 0x80 },
		{ offsetof(struct elf64_hdr, e_shoff) + 7, 0xff },
		{ offsetof(struct elf64_hdr, e_shstrndx) + 1, 0x80 },
	};
	static const size_t lengths[] = { 0, 1, sizeof(struct elf64_hdr) - 1 };
	const int n = ARRAY_SIZE(odd) + ARRAY_SIZE(lengths);
	struct image image = self->image;

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		char was = image.data[odd[i].at];

		image.data[odd[i].at] = odd[i].byte;
		EXPECT_EQ(ENOEXEC, init(&image, ""))
			TH_LOG("with another byte %zu", odd[i].at);
		image.data[odd[i].at] = was;
	}
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		image.len = lengths[i];
		EXPECT_EQ(ENOEXEC, init(&image, ""))
			TH_LOG("of %zu bytes", image.len);
	}
	EXPECT_COUNT(n, stats_since(self->before).bypassed);
	/* Nor of one that is not there. */
	image = self->image;
	image.data = NULL;
	EXPECT_EQ(EFAULT, init(&image, ""));
	EXPECT_COUNT(n + 1, stats_since(self->before).bypassed);
	EXPECT_COUNT(0, stats_since(self->before).copies_led);
	EXPECT_EQ(0, init(&self->image, ""));
}

TEST_F(copies, late)
{
	struct stats since;

	ASSERT_EQ(0, init(&self->image, ""));
	EXPECT_EQ(EEXIST, init(&self->hidden, "tag=1"));
	since = stats_since(self->before);
	EXPECT_COUNT(2, since.copies_led);
	EXPECT_COUNT(1, since.copies_late);
	EXPECT_COUNT(self->image.len, since.copies_bytes);
	EXPECT_COUNT(0, since.wasted);
	EXPECT_COUNT(0, since.copies_joined);
	no_loads(_metadata, &since);

	/* Once the module is gone so is what it was loaded from. */
	EXPECT_EQ(0, unload("test_dedup_big"));
	EXPECT_EQ(EFAULT, init(&self->hidden, ""));
	EXPECT_EQ(0, init(&self->image, ""));
	EXPECT_EQ(EEXIST, init(&self->hidden, ""));
	EXPECT_COUNT(2, stats_since(self->before).copies_late);
}

TEST_F(copies, late_with_other_contents)
{
	struct image others[] = { image_of(BIG_KO, 2), image_of(BIG_KO, 1), image_of(BIG_KO, 0) };
	struct image image = image_of(BIG_KO, 1);

	ASSERT_EQ(0, init(&image, ""));
	others[1].data[image.len - 1] = 1;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		EXPECT_EQ(EEXIST, init(&others[i], ""));
		image_hide(&others[i]);
		EXPECT_EQ(EFAULT, init(&others[i], ""));
	}
	EXPECT_COUNT(0, stats_since(self->before).copies_late);
	EXPECT_COUNT(0, stats_since(self->before).copies_bytes);
	image_hide(&image);
	EXPECT_EQ(EEXIST, init(&image, ""));
	EXPECT_COUNT(1, stats_since(self->before).copies_late);
}

/* What a file was loaded from is no image, nor the other way round. */
TEST_F(copies, late_after_a_file)
{
	ASSERT_EQ(0, load(BIG_KO, "", 0));
	EXPECT_EQ(EFAULT, init(&self->hidden, ""));
	EXPECT_EQ(EEXIST, init(&self->image, ""));
	EXPECT_EQ(0, unload("test_dedup_big"));
	EXPECT_EQ(0, init(&self->image, ""));
	EXPECT_EQ(EEXIST, load(BIG_KO, "", 0));
	EXPECT_COUNT(0, stats_since(self->before).copies_late);
	EXPECT_COUNT(0, stats_since(self->before).late);
}

/* One call led and one joined, of a file as well as of an image. */
static void one_of_each(struct __test_metadata *_metadata, const struct _test_data_copies *self)
{
	struct stats since = stats_since(self->before);

	EXPECT_COUNT(1, since.led);
	EXPECT_COUNT(1, since.joined);
	EXPECT_COUNT(1, since.copies_led);
	EXPECT_COUNT(1, since.copies_joined);
}

/* The loader lets one of them win. */
TEST_F(copies, while_a_file_is_loaded)
{
	caller_add(&callers[0], TEST_KO, "gate=0", 0);
	gates_wait_entered(1);
	copier_add(&callers[1], TEST_KO, "gate=0");
	copier_add(&callers[2], TEST_KO, "gate=0");
	caller_add(&callers[3], TEST_KO, "gate=0", 0);
	EXPECT_EQ(0, callers_done(callers, 4));
	gates_open(1);
	callers_wait(callers, 4);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(2, callers_with(&callers[1], 2, EEXIST));
	EXPECT_EQ(0, callers[3].err);
	EXPECT_EQ(1, gates_entered());
	one_of_each(_metadata, self);
}

TEST_F(copies, while_a_file_comes_later)
{
	copier_add(&callers[0], TEST_KO, "gate=0");
	gates_wait_entered(1);
	caller_add(&callers[1], TEST_KO, "gate=0", 0);
	caller_add(&callers[2], TEST_KO, "gate=0", 0);
	copier_add(&callers[3], TEST_KO, "gate=0");
	EXPECT_EQ(0, callers_done(callers, 4));
	gates_open(1);
	callers_wait(callers, 4);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(3, callers_with(&callers[1], 3, EEXIST));
	EXPECT_EQ(1, gates_entered());
	one_of_each(_metadata, self);
}

static void nothing(int sig)
{
}

static void handle(struct caller *c)
{
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = nothing }, NULL);
}

static void handle_restart(struct caller *c)
{
	struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &action, NULL);
}

/* Guarantee 5: one is told of a signal, one restarts, and one is killed. */
TEST_F(copies, signals)
{
	struct stats since;

	callers[1].before = handle;
	callers[2].before = handle_restart;
	start(self, "gate=0");
	kill(callers[1].pid, SIGUSR1);
	callers_wait(&callers[1], 1);
	EXPECT_EQ(EINTR, callers[1].err);
	kill(callers[2].pid, SIGUSR1);
	while (has_counters() && stats_since(self->before).interrupted < 2)
		nap();
	callers_settle(&callers[2], 1);
	kill(callers[3].pid, SIGKILL);
	callers_wait(&callers[3], 1);
	EXPECT_EQ(1, callers_done(callers, N));
	gates_open(1);
	callers_wait(callers, 1);
	callers_wait(&callers[2], 1);
	callers_wait(&callers[4], N - 4);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(EEXIST, callers[2].err);
	EXPECT_EQ(N - 4, callers_with(&callers[4], N - 4, EEXIST));
	since = stats_since(self->before);
	EXPECT_COUNT(3, since.interrupted);
	EXPECT_COUNT(N - 3, since.copies_joined);
	EXPECT_COUNT(1, since.copies_led);
}

/* Guarantee 6: the end of the leader says nothing of the module. One of them leads. */
TEST_F(copies, leader_is_killed)
{
	struct stats since;

	copier_add(&callers[0], TEST_KO, "gate=0");
	gates_wait_entered(1);
	copiers_start(&callers[1], N - 1, TEST_KO, "gate=0");
	callers_settle(&callers[1], N - 1);
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	callers_wait_retried(&self->before, &callers[1], N - 1);
	wait_entered_or_done(2, &callers[1], N - 1);
	EXPECT_EQ(0, callers_done(&callers[1], N - 1));
	gates_open(1);
	callers_wait(&callers[1], N - 1);
	EXPECT_EQ(1, callers_with(&callers[1], N - 1, 0));
	EXPECT_EQ(N - 2, callers_with(&callers[1], N - 1, EEXIST));
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));
	since = stats_since(self->before);
	EXPECT_COUNT(N - 1, since.retried);
	EXPECT_COUNT(2, since.copies_led);
	EXPECT_COUNT(N - 2, since.copies_joined);
	EXPECT_COUNT(0, since.interrupted + since.bypassed);
}

/* A leader that waits for its own memory, after the look at its image; and followers. */
static void start_held(struct _test_data_copies *self, struct __test_metadata *_metadata)
{
	const size_t len = self->image.len;
	struct image held = {
		.data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
		.len = len,
	};

	ASSERT_NE(MAP_FAILED, (void *)held.data);
	memcpy(held.data, self->image.data, len);
	ASSERT_TRUE(gates_hold_page(image_middle(&held), 1));
	self->image = held;
	callers[0].image = held;
	copiers_start(callers, 1, BIG_KO, "");
	callers_release();
	gates_wait_entered(1);
	for (int i = 1; i < N; i++)
		callers[i].image = self->hidden;
	copiers_start(&callers[1], N - 1, BIG_KO, "");
	callers_settle(&callers[1], N - 1);
}

/*
 * The image of the leader changes after the look at it, so its load is that of
 * another module. That says nothing to the others: each of them loads by itself.
 */
TEST_F(copies, name_changes)
{
	static const char name[] = "test_dedup_big";
	struct elf64_shdr *section;
	struct stats since;
	char *other;

	start_held(self, _metadata);
	if (has_counters())
		EXPECT_EQ(0, callers_done(callers, N));
	/* What comes after the page in the middle is not copied yet. */
	section = image_section(self->image.data, ".gnu.linkonce.this_module");
	ASSERT_NE(NULL, section);
	other = image_middle(&self->image) + sysconf(_SC_PAGESIZE);
	memcpy(other, self->image.data + section->sh_offset, section->sh_size);
	section->sh_offset = other - self->image.data;
	other = memmem(other, section->sh_size, name, sizeof(name));
	ASSERT_NE(NULL, other);
	other[sizeof(name) - 2] = 'x';
	gates_open(2);
	callers_wait(callers, N);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_TRUE(module_live("test_dedup_bix"));
	EXPECT_FALSE(module_live("test_dedup_big"));
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EFAULT));
	since = stats_since(self->before);
	EXPECT_COUNT(0, since.copies_joined);
	EXPECT_COUNT(N - 1, since.bypassed);
}

/* Nobody waits longer than 10 s for a load that has not come to the name. */
TEST_F_SLOW(copies, leader_waits_for_its_memory)
{
	static char report[65536];
	int log = log_open();

	log_expect("Call Trace:");
	start_held(self, _metadata);
	if (has_counters())
		log_wait_reported(log, "Call Trace:", report, sizeof(report));
	callers_wait(&callers[1], N - 1);
	log_expect("nothing");
	close(log);
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EFAULT));
	EXPECT_EQ(0, callers_done(callers, 1));
	EXPECT_COUNT(N - 1, stats_since(self->before).bypassed);
	gates_open(2);
	callers_wait(callers, 1);
	EXPECT_EQ(0, callers[0].err);
	EXPECT_TRUE(module_live("test_dedup_big"));
}

static void enter_other_root(struct caller *c)
{
	if (chroot(MODULES_DIR) || chdir("/"))
		perror("chroot");
}

/* Why it has failed is nobody else's business, so it does not matter who or where it is. */
TEST_F(copies, leader_is_in_another_root_folder)
{
	ASSERT_EQ(0, write_file(CONF, "", 0));
	callers[0].before = enter_other_root;
	copier_add(&callers[0], TEST_KO, "gate=0 path=" CONF);
	gates_wait_entered(1);
	copiers_start(&callers[1], N - 1, TEST_KO, "gate=0 path=" CONF);
	callers_settle(&callers[1], N - 1);
	gates_open(1);
	callers_wait(callers, 1);
	callers_wait(&callers[1], N - 1);
	EXPECT_EQ(ENOENT, callers[0].err);
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EBUSY));
	EXPECT_EQ(1, gates_entered());
	EXPECT_COUNT(0, stats_since(self->before).retried);
	EXPECT_COUNT(N - 1, stats_since(self->before).copies_joined);
}

/*
 * Guarantee 16: what init did not find is made before another one calls. That one
 * does not join the load that has failed: it is told by the loader, and at once,
 * that the module is on its way out.
 */
TEST_F(copies, no_older_answer)
{
	const char *args = "gate=0 path=" CONF;
	const int early = 3;

	gates_hold_going(1);
	copier_add(&callers[0], TEST_KO, args);
	gates_wait_entered(1);
	copiers_start(&callers[1], early - 1, TEST_KO, args);
	callers_settle(&callers[1], early - 1);
	gates_open(1);
	gates_wait_going(1);
	ASSERT_EQ(0, write_file(CONF, "", 0));
	copier_add(&callers[early], TEST_KO, args);
	EXPECT_EQ(1, callers_done(&callers[early], 1));
	EXPECT_EQ(0, callers_done(callers, 1));
	EXPECT_COUNT(2, stats_since(self->before).copies_led);
	EXPECT_COUNT(1, stats_since(self->before).copies_late);
	gates_open(3);
	callers_wait(callers, early + 1);
	EXPECT_EQ(ENOENT, callers[0].err);
	EXPECT_EQ(early, callers_with(&callers[1], early, EBUSY));
	EXPECT_COUNT(early - 1, stats_since(self->before).copies_joined);
	EXPECT_EQ(0, load_copy(TEST_KO, args));
	EXPECT_EQ(2, gates_entered());
}

/* Guarantee 13: what is in flight is named, though it has no file. */
TEST_F(copies, seen)
{
	char line[128];

	if (!has_counters())
		SKIP(return, "this kernel does not show what is in flight");
	start(self, "gate=0");
	snprintf(line, sizeof(line), "\t%d\tdedup_15_init_m[%d]\ttest_dedup_big\t-\n", N - 1,
		 callers[0].pid);
	EXPECT_TRUE(in_flight(line));
	EXPECT_TRUE(in_flight("\ncopy\t"));
	EXPECT_FALSE(in_flight("\nload\t"));
	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(N - 1, callers_with(callers, N, EEXIST));
}

/* Guarantee 14, and how it is without us: each of them copies, and then waits for the name. */
static void not_joined(struct __test_metadata *_metadata, const struct stats *before)
{
	struct stats since;

	copiers_start(callers, N, TEST_KO, "gate=0");
	callers_release();
	gates_wait_entered(1);
	callers_settle(callers, N);
	set_dedup("on");
	gates_open(1);
	callers_wait(callers, N);
	EXPECT_EQ(1, callers_with(callers, N, 0));
	EXPECT_EQ(N - 1, callers_with(callers, N, EEXIST));
	EXPECT_EQ(1, gates_entered());
	since = stats_since(*before);
	no_loads(_metadata, &since);
	EXPECT_COUNT(0, since.copies_led + since.copies_joined + since.copies_bytes);
}

TEST_F(copies, off)
{
	set_dedup("off");
	not_joined(_metadata, &self->before);
}

TEST_F(copies, c)
{
	set_dedup("c");
	not_joined(_metadata, &self->before);
}

TEST_F(copies, switched_off_meanwhile)
{
	start(self, "gate=0");
	set_dedup("off");
	gates_open(1);
	callers_wait(callers, N);
	/* Whoever comes now is copied. */
	EXPECT_EQ(EFAULT, init(&self->hidden, ""));
	set_dedup("on");
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(N - 1, callers_with(&callers[1], N - 1, EEXIST));
	EXPECT_COUNT(N - 1, stats_since(self->before).copies_joined);
}

TEST_HARNESS_MAIN
