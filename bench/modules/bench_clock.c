// SPDX-License-Identifier: GPL-2.0
/*
 * What the init functions of all modules to be measured do: they wait for user
 * space if that is wanted, sleep for so long, and note when they were over, and
 * who ran them. They are without parameters themselves, since each costs time.
 *
 * Everything is a parameter below /sys/module/bench_clock/parameters/.
 */

#include <linux/delay.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include "bench_clock.h"

static DECLARE_WAIT_QUEUE_HEAD(open_wait);

static unsigned int may_go = 1;

static int open_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		wake_up_all(&open_wait);
	return err;
}

static const struct kernel_param_ops open_ops = {
	.set = open_set,
	.get = param_get_uint,
};
module_param_cb(open, &open_ops, &may_go, 0644);
MODULE_PARM_DESC(open, "whether init functions may go on");

static unsigned int sleep_us;
module_param(sleep_us, uint, 0644);
MODULE_PARM_DESC(sleep_us, "how long init functions sleep then, in us");

static unsigned long long ended_ns;
module_param(ended_ns, ullong, 0444);
MODULE_PARM_DESC(ended_ns, "when the last init function was over, on the monotonic clock");

static int leader;
module_param(leader, int, 0444);
MODULE_PARM_DESC(leader, "the process that ran it");

/**
 * bench_clock_init() - what init functions do
 *
 * Return: 0, or -EINTR if the process was killed.
 */
int bench_clock_init(void)
{
	unsigned int state = TASK_IDLE | TASK_WAKEKILL;

	if (wait_event_state(open_wait, READ_ONCE(may_go), state))
		return -EINTR;
	if (sleep_us)
		usleep_range(sleep_us, sleep_us);
	leader = current->pid;
	ended_ns = ktime_get_ns();
	return 0;
}
EXPORT_SYMBOL_GPL(bench_clock_init);

MODULE_DESCRIPTION("The clock of the module load benchmarks");
MODULE_LICENSE("GPL");
