# SPDX-License-Identifier: GPL-2.0
"""Tests of tools/module/moddedup: on made-up machines, and on what was recorded in real guests."""

import errno
import gzip
import json
import lzma
import re
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from . import image, picture, protocol
from .settings import environment
from .util import TOP

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

MODDEDUP = picture.moddedup()


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
            [sys.executable, image.MODDEDUP, command, "--root", self.root, *rest],
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


class Recorded(Command):
    """Of what vm/job/moddedup has sent from a guest (make moddedup N=6; out/log/moddedup.tap) three blocks."""

    BLOCKS = protocol.blocks((TOP / "host/recorded/moddedup.tap").read_text())

    def setUp(self):
        super().setUp()
        self.text = self.text_of("files") + "\n"
        for part in self.text.split("== ")[1:]:
            name, text = part.split("\n", 1)
            file, _, target = name.lstrip("/").partition(" -> ")
            path = self.put(file, text.encode())
            if target:
                path.unlink()
                path.symlink_to(target)

    def json(self, *words):
        return json.loads(self.good(*words, "--json"))

    def text_of(self, block):
        return "\n".join(self.BLOCKS[block])

    def trace(self, block):
        return str(self.put(block, self.text_of(block).encode()))

    def test_top(self):
        flights = [line.split("\t") for line in self.text.splitlines() if line.startswith(("load\t", "request\t"))]
        lines = self.good("top", "--once").splitlines()
        for flight in flights:
            self.assertTrue(any(all(cell in line for cell in flight) for line in lines), flight)
        found = self.json("top", "--once")
        self.assertEqual([[str(cell) for cell in one.values()] for one in found["flights"]], flights)
        self.assertEqual(found["more"], 0)

    def test_top_with_many(self):
        kernel = self.root / "sys/kernel/debug/modules/dedup"
        first, one = kernel.read_text().splitlines()[:2]
        kernel.write_text("\n".join([first, *[one] * 100, "and 7 more", ""]))
        self.assertIn("\nand 7 more\n", self.good("top", "--once"))
        kernel.write_text(f"{first}\n")
        self.assertIn("(nothing in flight)", self.good("top", "--once"))

    def test_why(self):
        load, behind, request = self.json("why", "test_dedup")
        self.assertEqual((load["kind"], behind["kind"], request["kind"]), ("load", "load", "request"))
        self.assertIn("test_dedup_gate_pass", load["loader"]["stack"][0])
        commands = [task["command"] for task in load["waiters"]]
        self.assertEqual(commands.count("modprobe test_dedup"), load["followers"])
        self.assertEqual(load["in_line"], [behind["leader"]])
        self.assertEqual(len(request["waiters"]), request["followers"])
        self.assertEqual(request["helper"]["runs_for"], f"request for test_dedup by {request['leader']}")
        said = self.good("why", "test-dedup.ko.xz")
        for text in (
            f"Load of test_dedup.ko by {load['leader']}, for ",
            f"; {load['followers']} wait for it.",
            " sleeps in\n    test_dedup_gate_pass+",
            f"In line behind it: {behind['leader']}",
            f"It waits for: {request['waits_for']}",
        ):
            self.assertIn(text, said)

    def test_why_names_the_request_of_a_parent(self):
        load, _, request = self.json("why", "test_dedup")
        child, helper = (re.search(r"\d+", task["task"])[0] for task in (load["waiters"][0], request["helper"]))
        self.assertIsNone(load["waiters"][0]["runs_for"])
        stat = self.root / f"proc/{child}/task/{child}/stat"
        stat.write_text(re.sub(r"(\) \S) \d+", rf"\1 {helper}", stat.read_text()))
        load, *_ = self.json("why", "test_dedup")
        self.assertEqual(load["waiters"][0]["runs_for"], request["helper"]["runs_for"])

    def test_why_nothing(self):
        self.put("sys/module/snd_hda/initstate", b"coming\n")
        self.assertEqual(self.good("why", "snd-hda"), "Nothing of that name is in flight; snd_hda is coming.\n")
        self.assertEqual(self.json("why", "other"), [])
        self.assertIn("other is not loaded", self.good("why", "other"))

    def test_stats(self):
        counters = self.json("stats")
        self.assertEqual(set(counters), set(MODDEDUP.MEANINGS))
        for name, value in counters.items():
            self.assertIn(f" {name}\t{value}\n", self.text)
        self.assertRegex(self.good("stats"), rf"(?m)^ *{counters['Requests led']}  Requests led .*modprobe")
        # So it is without CONFIG_MODULE_STATS.
        folder = self.root / "sys/kernel/debug/modules"
        (folder / "stats").rename(folder / "dedup_stats")
        self.assertEqual(self.json("stats"), counters)

    def test_each_counter_has_a_meaning(self):
        labels = re.findall(r'^    [A-Z_]+\(c"(.*)", \d+\);$', (TOP / "kernel/module/dedup/stats.rs").read_text(), re.M)
        self.assertEqual([MODDEDUP.WASTED, *labels], list(MODDEDUP.MEANINGS))

    def test_blame(self):
        found = self.json("blame", self.trace("after"))
        first = found["loads"][0]
        self.assertEqual((first["name"], first["module"], first["result"]), ("test_dedup.ko", "test_dedup", 0))
        text = self.text_of("after")
        for event in "lead", "join", "retry":
            self.assertEqual(found["calls"][event], text.count(f"module_dedup_{event}: "))
        waits = re.findall(r"module_dedup_(?:done|retry): .* waited_ns=([1-9]\d*)", text)
        self.assertEqual(sum(load["waits"] for load in found["loads"]), found["calls"]["join"])
        self.assertEqual(sum(load["waited_ns"] for load in found["loads"]), sum(map(int, waits)))
        self.assertEqual(found["calls"]["interrupted"], 0)

    def test_blame_for_people(self):
        file = self.trace("after")
        lines = self.good("blame", file).splitlines()
        self.assertRegex(lines[1], r"^ *[\d.]+ s +[\d.]+ s +\d+ +[\d.]+ s  load +test_dedup.ko +modprobe\[\d+\] +0$")
        self.assertRegex(lines[-1], r"^\d+ calls led, \d+ joined")
        self.assertIn("and 1 more", self.good("blame", "-n", str(len(lines) - 4), file))

    def test_order_of_blame(self):
        both = str(self.put("both", f"{self.text_of('after')}\n{self.text_of('trace-cmd')}".encode()))
        orders = {"time": lambda load: load["seconds"] or 0, "waits": lambda load: load["waited_ns"]}
        found = {by: self.json("blame", "--by", by, both)["loads"] for by in orders}
        for by, key in orders.items():
            self.assertEqual(found[by], sorted(found[by], key=key, reverse=True))
        self.assertNotEqual(*found.values())

    def test_blame_of_trace_cmd(self):
        gate, storm = sorted(self.json("blame", self.trace("trace-cmd"))["loads"], key=lambda load: load["waits"])
        self.assertEqual((gate["result"], storm["name"], storm["waits"]), (-errno.EEXIST, "test_dedup_big.ko", 3))

    def test_blame_of_this_machine(self):
        self.put("sys/kernel/tracing/trace", self.text_of("after").encode())
        self.assertEqual(self.good("blame"), self.good("blame", self.trace("after")))

    def test_blame_without_loads(self):
        self.put("sys/kernel/tracing/trace", b"# tracer: nop\n")
        self.bad("trace_event=module_dedup:*", "blame")
        self.bad("there are no loads in", "blame", str(self.put("nothing", b"")))
        self.bad("No such file", "blame", str(self.root / "missing"))
        # As trace-cmd does, which writes more than these bytes.
        self.bad("trace-cmd", "blame", str(self.put("trace.dat", b"\x17\x08\x44tracing6\0")))

    def test_lost_events(self):
        lost = f"CPU:1 [LOST 12 EVENTS]\n{self.text_of('trace-cmd')}"
        self.assertIn("12 events were lost", self.good("blame", str(self.put("lost", lost.encode()))))

    def test_not_mounted(self):
        mounts = self.root / "proc/mounts"
        mounts.write_text(re.sub(r"(?m)^(debugfs|tracefs) .*\n", "", mounts.read_text()))
        for words in (["top", "--once"], ["why", "a"], ["stats"]):
            self.bad("debugfs is not mounted: mount -t debugfs", *words)
        self.bad("tracefs is not mounted: mount -t tracefs", "blame")

    def test_not_patched(self):
        (self.root / "sys/module/module/parameters/dedup").unlink()
        for words in (["top", "--once"], ["why", "a"], ["stats"]):
            self.bad("this kernel has no module load de-duplication", *words)

    def test_off(self):
        self.put("sys/module/module/parameters/dedup", b"off\n")
        done = self.run_it("stats")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (0, 1))
        self.assertIn("module.dedup=off", done.stderr)
        self.assertIn("Flights led", done.stdout)

    def test_not_root(self):
        with (
            unittest.mock.patch.object(Path, "read_text", side_effect=PermissionError),
            self.assertRaisesRegex(MODDEDUP.Trouble, "only root"),
        ):
            MODDEDUP.System("/").read("/sys/kernel/debug/modules/dedup")


if __name__ == "__main__":
    unittest.main()
