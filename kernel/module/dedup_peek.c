// SPDX-License-Identifier: GPL-2.0
/*
 * Module load de-duplication: a look at an image in user memory, before it is
 * copied, for init_module().
 *
 * The caller can change the image after this look. So what is found only decides
 * which calls wait for the load of which other call. If the module of that load
 * has another name than the look has found, the calls that waited get no answer
 * from that load.
 */

#include <linux/cleanup.h>
#include <linux/crc32.h>
#include <linux/elf.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/security.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "internal.h"
#include "dedup.h"

/* Images with more sections than this are not looked at. */
#define MODULE_DEDUP_SECTIONS_MAX 512

/* How much of each end of an image is looked at: a look should cost little. */
#define MODULE_DEDUP_END_SIZE SZ_128

/* How many headers of sections are read at once: each read has a price, too. */
#define MODULE_DEDUP_HEADERS 12

/* Images with more names of sections are not looked at: all fits into 4 KiB. */
#define MODULE_DEDUP_NAMES_SIZE (3 * SZ_1K)

/**
 * struct module_dedup_image - an image in user memory
 * @start: where it is, as the caller says
 * @len: its length in bytes, as the caller says
 * @crc: fingerprint of what was looked at
 * @shdrs: some headers of sections
 * @piece: what has just been read, be it headers or the end of something
 * @names: the names of the sections, with a final NUL
 * @names_size: the size of @names in bytes
 * @module: the section with the struct module; its size is 0 if there is none
 * @info: the section with the modinfo; its size is 0 if there is none
 */
struct module_dedup_image {
	const char __user *start;
	unsigned long len;
	u32 crc;
	union {
		Elf_Shdr shdrs[MODULE_DEDUP_HEADERS];
		char piece[MODULE_DEDUP_HEADERS * sizeof(Elf_Shdr)];
	};
	char names[MODULE_DEDUP_NAMES_SIZE];
	size_t names_size;
	Elf_Shdr module;
	Elf_Shdr info;
};

static bool module_dedup_get(const struct module_dedup_image *image, void *to,
			     u64 offset, size_t size)
{
	return size <= image->len && offset <= image->len - size &&
	       !copy_from_user(to, image->start + offset, size);
}

/* Reads so many bytes, and takes them into the fingerprint. */
static bool module_dedup_add(struct module_dedup_image *image, u64 offset, size_t size)
{
	if (!module_dedup_get(image, image->piece, offset, size))
		return false;

	image->crc = crc32c(image->crc, image->piece, size);
	return true;
}

/* The same for the last piece of so many bytes, or for all if they are fewer. */
static bool module_dedup_add_end(struct module_dedup_image *image, u64 offset, u64 size)
{
	u64 last = min_t(u64, size, MODULE_DEDUP_END_SIZE);

	return module_dedup_add(image, offset + (size - last), last);
}

static bool module_dedup_get_names(struct module_dedup_image *image, const Elf_Ehdr *ehdr)
{
	Elf_Shdr names;

	if (!module_dedup_get(image, &names, ehdr->e_shoff +
			      (u64)ehdr->e_shstrndx * sizeof(names), sizeof(names)) ||
	    !names.sh_size || names.sh_size > sizeof(image->names) ||
	    !module_dedup_get(image, image->names, names.sh_offset, names.sh_size))
		return false;

	image->names_size = names.sh_size;
	return !image->names[image->names_size - 1];
}

/* Notes a section that matters. There must not be two of a name. */
static bool module_dedup_note(struct module_dedup_image *image, const Elf_Shdr *shdr)
{
	const char *name;
	Elf_Shdr *section;

	if (shdr->sh_name >= image->names_size)
		return false;

	name = image->names + shdr->sh_name;
	/* A cheap look first: few names begin as the two below do. */
	if (name[0] != '.' || (name[1] != 'm' && name[1] != 'g'))
		return true;

	if (!strcmp(name, ".modinfo"))
		section = &image->info;
	else if (!strcmp(name, ".gnu.linkonce.this_module"))
		section = &image->module;
	else
		return true;

	if (section->sh_size)
		return false;

	*section = *shdr;
	return true;
}

static bool module_dedup_look(struct module_dedup_image *image, char *name)
{
	size_t size = min_t(size_t, image->len, MODULE_DEDUP_END_SIZE);
	unsigned int n;
	Elf_Ehdr ehdr;

	/* Within an image that is longer than memory no offset means anything. */
	if (!access_ok(image->start, image->len) || !module_dedup_add(image, 0, size))
		return false;

	memcpy(&ehdr, image->piece, sizeof(ehdr));
	if (memcmp(ehdr.e_ident, ELFMAG, SELFMAG) ||
	    ehdr.e_shentsize != sizeof(Elf_Shdr) ||
	    ehdr.e_shnum > MODULE_DEDUP_SECTIONS_MAX || ehdr.e_shoff > image->len ||
	    !module_dedup_get_names(image, &ehdr))
		return false;

	for (unsigned int i = 0; i < ehdr.e_shnum; i += n) {
		n = min(ehdr.e_shnum - i, MODULE_DEDUP_HEADERS);
		if (!module_dedup_add(image, ehdr.e_shoff + (u64)i * sizeof(Elf_Shdr),
				      n * sizeof(Elf_Shdr)))
			return false;

		for (unsigned int at = 0; at < n; at++) {
			if (!module_dedup_note(image, &image->shdrs[at]))
				return false;
		}
	}

	return image->module.sh_size == sizeof(struct module) && image->info.sh_size &&
	       module_dedup_add_end(image, image->info.sh_offset, image->info.sh_size) &&
	       module_dedup_add(image, image->len - size, size) &&
	       module_dedup_get(image, image->piece, image->module.sh_offset +
				offsetof(struct module, name), MODULE_NAME_LEN) &&
	       strscpy_pad(name, image->piece, MODULE_NAME_LEN) > 0;
}

/**
 * module_dedup_peek() - find out what a call of init_module() asks for
 * @key: where to, zeroed; as for a file, but all that there is to compare is the
 *	length and a fingerprint of the image
 * @name: set to the name of the module; MODULE_NAME_LEN bytes, zeroed
 * @umod: the image, in user space
 * @len: its length, in bytes
 *
 * The fingerprint is made of the first bytes, where the linker puts the build id,
 * of the last ones, where a signature is, of the headers of the sections, and of
 * the end of the modinfo, which is the version magic. So if the contents differ
 * elsewhere, as in the code, this is not seen.
 *
 * Context: process context, may sleep.
 * Return: 0 if the call can be compared with others, 1 if it cannot be, or a
 * negative errno if a security module denies it.
 */
int module_dedup_peek(struct module_dedup_key *key, char *name,
		      const void __user *umod, unsigned long len)
{
	struct module_dedup_image *image __free(kfree) = NULL;
	int err;

	/* The loader looks at this before it asks the security modules. */
	if (len < sizeof(Elf_Ehdr))
		return 1;

	err = security_kernel_load_data(LOADING_MODULE, true);
	if (err) {
		mod_stat_inc(&failed_kreads);
		mod_stat_add_long(len, &invalid_kread_bytes);
		return err;
	}

	image = kmalloc_obj(*image, GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!image)
		return 1;

	image->start = umod;
	image->len = len;
	image->crc = 0;
	image->module.sh_size = 0;
	image->info.sh_size = 0;
	if (!module_dedup_look(image, name))
		return 1;

	key->id.ino = image->crc;
	key->id.size = len;
	key->id.counts = true;
	return 0;
}
