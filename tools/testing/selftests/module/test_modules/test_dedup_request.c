// SPDX-License-Identifier: GPL-2.0
/*
 * Lets user space call request_module(): write a name to test_dedup_request in
 * debugfs, "&name" for request_module_nowait(), or "*name" to have a kernel
 * thread call it, and read what it returned.
 */

#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kmod.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sprintf.h>
#include <linux/string.h>
#include <linux/uaccess.h>

static struct dentry *file_in_debugfs;

struct asker {
	const char *name;
	long result;
	struct completion done;
};

static int ask(void *data)
{
	struct asker *asker = data;

	asker->result = request_module("%s", asker->name);
	kthread_complete_and_exit(&asker->done, 0);
}

static long request_by_kthread(const char *name)
{
	struct asker asker = { .name = name };
	struct task_struct *task;

	init_completion(&asker.done);
	task = kthread_run(ask, &asker, "test_dedup_asks");
	if (IS_ERR(task))
		return PTR_ERR(task);
	wait_for_completion(&asker.done);
	return asker.result;
}

static ssize_t request_write(struct file *file, const char __user *from, size_t len,
			     loff_t *pos)
{
	char name[80] = "";
	long result;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, from, len))
		return -EFAULT;

	if (name[0] == '&')
		result = request_module_nowait("%s", name + 1);
	else if (name[0] == '*')
		result = request_by_kthread(name + 1);
	else
		result = request_module("%s", name);
	file->private_data = (void *)result;
	return len;
}

static ssize_t request_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	char text[16];
	int size = scnprintf(text, sizeof(text), "%ld\n", (long)file->private_data);

	return simple_read_from_buffer(to, len, pos, text, size);
}

static const struct file_operations request_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.write = request_write,
	.read = request_read,
};

static int __init test_dedup_request_init(void)
{
	file_in_debugfs = debugfs_create_file("test_dedup_request", 0600, NULL, NULL,
					      &request_fops);
	return PTR_ERR_OR_ZERO(file_in_debugfs);
}
module_init(test_dedup_request_init);

static void __exit test_dedup_request_exit(void)
{
	debugfs_remove(file_in_debugfs);
}
module_exit(test_dedup_request_exit);

MODULE_DESCRIPTION("Requests for the module load de-duplication selftests");
MODULE_LICENSE("GPL");
