// SPDX-License-Identifier: GPL-2.0
/*
 * Guarantee 4 of Documentation/admin-guide/module-dedup.rst.
 *
 * No caller gains or loses by the credentials of another one. The security
 * modules are asked about each caller before it leads or follows.
 *
 * With SELinux, and a policy of our own (dedup_04_own_rights.conf) that knows
 * of nothing but loading modules. It is enforced only while a test runs, but
 * there is no way to get rid of it before the next boot: so it is loaded only
 * if there is none yet.
 */

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "lib/harness.h"

#define SELINUX "/sys/fs/selinux/"
#define POLICY "dedup_04_own_rights.policy"
#define CONTEXT "/proc/self/attr/current"

/* May load modules. What everybody is who lived when the policy was loaded. */
#define LOADER "system_u:system_r:loader_t"
/* May not. */
#define DENIED "system_u:system_r:denied_t"
/* May or may not, as a boolean of the policy says. */
#define FICKLE "system_u:system_r:fickle_t"

#define FOLLOWERS 6
#define MANY 8
#define ROUNDS 6

FIXTURE(own_rights) {
	struct stats before;
};

/* If this fails the caller stays what it was, and its call tells. */
static void become(const char *context)
{
	int err = spit(CONTEXT, context);

	if (err)
		fprintf(stderr, "# no change to %s: %s\n", context, strerror(-err));
}

static void be_denied(struct caller *c)
{
	become(DENIED);
}

static void be_fickle(struct caller *c)
{
	become(FICKLE);
}

static void set_fickle(bool may)
{
	spit(SELINUX "booleans/fickle_may_load", may ? "1" : "0");
	spit(SELINUX "commit_pending_bools", "1");
}

/* Why there can be no policy of ours, or NULL. */
static const char *policy_problem(void)
{
	if (access(SELINUX, F_OK))
		return "the kernel has no SELinux, or it is switched off";
	if (access(SELINUX "load", F_OK) &&
	    mount("selinuxfs", SELINUX, "selinuxfs", 0, NULL))
		return "selinuxfs cannot be mounted";
	if (access(POLICY, R_OK))
		return POLICY " is missing: it is built if there is a checkpolicy";
	return NULL;
}

static bool policy_loaded(void)
{
	char context[256];

	/* Without a policy, contexts are single words. */
	return slurp(CONTEXT, context, sizeof(context)) > 0 && strchr(context, ':');
}

static bool policy_is_ours(void)
{
	char context[256];

	return slurp(CONTEXT, context, sizeof(context)) > 0 &&
	       !strncmp(context, LOADER, strlen(LOADER));
}

/* In one write, as the kernel wants it. */
static bool policy_load(void)
{
	int fd = open(SELINUX "load", O_WRONLY | O_CLOEXEC);
	size_t len = 0;
	char *data = read_file(POLICY, &len);
	bool loaded = data && write(fd, data, len) == (ssize_t)len;

	free(data);
	close(fd);
	return loaded;
}

static void enforce(bool on)
{
	spit(SELINUX "enforce", on ? "1" : "0");
}

static bool enforced(void)
{
	char text[16];

	return slurp(SELINUX "enforce", text, sizeof(text)) > 0 && atoi(text) == 1;
}

FIXTURE_SETUP(own_rights)
{
	const char *problem = policy_problem();

	if (problem)
		SKIP(return, "%s", problem);
	if (!policy_loaded())
		ASSERT_TRUE(policy_load());
	if (!policy_is_ours())
		SKIP(return, "another policy is loaded");

	ASSERT_EQ(0, gates_load());
	gates_reset();
	callers_init();
	set_fickle(true);
	self->before = read_stats();
	enforce(true);
	ASSERT_TRUE(enforced());
}

FIXTURE_TEARDOWN(own_rights)
{
	enforce(false);
	gates_open(~0);
	unload("test_dedup");
}

/* There is nothing to join: the denial is the caller's own, and stays that. */
TEST_F(own_rights, denied_caller_alone_then_others)
{
	callers_release();
	callers[0].before = be_denied;
	caller_start(&callers[0], TEST_KO, "gate=0", 0);
	callers_wait(callers, 1);
	EXPECT_EQ(EACCES, callers[0].err);
	EXPECT_EQ(0, gates_entered());
	EXPECT_FALSE(module_live("test_dedup"));

	callers_start(&callers[1], FOLLOWERS, TEST_KO, "gate=0", 0);
	wait_entered_or_done(1, &callers[1], FOLLOWERS);
	gates_open(1);
	callers_wait(&callers[1], FOLLOWERS);
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, 0));
	EXPECT_EQ(1, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));
}

/* What listens to the records of audit, or -1. */
static int audit_open(void)
{
	struct sockaddr_nl address = {
		.nl_family = AF_NETLINK,
		.nl_groups = 1 << (AUDIT_NLGRP_READLOG - 1),
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* The process that the next denial is about. Waits for it. */
static pid_t audit_next_denied(int fd)
{
	for (;;) {
		union {
			struct nlmsghdr header;
			char bytes[8192];
		} message = { };
		ssize_t len = recv(fd, &message, sizeof(message) - 1, 0);
		const char *pid;

		if (len < (ssize_t)NLMSG_HDRLEN)
			return -1;
		if (message.header.nlmsg_type != AUDIT_AVC)
			continue;
		pid = strstr(NLMSG_DATA(&message.header), " pid=");
		if (pid)
			return atoi(pid + strlen(" pid="));
	}
}

/* There is one question to the security modules, and so one record of the answer. */
TEST_F(own_rights, denied_caller_is_asked_once)
{
	long long failed = stat_line("Mods failed on kread");
	int audit = audit_open(), asked = 0;

	if (audit < 0)
		SKIP(return, "the records of audit cannot be read");
	callers_release();
	/* Records are in order: what comes before that of the second is of the first. */
	for (int i = 0; i < 2; i++) {
		callers[i].before = be_denied;
		caller_start(&callers[i], TEST_KO, "", 0);
		callers_wait(&callers[i], 1);
		EXPECT_EQ(EACCES, callers[i].err);
		EXPECT_GT(file_size(TEST_KO), callers[i].read);
	}
	while (audit_next_denied(audit) == callers[0].pid)
		asked++;
	EXPECT_EQ(1, asked);
	/* As without us. */
	EXPECT_EQ(failed + 2, stat_line("Mods failed on kread"));
	EXPECT_COUNT(0, stats_since(self->before).led);
	SAW("SELinux denies a caller", "that is on record %d time%s", asked, asked == 1 ? "" : "s");
	close(audit);
}

/*
 * Somebody else's load is no way around the rights that a caller lacks: it does
 * not get that result, and does not even wait for it.
 */
TEST_F(own_rights, denied_caller_while_a_flight_is_up)
{
	struct caller *followers = &callers[1];
	struct caller *denied = &callers[1 + FOLLOWERS];
	struct stats since;

	caller_add(&callers[0], TEST_KO, "gate=0", 0);
	gates_wait_entered(1);
	callers_start(followers, FOLLOWERS, TEST_KO, "gate=0", 0);
	callers_settle(followers, FOLLOWERS);

	/* The same call, one with other arguments, and one with other flags. */
	for (int i = 0; i < 3; i++)
		denied[i].before = be_denied;
	caller_add(&denied[0], TEST_KO, "gate=0", 0);
	caller_add(&denied[1], TEST_KO, "tag=9", 0);
	caller_add(&denied[2], TEST_KO, "gate=0", MODULE_INIT_COMPRESSED_FILE);
	EXPECT_EQ(3, callers_done(denied, 3))
		TH_LOG("those who are denied wait for the flight");
	EXPECT_EQ(0, callers_done(callers, 1 + FOLLOWERS));

	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS + 3);
	EXPECT_EQ(3, callers_with(denied, 3, EACCES));
	SAW("SELinux denies 3 callers, a load is up", "%d get EACCES, %d share the load",
	    callers_with(denied, 3, EACCES), callers_with(denied, 3, 0));
	for (int i = 0; i < 3; i++) {
		/* Denied before it read the file. */
		EXPECT_GT(file_size(TEST_KO), denied[i].read);
	}
	EXPECT_EQ(1 + FOLLOWERS, callers_with(callers, 1 + FOLLOWERS, 0));
	EXPECT_EQ(1, gates_entered());

	since = stats_since(self->before);
	EXPECT_COUNT(1, since.led);
	EXPECT_COUNT(FOLLOWERS, since.joined);
	EXPECT_COUNT(0, since.behind);
}

/* It learns nothing of what is loaded, while others do. */
TEST_F(own_rights, denied_late_duplicate)
{
	ASSERT_EQ(0, load(TEST_KO, "", 0));
	callers_release();
	callers[0].before = be_denied;
	caller_start(&callers[0], TEST_KO, "", 0);
	callers_wait(callers, 1);
	EXPECT_EQ(EACCES, callers[0].err);
	EXPECT_GT(file_size(TEST_KO), callers[0].read);
	EXPECT_EQ(EEXIST, load(TEST_KO, "", 0));
	EXPECT_EQ(1, gates_entered());
}

/* The same for init_module(): before, while and after others load. */
TEST_F(own_rights, denied_copies)
{
	struct caller *denied = &callers[1 + FOLLOWERS];
	int audit = audit_open(), asked = 0;
	struct stats since;

	if (audit < 0)
		SKIP(return, "the records of audit cannot be read");
	for (int i = 0; i < 4; i++)
		denied[i].before = be_denied;
	copier_add(&denied[0], TEST_KO, "gate=0");
	EXPECT_EQ(1, callers_done(denied, 1));
	copier_add(&callers[0], TEST_KO, "gate=0");
	gates_wait_entered(1);
	copiers_start(&callers[1], FOLLOWERS, TEST_KO, "gate=0");
	callers_settle(&callers[1], FOLLOWERS);
	copier_add(&denied[1], TEST_KO, "gate=0");
	copier_add(&denied[2], TEST_KO, "tag=9");
	EXPECT_EQ(3, callers_done(denied, 3))
		TH_LOG("those who are denied wait for the flight");
	EXPECT_EQ(0, callers_done(callers, 1 + FOLLOWERS));
	gates_open(1);
	callers_wait(callers, 1 + FOLLOWERS);
	copier_add(&denied[3], TEST_KO, "gate=0");
	callers_wait(denied, 4);
	EXPECT_EQ(4, callers_with(denied, 4, EACCES));
	EXPECT_EQ(0, callers[0].err);
	EXPECT_EQ(FOLLOWERS, callers_with(&callers[1], FOLLOWERS, EEXIST));
	while (audit_next_denied(audit) == denied[0].pid)
		asked++;
	EXPECT_EQ(1, asked);
	since = stats_since(self->before);
	EXPECT_COUNT(1, since.copies_led);
	EXPECT_COUNT(FOLLOWERS, since.copies_joined);
	EXPECT_COUNT(0, since.bypassed);
	close(audit);
}

/* Whoever comes first: those who may load do, with one load, the others do not. */
TEST_F(own_rights, many_of_both_at_once)
{
	int wrong_denied = 0, wrong_allowed = 0;

	for (int round = 0; round < ROUNDS; round++) {
		/* They are woken in the order in which they were started. */
		struct caller *denied = &callers[round % 2 ? MANY : 0];
		struct caller *allowed = &callers[round % 2 ? 0 : MANY];
		int early;

		gates_reset();
		callers_init();
		for (int i = 0; i < MANY; i++)
			denied[i].before = be_denied;
		callers_start(callers, 2 * MANY, TEST_KO, "gate=0", 0);
		callers_release();
		wait_entered_or_done(1, callers, 2 * MANY);
		early = callers_done(denied, MANY);
		gates_open(1);
		callers_wait(callers, 2 * MANY);

		EXPECT_EQ(MANY, callers_with(denied, MANY, EACCES))
			TH_LOG("round %d: %d of those who may not load got 0", round,
			       callers_with(denied, MANY, 0));
		EXPECT_EQ(MANY, early)
			TH_LOG("round %d: %d of those who may not load waited", round,
			       MANY - early);
		EXPECT_EQ(MANY, callers_with(allowed, MANY, 0))
			TH_LOG("round %d: %d of those who may load got EACCES", round,
			       callers_with(allowed, MANY, EACCES));
		EXPECT_EQ(1, gates_entered());
		EXPECT_EQ(0, unload("test_dedup"));
		wrong_denied += MANY - callers_with(denied, MANY, EACCES);
		wrong_allowed += MANY - callers_with(allowed, MANY, 0);
	}
	SAW("8 whom SELinux denies and 8 others at once, 6 times",
	    "%d load all the same, %d others are denied", wrong_denied, wrong_allowed);
}

/*
 * A leader is asked about twice, the second time when its turn has come. If it
 * is no longer allowed to load by then, that is nothing to its followers (which
 * is guarantee 6): they try again.
 */
TEST_F(own_rights, leader_denied_when_its_turn_comes)
{
	struct caller *leader = &callers[1];
	struct caller *followers = &callers[2];
	struct stats since;

	/* It has to wait for its turn: another call for the file is first. */
	caller_add(&callers[0], TEST_KO, "gate=0 fail=-5", 0);
	gates_wait_entered(1);
	leader->before = be_fickle;
	caller_add(leader, TEST_KO, "gate=1", 0);
	callers_start(followers, FOLLOWERS, TEST_KO, "gate=1", 0);
	callers_settle(followers, FOLLOWERS);
	EXPECT_EQ(0, callers_done(callers, 2 + FOLLOWERS));

	set_fickle(false);
	gates_open(1);
	callers_wait(callers, 2);
	EXPECT_EQ(EIO, callers[0].err);
	EXPECT_EQ(EACCES, leader->err);

	/* All have noticed, before the second load may end. */
	callers_wait_retried(&self->before, followers, FOLLOWERS);
	wait_entered_or_done(2, followers, FOLLOWERS);
	gates_open(2);
	callers_wait(followers, FOLLOWERS);
	EXPECT_EQ(FOLLOWERS, callers_with(followers, FOLLOWERS, 0))
		TH_LOG("%d followers got the leader's EACCES",
		       callers_with(followers, FOLLOWERS, EACCES));
	EXPECT_EQ(2, gates_entered());
	EXPECT_TRUE(module_live("test_dedup"));
	SAW("the leader's rights end before it reads, 6 wait", "leader %s, %d succeed",
	    errno_name(leader->err), callers_with(followers, FOLLOWERS, 0));

	since = stats_since(self->before);
	EXPECT_COUNT(3, since.led);
	EXPECT_COUNT(1, since.behind);
	EXPECT_COUNT(FOLLOWERS - 1, since.joined);
	EXPECT_COUNT(FOLLOWERS, since.retried);
}

TEST_HARNESS_MAIN
