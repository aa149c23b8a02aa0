# SPDX-License-Identifier: GPL-2.0
"""What the user has set: the variables of make, and of the environment. They are read here and nowhere else."""

import functools
import os
import re
from pathlib import Path
from types import SimpleNamespace

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "module-dedup"
QUIET = "s" in os.environ.get("MAKEFLAGS", "").split(" ")[0]
# What the make that called us tells its programs. Another make must not hear of that.
FROM_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "KSRC", "ARCH", "CROSS_COMPILE", "O")
# The architecture of this machine, as the kernel calls it.
MACHINE = {"aarch64": "arm64"}.get(os.uname().machine, "x86_64")
# NR_CPUS of vm/kernel.config; more need a kernel and a QEMU of their own, whose PC has at most so many.
USUAL_CPUS = 256
MOST_CPUS = 4096


class Failure(Exception):
    """Something that the user should read, and nothing more."""


def text(_, value):
    return value


def words(_, value):
    return value.replace(",", " ").split()


def number(name, value):
    if not re.fullmatch(r"[1-9][0-9]*", value):
        raise Failure(f"{name}={value} is not a number.")
    return int(value)


def cpus(name, value):
    if number(name, value) > MOST_CPUS:
        raise Failure(f"{name}={value} is more than the {MOST_CPUS} CPUs that QEMU can have.")
    return int(value)


def sizes(name, value):
    try:
        found = [cpus(name, word) for word in words(name, value)]
    except Failure:
        found = []
    if not found:
        raise Failure(f"{name}={value} is not a list of numbers of CPUs, each at most {MOST_CPUS}.")
    return found


def memory(name, value):
    if not re.fullmatch(r"[1-9][0-9]*[MG]?", value):
        raise Failure(f"{name}={value} is not a size of memory; try MEM=4G.")
    return value


def one_of(*choices):
    def choice(name, value):
        if value not in choices:
            raise Failure(f"{name}={value} is not one of {', '.join(choices)}.")
        return value

    return choice


def accelerator(name, value):
    one_of("kvm", "tcg")(name, value)
    if value == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Failure(f"{name}=kvm needs /dev/kvm, which is not there, or not open to you. {name}=tcg emulates.")
    return value


# Each variable: what makes a value of its text, and the value if it is not set: None where each target has its own.
VARIABLES = {
    "KSRC": (text, None),
    "ARCH": (one_of("x86_64", "arm64"), MACHINE),
    "KERNEL": (one_of("debug", "kcsan", "rt"), ""),
    "SMP": (cpus, None),
    "MEM": (memory, None),
    "ACCEL": (accelerator, None),
    "LIMIT": (number, None),
    "TESTS": (words, []),
    "STEPS": (words, []),
    "N": (number, None),
    "CALLS": (number, 20_000),
    "SEED": (number, None),
    "SIDE": (one_of("stock", "ours", "off"), "ours"),
    "REPORT": (one_of("boot", "storms", "pairs", "requests"), "boot"),
    "SUITE": (one_of("bookworm", "trixie", "forky", "sid"), "trixie"),
    "FORM": (one_of("ko", "zst", "xz"), "ko"),
    "DECOMPRESS": (one_of("kernel", "kmod"), None),
    "ROUNDS": (number, None),
    "SIZES": (sizes, [8, 64, 255]),
    "BOOTS": (number, 3),
    "TRACE": (words, []),
    "GUEST_SHELL": (text, None),
    "CONFIG": (text, None),
    "MODULES": (one_of("all", "loaded"), "all"),
    "RECORD": (one_of("1"), None),
    # Programs that are taken instead of those that would be found.
    "RUSTC": (text, None),
    "RUST_LIB_SRC": (text, None),
    "LIBCLANG_PATH": (text, None),
    "BINDGEN": (text, None),
}


def read(environment):
    """All variables, as attributes with small letters; fails if a value makes no sense. An empty one is not set."""
    return SimpleNamespace(
        **{
            name.lower(): parse(name, environment[name]) if environment.get(name) else default
            for name, (parse, default) in VARIABLES.items()
        }
    )


@functools.cache
def asked():
    """What the user asks for, looked at once."""
    return read(os.environ)


def environment(more=None):
    """The environment of a program that is started, with more variables."""
    return {name: value for name, value in os.environ.items() if name not in FROM_MAKE} | (more or {})
