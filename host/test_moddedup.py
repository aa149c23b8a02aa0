# SPDX-License-Identifier: GPL-2.0
"""Tests of tools/module/moddedup, on made-up machines."""

import gzip
import lzma
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from .settings import environment
from .util import TOP

PROGRAM = TOP / "tools/module/moddedup"

PLAIN = b"\x7fELF" + bytes(60)
ZSTD = b"\x28\xb5\x2f\xfd" + bytes(60)
FILES = {
    "a.ko": PLAIN,
    "a.ko.zst": ZSTD,
    "a.ko.gz": gzip.compress(PLAIN),
    "a.ko.xz": lzma.compress(PLAIN, check=lzma.CHECK_CRC32),
    "b.ko.xz": lzma.compress(PLAIN, check=lzma.CHECK_CRC64),
}
COPIES = "modprobe decompresses them, and calls init_module()"
IN_KERNEL = "modprobe calls finit_module(), and the kernel decompresses"
BROKEN = "modprobe calls finit_module(), and the kernel\n  cannot"


class Command(unittest.TestCase):
    """A folder with the files of a machine, for the command to look at."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def put(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def put_modules(self, *names):
        for name in names:
            self.put(f"lib/modules/1.2.3/kernel/drivers/{name}", FILES[name])

    def put_program(self, name, text):
        self.put(f"bin/{name}", f"#!/bin/sh\n{text}\n".encode()).chmod(0o755)

    def run_it(self, *words):
        path = f"{self.root}/bin:{environment()['PATH']}"
        command, *rest = words
        return subprocess.run(
            [sys.executable, PROGRAM, command, "--root", self.root, *rest],
            env=environment({"PATH": path}),
            capture_output=True,
            text=True,
        )

    def good(self, *words):
        """What a command prints, that succeeds."""
        done = self.run_it(*words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def bad(self, text, *words):
        """That a command fails, with one line."""
        done = self.run_it(*words)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)


class Check(Command):
    def words(self, kmod):
        return ["check", "--release", "1.2.3", *(["--kmod", kmod] if kmod else [])]

    def says(self, *texts, kmod="34"):
        said = self.good(*self.words(kmod))
        for text in texts:
            self.assertIn(text, said)
        return said

    def fails(self, text, kmod="34"):
        self.bad(text, *self.words(kmod))

    def test_plain_files(self):
        self.put_modules("a.ko")
        for version in "30", "34":
            said = self.says("Modules, not compressed: 1. modprobe calls finit_module().", kmod=version)
            self.assertNotIn(" init_module", said)

    def test_kernel_that_decompresses(self):
        for form, name in ("zstd", "a.ko.zst"), ("gzip", "a.ko.gz"), ("xz", "a.ko.xz"):
            with self.subTest(form):
                self.put_modules(name)
                self.put("sys/module/compression", f"{form}\n".encode())
                self.says(f"decompresses {form};", f"Modules, {form}: 1. {IN_KERNEL}", kmod="31")
                self.says(f"Modules, {form}: 1. {COPIES}", kmod="30")

    def test_kernel_that_does_not(self):
        self.put_modules("a.ko.zst", "a.ko.xz")
        self.says("decompresses nothing", f"Modules, zstd: 1. {COPIES}", f"Modules, xz: 1. {COPIES}")
        self.put("sys/module/compression", b"xz\n")
        self.says(f"Modules, zstd: 1. {COPIES}", f"Modules, xz: 1. {IN_KERNEL}")

    def test_check_that_the_kernel_does_not_know(self):
        self.put_modules("a.ko.xz", "b.ko.xz")
        other = "Modules, xz with another check than CRC32: 1."
        self.says(f"{other} {COPIES}", f"Modules, xz: 1. {COPIES}")
        self.put("sys/module/compression", b"xz\n")
        self.says(f"{other} {BROKEN}", f"Modules, xz: 1. {IN_KERNEL}")
        self.says(f"{other} {COPIES}", kmod="30")

    def test_contents_decide_and_not_the_suffix(self):
        self.put("lib/modules/1.2.3/a.ko.xz", PLAIN)
        self.says("Modules, not compressed: 1.")

    def test_modules_of_others(self):
        self.put_modules("a.ko")
        self.put("lib/modules/1.2.3/build/b.ko", PLAIN)
        self.put("lib/modules/1.2.4/b.ko", PLAIN)
        self.put("elsewhere/b.ko", PLAIN)
        (self.root / "lib/modules/1.2.3/source").symlink_to(self.root / "elsewhere")
        self.says("not compressed: 1.")
        # As distributions do with modules that are for several kernels.
        (self.root / "lib/modules/1.2.3/extra.ko").symlink_to(self.root / "elsewhere/b.ko")
        self.says("not compressed: 2.")

    def test_kernels_with_and_without_the_series(self):
        self.put_modules("a.ko")
        self.says("This kernel does not have the series.")
        self.put("sys/module/module/parameters/dedup", b"off\n")
        self.says("This kernel has the series: module.dedup=off.")

    def test_version_of_kmod(self):
        self.put_modules("a.ko")
        self.put_program("kmod", "echo 'kmod version 34.2'; echo '+ZSTD +XZ'")
        self.says("kmod 34.", kmod="")
        self.put_program("kmod", "exit 1")
        self.put_program("modprobe", "echo 'kmod version 29'")
        self.says("kmod 29.", kmod="")

    def test_without_kmod(self):
        self.put_modules("a.ko")
        self.put_program("kmod", "echo 'not found' >&2; exit 127")
        self.put_program("modprobe", "echo 'modprobe: unrecognized option' >&2; exit 1")
        self.fails("no version of kmod", kmod="")

    def test_without_modules(self):
        self.fails("lib/modules/1.2.3 is no folder")
        self.put("lib/modules/1.2.3/modules.dep", b"")
        self.fails("there is no .ko file")

    def test_files_that_cannot_be_read(self):
        self.put_modules("a.ko")
        short = self.put("lib/modules/1.2.3/short.ko", b"\x7fELF")
        self.fails("short.ko is too short")
        (self.root / "lib/modules/1.2.3/kernel/drivers/a.ko").unlink()
        self.fails("short.ko is too short")
        short.unlink()
        self.put_modules("a.ko")
        self.says("not compressed: 1.")


if __name__ == "__main__":
    unittest.main()
