# SPDX-License-Identifier: GPL-2.0
"""Kernels with a configuration from elsewhere: Debian's own (CONFIG=debian), or a file of the user's."""

import gzip
import hashlib
import lzma
import shutil
import subprocess
from pathlib import Path

from . import apt, series, source, tools
from .kernel import Kernel, alone
from .settings import asked
from .util import CACHE, Failure, log_file, output_of, run, say

# What is set in it. Debian's keys are not ours, and its other names of files are not there either.
WANTED = ("RUST", "MODULE_DEDUP", "MODULE_DEBUG", "MODULE_STATS")
EMPTY = ("SYSTEM_TRUSTED_KEYS", "SYSTEM_REVOCATION_KEYS")
# What such kernels need to be built, besides what all do.
PROGRAMS = {"pahole": "pahole"}
HEADERS = {"dwarf.h": "libdw-dev"}


def debian(tree):
    """Debian's configuration of the kernel in a tree, or of the one that is nearest; fetched once."""
    version = ".".join(map(str, series.kernel_version(tree)))
    place = CACHE / f"config/debian-{version}"
    if place.is_file():
        return place.read_bytes()
    suites = apt.Suites(source.SUITES)
    log = suites.update()
    name = f"linux-config-{'.'.join(version.split('.')[:2])}"
    versions = suites.versions(name).get(name)
    if not versions:
        raise Failure(f"Debian has no package {name}, or its package lists cannot be read; the log is {log}.")
    machine = (output_of(["dpkg", "--print-architecture"]) or "").strip()
    package = suites.download(name, max(versions, key=lambda one: (one.startswith(f"{version}-"), apt.version_of(one))))
    try:
        archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=False).stdout
        member = f"./usr/src/{name}/config.{machine}_none_{machine}.xz"
        packed = subprocess.run(["tar", "xO", member], input=archive, capture_output=True, check=False).stdout
    finally:
        shutil.rmtree(package.parent, ignore_errors=True)
    if not packed:
        raise Failure(f"{package.name} has no {member}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(lzma.decompress(packed))
    return place.read_bytes()


def of_file(name):
    """A configuration as it is in /boot, or in /proc/config.gz."""
    try:
        data = Path(name).expanduser().read_bytes()
    except OSError as error:
        raise Failure(f"CONFIG={name} cannot be read: {error.strerror}. CONFIG=debian is the one of Debian.") from error
    unpack = {b"\x1f\x8b": gzip.decompress, b"\xfd7": lzma.decompress}.get(data[:2], bytes)
    data = unpack(data)
    if b"CONFIG_" not in data:
        raise Failure(f"CONFIG={name} is not the configuration of a kernel.")
    return data


class Distributed(Kernel):
    """A kernel with a configuration from elsewhere, and with what we need."""

    def __init__(self, toolchain, tree, given):
        self.given = debian(Path(tree)) if given == "debian" else of_file(given)
        self.loaded = asked().modules == "loaded"
        name = "debian" if given == "debian" else f"config-{hashlib.sha256(self.given).hexdigest()[:8]}"
        super().__init__(toolchain, tree, f"{name}-loaded" if self.loaded else name)

    @alone
    def configure(self):
        """Writes .config, once; fails if the kernel does not take what we need."""
        seed = self.folder / "module-dedup.config"
        stamp = self.given + " ".join([*self.variables, *WANTED]).encode()
        if (self.folder / ".config").is_file() and seed.is_file() and seed.read_bytes() == stamp:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / ".config"
        config.write_bytes(self.given)
        words = [word for name in WANTED for word in ("-e", name)]
        words += [word for name in EMPTY for word in ("--set-str", name, "")]
        log = log_file(f"configure-{self.name}.log")
        script = self.source / "scripts/config"
        run([script, "--file", config, *words], log=log, what="Configuring the kernel")
        for target in ("olddefconfig", *(("localmodconfig", "olddefconfig") if self.loaded else ())):
            self.make(target, what="Configuring the kernel", progress=False, log=log)
        got = config.read_text().splitlines()
        lost = [name for name in WANTED if f"CONFIG_{name}=y" not in got]
        if lost:
            raise Failure(
                f"With this configuration the kernel does not take {', '.join(lost)}. "
                f"make -C {self.source} O={self.folder} menuconfig says what that needs; the log is {log}."
            )
        seed.write_bytes(stamp)


def kernel():
    """The kernel that CONFIG= asks for."""
    tools.require(PROGRAMS, HEADERS)
    toolchain = tools.ensure()
    _, patched = source.trees(toolchain)
    say(f"Configuring the kernel as in {asked().config}")
    return Distributed(toolchain, patched, asked().config)
