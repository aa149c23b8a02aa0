// SPDX-License-Identifier: GPL-2.0
/*
 * Gates that user space opens and closes, so that a test decides when the init
 * function of a module goes on, or a load that has failed, and needs no clock.
 *
 * Everything is a parameter below /sys/module/test_dedup_gate/parameters/, but for
 * memory that is behind a gate: page N of the device test_dedup_gate, which can be
 * mapped, is there once gate N is open.
 */

#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/minmax.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/sched.h>
#include <linux/sprintf.h>
#include <linux/wait.h>

#include "test_dedup_gate.h"

#define GATES 32
#define LOG_MAX 512

static DECLARE_WAIT_QUEUE_HEAD(gate_wait);
static DEFINE_MUTEX(log_lock);

static unsigned int gates_open;
static int going_gate = -1;
static unsigned int going;
static int live_gate = -1;
static int log_tags[LOG_MAX];
static unsigned int log_len;

/* open: a mask of the gates that are open. */
static int gates_open_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		wake_up_all(&gate_wait);
	return err;
}

static const struct kernel_param_ops gates_open_ops = {
	.set = gates_open_set,
	.get = param_get_uint,
};
module_param_cb(open, &gates_open_ops, &gates_open, 0644);

/* log: the tags of the modules that came by, in order. Write to clear it. */
static int log_set(const char *val, const struct kernel_param *kp)
{
	guard(mutex)(&log_lock);
	log_len = 0;
	return 0;
}

static int log_get(char *buf, const struct kernel_param *kp)
{
	int len = 0;

	guard(mutex)(&log_lock);
	for (unsigned int i = 0; i < min(log_len, LOG_MAX); i++)
		len += scnprintf(buf + len, PAGE_SIZE - len, "%s%d", i ? " " : "", log_tags[i]);
	return len;
}

static const struct kernel_param_ops log_ops = {
	.set = log_set,
	.get = log_get,
};
module_param_cb(log, &log_ops, NULL, 0644);

/* entered: how often a module came by since the log was cleared. */
static int entered_get(char *buf, const struct kernel_param *kp)
{
	guard(mutex)(&log_lock);
	return scnprintf(buf, PAGE_SIZE, "%u\n", log_len);
}

static const struct kernel_param_ops entered_ops = {
	.get = entered_get,
};
module_param_cb(entered, &entered_ops, NULL, 0444);

/* going_gate: the gate for modules that are on their way out, or -1. */
module_param(going_gate, int, 0644);

/* going: how many have come there. */
module_param(going, uint, 0644);

/* live_gate: the gate for modules that have become live, whose load goes on, or -1. */
module_param(live_gate, int, 0644);

/* Also tells of a module whose load has failed, before anything of it is freed. */
static int gates_notify(struct notifier_block *block, unsigned long event, void *module)
{
	const unsigned int state = TASK_IDLE | TASK_WAKEKILL;
	int gate = -1;

	if (event == MODULE_STATE_GOING)
		gate = READ_ONCE(going_gate);
	else if (event == MODULE_STATE_LIVE)
		gate = READ_ONCE(live_gate);
	if (gate < 0 || gate >= GATES)
		return NOTIFY_DONE;

	if (event == MODULE_STATE_GOING) {
		guard(mutex)(&log_lock);
		going++;
	}
	wait_event_state(gate_wait, READ_ONCE(gates_open) & BIT(gate), state);
	return NOTIFY_OK;
}

static struct notifier_block gates_block = {
	.notifier_call = gates_notify,
};

/**
 * test_dedup_gate_pass() - note that a module came by, and wait for its gate
 * @gate: which gate, or -1 to wait for none
 * @tag: what to note
 * @interruptible: whether a signal ends the wait; if not, only SIGKILL does
 *
 * Return: 0, or -EINTR after a signal.
 */
int test_dedup_gate_pass(int gate, int tag, bool interruptible)
{
	/* Idle: a test can tell this sleep from one on the way to the gate. */
	unsigned int state = TASK_IDLE | TASK_WAKEKILL;

	scoped_guard(mutex, &log_lock) {
		if (log_len < LOG_MAX)
			log_tags[log_len] = tag;
		log_len++;
	}

	if (gate < 0 || gate >= GATES)
		return 0;

	if (interruptible)
		state = TASK_INTERRUPTIBLE;
	if (wait_event_state(gate_wait, READ_ONCE(gates_open) & BIT(gate), state))
		return -EINTR;
	return 0;
}
EXPORT_SYMBOL_GPL(test_dedup_gate_pass);

static vm_fault_t memory_fault(struct vm_fault *vmf)
{
	if (test_dedup_gate_pass(vmf->pgoff, 0, false))
		return VM_FAULT_SIGBUS;

	vmf->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return vmf->page ? 0 : VM_FAULT_OOM;
}

static const struct vm_operations_struct memory_vm_ops = {
	.fault = memory_fault,
};

static int memory_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &memory_vm_ops;
	return 0;
}

static const struct file_operations memory_fops = {
	.owner = THIS_MODULE,
	.mmap = memory_mmap,
};

static struct miscdevice memory = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "test_dedup_gate",
	.fops = &memory_fops,
};

static int __init test_dedup_gate_init(void)
{
	int err = misc_register(&memory);

	if (err)
		return err;

	err = register_module_notifier(&gates_block);
	if (err)
		misc_deregister(&memory);
	return err;
}
module_init(test_dedup_gate_init);

static void __exit test_dedup_gate_exit(void)
{
	unregister_module_notifier(&gates_block);
	misc_deregister(&memory);
}
module_exit(test_dedup_gate_exit);

MODULE_DESCRIPTION("Gates for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
