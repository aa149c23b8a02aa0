# SPDX-License-Identifier: GPL-2.0
"""What differs from one architecture to the next: all of it is here, and in vm/NAME.config."""

import functools
import os
from dataclasses import dataclass

from .settings import Failure, asked


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
    # What more than 256 CPUs need; None if they cannot be had.
    many: tuple | None = None
    many_words: tuple = ()
    # For the kernel command line; and what goes there on emulated CPUs only.
    words: tuple = ()
    emulated: tuple = ()
    # What its kernel log says, in the words of x86_64.
    log_words: tuple = ()

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
        # For interrupts to CPUs whose numbers do not fit into eight bits. The last CPU to be named counts.
        many=("-device", "intel-iommu,intremap=on,eim=on", "-cpu", "max,x2apic=on"),
        # QEMU's CPUs lose their number, if it is such a one, when they are started at the same time.
        many_words=("cpuhp.parallel=0",),
        # Saves each CPU a calibration of two seconds.
        emulated=("lpj=5000000",),
    ),
    Arch(
        name="arm64",
        machine="aarch64",
        debian="arm64",
        image="arch/arm64/boot/Image",
        qemu="qemu-system-arm",
        board="virt,gic-version=3",
        # Without that last word most of the time goes into the signing of pointers.
        cpu="max,pauth-impdef=on",
        console="ttyAMA0",
        # This machine has one serial port.
        output="ttyS0",
        output_port=("-chardev", "file,id=output,path={}", "-device", "pci-serial,chardev=output"),
        log_words=(("Internal error: ", "Oops: "), ("Call trace:", "Call Trace:")),
    ),
)
# What make can do for any of them, or where none matters.
EVERYWHERE = {
    *("run", "test", "kselftest", "kunit", "chaos", "fuzz", "storm", "mounts", "shell", "kernel", "where"),
    *("model", "series", "absorb", "apply", "clean"),
}


@functools.cache
def guest():
    """The architecture that ARCH= names, or that of this machine."""
    return next(arch for arch in ARCHES if arch.name == asked().arch)


def check(target):
    """Fails if a target of the Makefile cannot be had for this architecture, or not as it is asked for."""
    arch = guest()
    if arch.name != "x86_64" and target not in EVERYWHERE:
        raise Failure(f"make {target} is for ARCH=x86_64 only, and not for {arch.name}.")
    if asked().accel == "kvm" and not arch.native:
        raise Failure(f"ACCEL=kvm runs guests of this machine's own architecture only, and not ARCH={arch.name}.")
