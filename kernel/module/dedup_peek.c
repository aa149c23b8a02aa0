// SPDX-License-Identifier: GPL-2.0
/*
 * Module load de-duplication: a look at an image in user memory, before it is
 * copied, for init_module().
 *
 * What is found is a hint, since the caller can change the image meanwhile. So it
 * decides who waits for whom, but never what is true of a module: a load whose
 * module turns out to have another name has no answer for anybody.
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

/* So much is looked at at once. */
#define MODULE_DEDUP_PEEK_SIZE SZ_4K

#define MODULE_DEDUP_SECTION ".gnu.linkonce.this_module"

/* An image, as the caller of init_module() describes it. */
struct module_dedup_image {
	const char __user *start;
	unsigned long len;
};

static bool module_dedup_get(const struct module_dedup_image *image, void *to,
			     u64 offset, size_t size)
{
	return size <= image->len && offset <= image->len - size &&
	       !copy_from_user(to, image->start + offset, size);
}

/*
 * Finds the section that holds the struct module. The headers of all sections
 * become part of the fingerprint. Fails if there is not exactly one such section.
 */
static bool module_dedup_find_section(const struct module_dedup_image *image,
				      const Elf_Ehdr *ehdr, Elf_Shdr *shdrs,
				      Elf_Shdr *found, u32 *crc)
{
	const unsigned int at_once = MODULE_DEDUP_PEEK_SIZE / sizeof(*shdrs);
	char name[sizeof(MODULE_DEDUP_SECTION)];
	Elf_Shdr strings;
	unsigned int n;

	found->sh_size = 0;
	if (!module_dedup_get(image, &strings, ehdr->e_shoff +
			      (u64)ehdr->e_shstrndx * sizeof(strings),
			      sizeof(strings)))
		return false;

	for (unsigned int i = 0; i < ehdr->e_shnum; i += n) {
		n = min(ehdr->e_shnum - i, at_once);
		if (!module_dedup_get(image, shdrs, ehdr->e_shoff +
				      (u64)i * sizeof(*shdrs),
				      n * sizeof(*shdrs)))
			return false;

		*crc = crc32c(*crc, shdrs, n * sizeof(*shdrs));
		for (const Elf_Shdr *it = shdrs; it < shdrs + n; it++) {
			if (it->sh_size != sizeof(struct module) ||
			    !module_dedup_get(image, name, (u64)strings.sh_offset +
					      it->sh_name, sizeof(name)) ||
			    memcmp(name, MODULE_DEDUP_SECTION, sizeof(name)))
				continue;

			if (found->sh_size)
				return false;
			*found = *it;
		}
	}
	return found->sh_size;
}

static bool module_dedup_look(const struct module_dedup_image *image, char *name,
			      u32 *crc)
{
	void *page __free(kfree) = kmalloc(MODULE_DEDUP_PEEK_SIZE, GFP_KERNEL);
	size_t size = min_t(size_t, image->len, MODULE_DEDUP_PEEK_SIZE);
	Elf_Shdr found;
	Elf_Ehdr ehdr;

	if (!page || !module_dedup_get(image, page, 0, size))
		return false;

	*crc = crc32c(0, page, size);
	memcpy(&ehdr, page, sizeof(ehdr));
	if (memcmp(ehdr.e_ident, ELFMAG, SELFMAG) ||
	    ehdr.e_shentsize != sizeof(Elf_Shdr) ||
	    ehdr.e_shnum > MODULE_DEDUP_SECTIONS_MAX ||
	    ehdr.e_shoff > image->len ||
	    !module_dedup_find_section(image, &ehdr, page, &found, crc) ||
	    !module_dedup_get(image, name, (u64)found.sh_offset +
			      offsetof(struct module, name), MODULE_NAME_LEN) ||
	    !name[0] || strnlen(name, MODULE_NAME_LEN) == MODULE_NAME_LEN ||
	    !module_dedup_get(image, page, image->len - size, size))
		return false;

	*crc = crc32c(*crc, page, size);
	return true;
}

/**
 * module_dedup_peek() - find out what a call of init_module() asks for
 * @key: where to, zeroed; as for a file, but all that there is to compare is the
 *	length and a fingerprint of the image
 * @name: set to the name of the module; MODULE_NAME_LEN bytes, zeroed
 * @umod: the image, in user space
 * @len: its length, in bytes
 *
 * The fingerprint is made of the first page, the last one, and the headers of
 * the sections.
 *
 * Context: process context, may sleep.
 * Return: 0 if the call can be compared with others, 1 if it cannot be, or a
 * negative errno if a security module denies it.
 */
int module_dedup_peek(struct module_dedup_key *key, char *name,
		      const void __user *umod, unsigned long len)
{
	const struct module_dedup_image image = { .start = umod, .len = len };
	u32 crc;
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

	if (!module_dedup_look(&image, name, &crc))
		return 1;

	key->id.ino = crc;
	key->id.size = len;
	key->id.counts = true;
	return 0;
}
