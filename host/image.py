# SPDX-License-Identifier: GPL-2.0
"""The guest's file system: an initramfs of programs, the modules and the selftests.

The programs are those of this machine, or of Debian's packages if the guest is of another architecture.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

from . import tools
from .kernel import alone
from .util import TOP, Failure, output_of

# busybox gives all other commands, but these are the real ones.
PROGRAMS = ("kmod", "bash", "mkfs.minix", "perf", "timeout", "trace-cmd")
KMOD_NAMES = ("modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod")
MODDEDUP = TOP / "tools/module/moddedup"
# Prints the files of the library of Python that a script makes it read, if that is the first argument.
IMPORTS = """
import runpy, sys, sysconfig
runpy.run_path(sys.argv[1])
library = sysconfig.get_path("stdlib") + "/"
for module in list(sys.modules.values()):
    for file in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
        if file and file.startswith(library) and "/site-packages/" not in file:
            print(file)
"""


class Programs:
    """Where programs for a guest are, and the libraries that they need."""

    def __init__(self, arch):
        self.arch = arch
        self.root = tools.guest_root()

    def which(self, program):
        if not self.root:
            return tools.which(program)
        places = (self.root / folder / program for folder in ("bin", "sbin", "usr/bin", "usr/sbin"))
        return next(filter(Path.is_file, places), None)

    def libraries(self, program):
        """The libraries of a program: {place in the guest: file}."""
        if not self.root:
            return {path: path for path in re.findall(r"(/\S+) \(0x", output_of(["ldd", program]) or "")}
        found, new = {}, {Path(program)}
        while new:
            names = {name for path in new for name in needed(path)}
            new = {path for name in names - found.keys() for path in self.library(name)}
            found |= {path.name: path for path in new}
        return {f"/lib/{name}": path for name, path in found.items()}

    def library(self, name):
        """The files, one or none, that are a library of that name."""
        folders = [f"{usr}lib{sub}" for usr in ("", "usr/") for sub in (f"/{self.arch.machine}-linux-gnu", "")]
        return [path for folder in folders if (path := self.root / folder / name).is_file()][:1]


@functools.cache
def needed(path):
    """The names of the libraries that a file says it needs; what is no program needs none."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output_of(["readelf", "-d", path]) or "")


class Image:
    """A list of files, as usr/gen_init_cpio of the kernel reads it."""

    def __init__(self, programs):
        self.programs = programs
        self.entries = {}

    def folder(self, place):
        place = Path(place)
        for parent in [*reversed(place.parents), place]:
            if str(parent) != "/":
                self.entries.setdefault(str(parent), f"dir {parent} 0755 0 0")

    def file(self, place, source):
        place, source = Path(place), Path(source)
        self.folder(place.parent)
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.entries[str(place)] = f"file {place} {source.resolve()} {mode:04o} 0 0"

    def link(self, place, to):
        place = Path(place)
        self.folder(place.parent)
        self.entries.setdefault(str(place), f"slink {place} {to} 0777 0 0")

    def program(self, place, source):
        """A program with the libraries that it needs."""
        self.file(place, source)
        for library, path in self.programs.libraries(source).items():
            self.file(library, path)

    def script(self, place, source):
        """A Python script, with the interpreter that runs this, and what it imports, at their places."""
        self.file(place, source)
        interpreter = Path(sys.executable).resolve()
        self.program(interpreter, interpreter)
        self.link("/bin/python3", interpreter)
        for file in (output_of([interpreter, "-I", "-c", IMPORTS, source]) or "").splitlines():
            if Path(file).is_file():
                self.program(file, file) if file.endswith(".so") else self.file(file, file)

    def tree(self, place, source):
        for path in sorted(Path(source).rglob("*")):
            if path.is_file():
                self.program(Path(place) / path.relative_to(source), path)
            elif path.is_dir() and not path.is_symlink():
                self.folder(Path(place) / path.relative_to(source))


@alone
def build(kernel):
    """Writes the initramfs for a kernel that was built and staged. Returns its path."""
    programs = Programs(kernel.arch)
    image = Image(programs)
    for name in ("bin", "dev", "proc", "sys", "tmp", "root"):
        image.folder(f"/{name}")
    for name in ("/sbin", "/usr/bin", "/usr/sbin"):
        image.link(name, "/bin")
    image.entries["/dev/console"] = "nod /dev/console 0600 0 0 c 5 1"

    image.program("/bin/busybox", programs.which("busybox"))
    looks_in = kernel.variant == "large"
    for program in (*PROGRAMS, *(["bpftrace"] if looks_in else [])):
        path = programs.which(program)
        if path:
            image.program(f"/bin/{program}", path)
    for name in KMOD_NAMES:
        image.link(f"/bin/{name}", "kmod")
    if not kernel.arch.native:
        # Where programs for x86_64 have the path of their loader.
        image.link("/lib64", "/lib")
    # The shell of busybox would prefer its own modprobe to the real one.
    image.link("/bin/sh", "bash")
    # Of the one for this machine, which is of the same version.
    for name in (output_of([tools.which("busybox"), "--list"]) or "").split():
        if f"/bin/{name}" not in image.entries:
            image.link(f"/bin/{name}", "busybox")

    if kernel.arch.native:
        # With this machine's Python.
        image.script("/bin/moddedup", MODDEDUP)

    image.file("/init", TOP / "vm/init")
    image.tree("/job", TOP / "vm/job")
    if looks_in:
        image.tree("/job/tools", MODDEDUP.parent)
    image.tree("/lib/modules", kernel.staging / "lib/modules")
    image.tree("/selftests", kernel.staging / "selftests")
    image.tree("/bench", kernel.staging / "bench")

    listing = kernel.folder / "initramfs.list"
    listing.write_text("\n".join(image.entries.values()) + "\n")
    target = kernel.folder / "initramfs.cpio"
    # A guest may be reading the one before.
    part = target.with_name(target.name + ".new")
    with open(part, "wb") as out:
        result = subprocess.run(
            [kernel.folder / "usr/gen_init_cpio", listing], stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    if result.returncode:
        raise Failure(f"The initramfs could not be written: {result.stderr.strip()}")
    part.replace(target)
    return target
