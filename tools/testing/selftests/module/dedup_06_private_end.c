// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 6 of Documentation/admin-guide/module-dedup.rst.
 *
 * An end that comes from the leader and not from the file is not
 * shared. The followers try again: one leads, the others follow that one.
 *
 * A denial that comes from the contents is shared, for which IMA appraises the
 * files of one user. Its policy is there until the next boot: the rule is for
 * all that is done with these files, since one for modules alone would forbid
 * init_module().
 */

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/harness.h"

#define FOLLOWERS 6
#define COPY "/tmp/test_dedup_copy.ko"

/* What init opens. Only root may read it, and it is in no other root folder. */
#define CONF_DIR "/tmp/test_dedup_conf"
#define CONF CONF_DIR "/conf"
#define OPEN "gate=0 path=" CONF
#define NOBODY 65534

#define SECURITYFS "/sys/kernel/security"
#define IMA_POLICY SECURITYFS "/ima/policy"
/* A user of whose files nothing is right. */
#define APPRAISED 61234
#define APPRAISE "appraise fowner=61234\n"

FIXTURE(private_end) {
	struct stats before;
};

FIXTURE_SETUP(private_end)
{
	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	self->before = read_stats();
}

FIXTURE_TEARDOWN(private_end)
{
	gates_open(~0);
	unload("test_dedup");
	unlink(COPY);
	unlink(CONF);
	rmdir(CONF_DIR);
}

static void nothing(int sig)
{
}

static void handle(struct caller *c)
{
	struct sigaction action = { .sa_handler = nothing };

	sigaction(SIGUSR1, &action, NULL);
}

static void handle_restart(struct caller *c)
{
	struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &action, NULL);
}

/* Someone else, who may load modules but nothing more. */
static void become_nobody(struct caller *c)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = 1 << CAP_SYS_MODULE,
						    .permitted = 1 << CAP_SYS_MODULE } };

	prctl(PR_SET_KEEPCAPS, 1);
	/* If this fails the caller is no other than its followers, and its result tells. */
	if (setgid(NOBODY) || setuid(NOBODY) || syscall(SYS_capset, &header, data))
		perror("become nobody");
}

static void enter_other_root(struct caller *c)
{
	if (chroot(MODULES_DIR) || chdir("/"))
		perror("chroot");
}

static void enter_other_mounts(struct caller *c)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", CONF_DIR, "tmpfs", 0, NULL))
		perror("mount");
}

/* A leader at its gate, and followers asleep. */
static void start_as(void (*before)(struct caller *c), const char *args)
{
	callers_release();
	callers[0].before = before;
	caller_start(&callers[0], TEST_KO, args, 0);
	gates_wait_entered(1);
	callers_start(&callers[1], FOLLOWERS, TEST_KO, args, 0);
	callers_settle(&callers[1], FOLLOWERS);
}

static void start(const char *args)
{
	start_as(handle, args);
}

/* The second leader comes to the gate, the others wait for it. */
static void go_on(struct __test_metadata *_metadata, const struct stats *before,
		  const char *what)
{
	struct stats since;

	callers_wait_retried(before, &callers[1], FOLLOWERS);
	wait_entered_or_done(2, &callers[1], FOLLOWERS);
	ksft_print_msg("saw: %s, 6 wait: %d of them get EINTR, ", what,
		       callers_with(&callers[1], FOLLOWERS, EINTR));
	gates_open(1);
	callers_wait(&callers[1], FOLLOWERS);
	printf("%d succeed\n", callers_with(&callers[1], FOLLOWERS, 0));
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, 0));
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));

	since = stats_since(*before);
	EXPECT_COUNT(2, since.led);
	EXPECT_COUNT(FOLLOWERS - 1, since.joined);
	EXPECT_COUNT(FOLLOWERS, since.retried);
	EXPECT_COUNT(0, since.interrupted);
}

TEST_F(private_end, killed_leader)
{
	start("gate=0");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	go_on(_metadata, &self->before, "the leader is killed");
}

TEST_F(private_end, killed_leader_whose_wait_is_interruptible)
{
	start("gate=0 interruptible=1");
	kill(callers[0].pid, SIGKILL);
	callers_wait(callers, 1);
	go_on(_metadata, &self->before, "the leader is killed in an interruptible wait");
}

TEST_F(private_end, interrupted_leader)
{
	start("gate=0 interruptible=1");
	kill(callers[0].pid, SIGUSR1);
	callers_wait(callers, 1);
	EXPECT_EQ(EINTR, callers[0].err);
	go_on(_metadata, &self->before, "the leader gets a signal");
}

/* The leader's call is restarted, and then one like any other. */
TEST_F(private_end, restarted_leader)
{
	struct stats since;

	callers_release();
	callers[0].before = handle_restart;
	caller_start(&callers[0], TEST_KO, "gate=0 interruptible=1 interrupted=-512", 0);
	gates_wait_entered(1);
	callers_start(&callers[1], FOLLOWERS, TEST_KO,
		      "gate=0 interruptible=1 interrupted=-512", 0);
	callers_settle(&callers[1], FOLLOWERS);
	kill(callers[0].pid, SIGUSR1);
	callers_wait_retried(&self->before, &callers[1], FOLLOWERS);
	wait_entered_or_done(2, callers, 1 + FOLLOWERS);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, 0));
	EXPECT_EQ(2, gates_entered());
	since = stats_since(self->before);
	EXPECT_COUNT(2, since.led);
	EXPECT_COUNT(FOLLOWERS, since.joined);
	EXPECT_COUNT(FOLLOWERS, since.retried);
	SAW("the leader gets a signal with SA_RESTART, 6 wait", "leader %s, %d of them succeed",
	    errno_name(callers[0].err), callers_with(&callers[1], FOLLOWERS, 0));
}

/* Wherever in the loader the signal finds the leader. */
TEST_F(private_end, interrupted_while_it_waits_for_symbols)
{
	struct stats since;

	caller_add(&callers[0], OWNER_KO, "gate=0", 0);
	gates_wait_entered(1);
	callers[1].before = handle;
	for (int i = 1; i <= FOLLOWERS; i++)
		caller_add(&callers[i], BORROWER_KO, "", 0);
	kill(callers[1].pid, SIGUSR1);
	callers_wait(&callers[1], 1);
	EXPECT_EQ(EINTR, callers[1].err);
	callers_wait_retried(&self->before, &callers[2], FOLLOWERS - 1);
	callers_settle(&callers[2], FOLLOWERS - 1);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(FOLLOWERS - 1, callers_with(&callers[2], FOLLOWERS - 1, 0));
	since = stats_since(self->before);
	EXPECT_COUNT(FOLLOWERS - 1, since.retried);
	EXPECT_COUNT(FOLLOWERS - 2, since.joined);
	EXPECT_EQ(0, unload("test_dedup_borrower"));
	EXPECT_EQ(0, unload("test_dedup_owner"));
	SAW("the leader gets a signal while it waits for symbols, 5 wait",
	    "leader %s, %d of them succeed", errno_name(callers[1].err),
	    callers_with(&callers[2], FOLLOWERS - 1, 0));
}

/*
 * The leader's init fails because of who the leader is, or where. Its followers
 * are others, or elsewhere.
 */
static void init_fails(struct __test_metadata *_metadata, struct _test_data_private_end *self,
		       void (*before)(struct caller *c), int err, const char *what)
{
	struct stats since;
	int late;

	mkdir(CONF_DIR, 0755);
	ASSERT_EQ(0, write_file(CONF, "", 0));
	ASSERT_EQ(0, chmod(CONF, 0600));
	start_as(before, OPEN);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);

	EXPECT_EQ(err, callers[0].err);
	/* One of them loads. Others may be so late that they find the module live. */
	late = callers_with(&callers[1], FOLLOWERS, EEXIST);
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, 0) + late)
		TH_LOG("%d followers got the leader's %s",
		       callers_with(&callers[1], FOLLOWERS, err), errno_name(err));
	EXPECT_GT(FOLLOWERS, late);
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));
	ksft_print_msg("saw: init fails because %s, 6 wait: %d of them get %s, %d succeed\n", what,
		       callers_with(&callers[1], FOLLOWERS, err), errno_name(err),
		       callers_with(&callers[1], FOLLOWERS, 0) + late);

	since = stats_since(self->before);
	EXPECT_COUNT(FOLLOWERS, since.retried);
	EXPECT_COUNT(0, since.interrupted);
}

TEST_F(private_end, init_lacks_the_rights_of_the_followers)
{
	init_fails(_metadata, self, become_nobody, EACCES, "the leader is not root");
}

TEST_F(private_end, init_is_in_another_root_folder)
{
	init_fails(_metadata, self, enter_other_root, ENOENT,
		   "the leader is in another root folder");
}

TEST_F(private_end, init_is_among_other_mounts)
{
	init_fails(_metadata, self, enter_other_mounts, ENOENT,
		   "the leader is in another mount namespace");
}

/* If they have no other rights than their leader, trying again is of no use. */
TEST_F(private_end, init_lacks_the_rights_of_all)
{
	mkdir(CONF_DIR, 0755);
	ASSERT_EQ(0, write_file(CONF, "", 0));
	ASSERT_EQ(0, chmod(CONF, 0600));
	for (int i = 1; i <= FOLLOWERS; i++)
		callers[i].before = become_nobody;
	start_as(become_nobody, OPEN);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, EACCES));
	EXPECT_EQ(1, gates_entered());
	EXPECT_COUNT(FOLLOWERS, stats_since(self->before).joined);
	EXPECT_COUNT(0, stats_since(self->before).retried);
}

/* Has IMA appraise some files. Returns why that cannot be, or NULL. */
static const char *appraise(void)
{
	char policy[4096];

	if (access(SECURITYFS "/ima", F_OK))
		mount("securityfs", SECURITYFS, "securityfs", 0, NULL);
	if (access(IMA_POLICY, W_OK))
		return "the kernel has no IMA, or its policy cannot be changed";
	/* Not once more for each run of this test. */
	if (slurp(IMA_POLICY, policy, sizeof(policy)) > 0 && strstr(policy, "fowner=61234"))
		return NULL;
	return spit(IMA_POLICY, APPRAISE) ? "IMA does not take a policy from us" : NULL;
}

/*
 * A file whose contents are not allowed: the same is true for all who call for
 * it, so one of them reads it, and no other.
 */
TEST_F(private_end, denied_because_of_the_contents)
{
	const char *problem = appraise();
	long long failed;
	int readers = 0;

	if (problem)
		SKIP(return, "%s", problem);
	ASSERT_EQ(0, copy_file(TEST_KO, COPY));
	/* While it is at its gate the others come, with a file that is another one by then. */
	caller_add(&callers[0], COPY, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	callers_hold();
	/* Who has opened it before may read it. */
	callers_start(&callers[1], FOLLOWERS, COPY, "", 0);
	ASSERT_EQ(0, chown(COPY, APPRAISED, 0));
	failed = stat_line("Mods failed on kread");
	callers_release();
	callers_settle(&callers[1], FOLLOWERS);
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);

	EXPECT_EQ(EIO, callers[0].err);
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, EACCES));
	EXPECT_EQ(1, gates_entered());
	for (int i = 1; i <= FOLLOWERS; i++)
		readers += callers[i].read >= file_size(COPY);
	EXPECT_EQ(1, readers);
	EXPECT_EQ(failed + 1, stat_line("Mods failed on kread"));
	EXPECT_COUNT(FOLLOWERS - 1, stats_since(self->before).joined);
	EXPECT_COUNT(0, stats_since(self->before).retried);
	SAW("IMA denies a file by its contents, 6 call for it at once",
	    "%d get EACCES, %d read it", callers_with(&callers[1], FOLLOWERS, EACCES), readers);
}

/* An error of that name that the module itself returns is for all. */
TEST_F(private_end, init_returns_eintr)
{
	start("gate=0 fail=-4");
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, EINTR));
	EXPECT_EQ(1, gates_entered());
}

/* Followers without a signal must not restart: they get EINTR. */
TEST_F(private_end, init_returns_erestartsys)
{
	start("gate=0 fail=-512");
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	EXPECT_EQ(512, callers[0].err);
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, EINTR));
	EXPECT_EQ(1, gates_entered());
}

TEST_HARNESS_MAIN
