/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whole files at once: small ones of the kernel, and modules.
 */
#ifndef _MODULE_TEST_FILES_H
#define _MODULE_TEST_FILES_H

#include <stddef.h>

/* Reads a small file into buf, as a string. Returns its length, or -errno. */
int slurp(const char *path, char *buf, size_t size);

/* Writes a string to a file that exists. Returns 0 or -errno. */
int spit(const char *path, const char *text);

/* The size of a file, or -1. */
long file_size(const char *path);

/* Makes path a new file of len bytes. Returns 0 or -errno. */
int write_file(const char *path, const void *data, size_t len);

/* The contents of a file, which the caller frees, or NULL. */
char *read_file(const char *path, size_t *len);

/* Makes a file a copy of another one. Returns 0 or -errno. */
int copy_file(const char *from, const char *to);

/* Memory that this process shares with those that it forks, full of zeros. */
void *shared_memory(size_t size);

#endif /* _MODULE_TEST_FILES_H */
