// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init function does what its arguments say.
 */

#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>

#include "test_dedup_gate.h"

#ifdef BALLAST
/* For a file of more than a megabyte. */
static const char __used ballast[BALLAST] = { 1 };
#endif

static int gate = -1;
module_param(gate, int, 0444);
MODULE_PARM_DESC(gate, "the gate to wait for (default: none)");

static int fail;
module_param(fail, int, 0444);
MODULE_PARM_DESC(fail, "what init returns, a negative errno (default: 0)");

static int tag;
module_param(tag, int, 0444);
MODULE_PARM_DESC(tag, "what the gates note in their log");

static bool interruptible;
module_param(interruptible, bool, 0444);
MODULE_PARM_DESC(interruptible, "whether a signal ends the wait for the gate");

static bool oops;
module_param(oops, bool, 0444);
MODULE_PARM_DESC(oops, "whether init ends in an oops");

static char *request = "";
module_param(request, charp, 0444);
MODULE_PARM_DESC(request, "what init requests before it comes to the gate");

static int requested;
module_param(requested, int, 0444);
MODULE_PARM_DESC(requested, "what that request returned");

static char *path = "";
module_param(path, charp, 0444);
MODULE_PARM_DESC(path, "a file that init opens once it is through the gate");

static int interrupted = -EINTR;
module_param(interrupted, int, 0444);
MODULE_PARM_DESC(interrupted, "what init returns after a signal (default: -EINTR)");

static char *text = "";
module_param(text, charp, 0444);
MODULE_PARM_DESC(text, "anything");

/* As drivers do that read a configuration. */
static int __init test_dedup_open(void)
{
	struct file *file = filp_open(path, O_RDONLY, 0);

	if (IS_ERR(file))
		return PTR_ERR(file);
	filp_close(file, NULL);
	return 0;
}

static int __init test_dedup_init(void)
{
	int err;

	if (*request)
		requested = request_module("%s", request);

	err = test_dedup_gate_pass(gate, tag, interruptible);
	if (oops)
		__builtin_trap();
	if (err)
		return interrupted;
	if (*path) {
		err = test_dedup_open();
		if (err)
			return err;
	}
	return fail;
}
module_init(test_dedup_init);

static void __exit test_dedup_exit(void)
{
}
module_exit(test_dedup_exit);

MODULE_DESCRIPTION("A module for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
