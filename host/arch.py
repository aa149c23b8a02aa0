# SPDX-License-Identifier: GPL-2.0
"""What differs from one architecture to the next: all of it is here, and in vm/NAME.config."""

import functools
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """An architecture of guests."""

    # As the kernel's Makefile calls it, uname -m, and Debian.
    name: str
    machine: str
    debian: str
    # What QEMU boots: a file in the folder of a build, and a target of the kernel's Makefile.
    image: str
    # The Debian package of QEMU; and what QEMU is told.
    qemu: str
    board: str
    cpu: str
    # The terminal of the kernel log, which is on the first serial port.
    console: str
    # The terminal of what runs in the guest; and how QEMU writes that to a file.
    output: str
    output_port: tuple
    firmware: tuple = ()
    # For the kernel command line; and what goes there on emulated CPUs only.
    words: tuple = ()
    emulated: tuple = ()

    @property
    def native(self):
        """Whether this machine is one, and needs neither another compiler nor other programs."""
        return os.uname().machine == self.machine

    @property
    def cross(self):
        """What the names of the compiler and its tools begin with."""
        return "" if self.native else f"{self.machine}-linux-gnu-"

    @property
    def variables(self):
        """What make is told to build a kernel, and what belongs to it."""
        return [] if self.native else [f"ARCH={self.name}", f"CROSS_COMPILE={self.cross}"]

    @property
    def programs(self):
        """The programs that a build and a guest need, and their Debian packages."""
        compiler = {} if self.native else {f"{self.cross}gcc": f"gcc-{self.machine.replace('_', '-')}-linux-gnu"}
        return {self.emulator: self.qemu} | compiler

    @property
    def headers(self):
        """The same for headers."""
        if self.native:
            return {}
        return {f"/usr/{self.machine}-linux-gnu/include/stdio.h": f"libc6-dev-{self.debian}-cross"}

    @property
    def emulator(self):
        return f"qemu-system-{self.machine}"


ARCHES = (
    Arch(
        name="x86_64",
        machine="x86_64",
        debian="amd64",
        image="vmlinux",
        qemu="qemu-system-x86",
        board="q35",
        cpu="max",
        console="ttyS0",
        output="ttyS1",
        output_port=("-serial", "file:{}"),
        firmware=("/usr/share/qemu/qboot.rom", "/usr/share/qemu-kvm/qboot.rom"),
        words=("tsc=reliable",),
        # Saves each CPU a calibration of two seconds.
        emulated=("lpj=5000000",),
    ),
)


@functools.cache
def guest():
    """The architecture of the guests."""
    return ARCHES[0]
