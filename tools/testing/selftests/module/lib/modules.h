/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The modules of the tests, and the system calls that load and remove modules.
 */
#ifndef _MODULE_TEST_MODULES_H
#define _MODULE_TEST_MODULES_H

#include <linux/elf.h>
#include <linux/module.h>
#include <stdbool.h>
#include <stddef.h>

#define MODULES_DIR "test_modules/"
/* Its init function does what its arguments say. */
#define TEST_KO MODULES_DIR "test_dedup.ko"
/* The same module under two more names, and in a file of more than a megabyte. */
#define B_KO MODULES_DIR "test_dedup_b.ko"
#define C_KO MODULES_DIR "test_dedup_c.ko"
#define BIG_KO MODULES_DIR "test_dedup_big.ko"
/* The same module with symbols that it exports, and a module that needs these. */
#define OWNER_KO MODULES_DIR "test_dedup_owner.ko"
#define BORROWER_KO MODULES_DIR "test_dedup_borrower.ko"

/* finit_module(). Returns 0 or an errno. */
int finit(int fd, const char *args, int flags);

/* Loads a file by finit_module(). Returns 0 or an errno. */
int load(const char *path, const char *args, int flags);

/* A module in memory, for init_module(). */
struct image {
	char *data;
	size_t len;
};

/*
 * What a file contains, and so many zeros after that. It can be changed, and is
 * there until the process ends. There is no data if that fails.
 */
struct image image_of(const char *path, size_t zeros);

/* The header of its section of that name, or NULL if an image has none. */
struct elf64_shdr *image_section(char *data, const char *name);

/* The page in the middle of an image. */
char *image_middle(const struct image *image);

/*
 * Makes the middle of an image unreadable: that can be compared with another
 * one, but not copied.
 */
void image_hide(const struct image *image);

/* init_module(). Returns 0 or an errno. */
int init(const struct image *image, const char *args);

/* Loads a file by init_module(). Returns 0 or an errno. */
int load_copy(const char *path, const char *args);

/* Loads a module, unless that was done before. Returns 0 or an errno. */
int load_once(const char *path);

/*
 * Makes a file a copy of a module that has another name, which must be as long.
 * Returns 0 or -errno.
 */
int copy_module(const char *from, const char *name, const char *to, const char *other);

/* Returns 0 or an errno. */
int unload(const char *name);

/* Lets removals be quick: each waits for several RCU grace periods. */
void quick_removals(void);

bool module_live(const char *name);

/* A parameter of a loaded module that is a number, or 0 if there is none. */
int module_param(const char *name, const char *param);

/*
 * The test module as a file in the one format that this kernel decompresses,
 * which is for MODULE_INIT_COMPRESSED_FILE. If there is none it returns NULL, and
 * sets the reason.
 */
const char *compressed_module(const char **reason);

/* The names that people know. */
const char *errno_name(int err);

#endif /* _MODULE_TEST_MODULES_H */
