# SPDX-License-Identifier: GPL-2.0
"""Configures and builds kernels, each in a folder of its own that is kept."""

import functools
import hashlib
import re
from pathlib import Path

from . import arch, tools
from .util import CACHE, TOP, Failure, jobs, locked, log_file, output_of, run, say, write_if_changed

CONFIG = TOP / "vm/kernel.config"

# Kernels decompress modules in one format: zstd, or with this xz.
XZ = (TOP / "vm/xz.config").read_text()
# A kernel that people run, to boot a distribution.
BOOT = (TOP / "vm/bench.config").read_text() + (TOP / "vm/boot.config").read_text()
# Kernels that differ from the usual one: what they set, and what they unset.
VARIANTS = {
    "": "",
    # With everything that finds mistakes. Rust and KASAN go together with clang only.
    "debug": (TOP / "vm/debug.config").read_text() + XZ,
    "kcsan": (TOP / "vm/kcsan.config").read_text(),
    "rt": (TOP / "vm/rt.config").read_text(),
    # To measure: what people run.
    "bench": (TOP / "vm/bench.config").read_text(),
    # To boot a distribution, whose modules are plain, or compressed by zstd or xz.
    "boot": BOOT,
    "boot-xz": BOOT + XZ,
    # For hundreds of CPUs.
    "large": (TOP / "vm/bench.config").read_text() + (TOP / "vm/large.config").read_text(),
    # Without us, and without Rust.
    "off": "".join(
        f"# CONFIG_{name} is not set\n"
        for name in ("RUST", "RUST_KERNEL_DOCTESTS", "MODULE_DEDUP", "MODULE_DEDUP_KUNIT_TEST")
    ),
}


# The objects that KCSAN watches: the module loader's, which call us.
WATCHED = ("dedup_call.o", "dedup_peek.o", "kmod.o", "main.o", "stats.o")


def alone(function):
    """Keeps others from building a kernel, the first argument, while the function is at work on it."""

    @functools.wraps(function)
    def locking(kernel, *args, **kwargs):
        with locked(f"kernel {kernel.name}"):
            return function(kernel, *args, **kwargs)

    return locking


class Kernel:
    """One source tree and one configuration, and what is built from them."""

    def __init__(self, toolchain, source, variant=""):
        self.toolchain = toolchain
        self.source = Path(source)
        self.variant = variant
        self.arch = arch.guest()
        foreign = "" if self.arch.native else self.arch.name
        name = "-".join(filter(None, (self.source.name, foreign, variant)))
        self.folder = CACHE / "build" / name
        self.name = name
        # How guests of it run; not known before the first.
        self.accel = None
        self.variables = [*toolchain.variables, *self.arch.variables]
        if variant == "debug":
            self.variables.append(f"LLVM={tools.find_llvm()}")
        elif variant == "kcsan":
            # It looks at one access in so many: let that be ours, and not those of all the kernel.
            self.variables += ["KCSAN_SANITIZE=n", *(f"KCSAN_SANITIZE_{name}=y" for name in WATCHED)]

    @property
    def vmlinux(self):
        return self.folder / "vmlinux"

    @property
    def image(self):
        """What QEMU boots."""
        return self.folder / self.arch.image

    @property
    def staging(self):
        """What goes into the guest: modules and selftests."""
        return self.folder.with_name(self.folder.name + ".root")

    @property
    def release(self):
        return (self.folder / "include/config/kernel.release").read_text().strip()

    def tests(self):
        """The names of the kselftests of modules that are staged."""
        listed = (self.staging / "selftests/kselftest-list.txt").read_text()
        return re.findall(r"^module:(\S+)$", listed, re.M)

    def functions(self):
        """The names of all functions of the module loader, which we are a part of, without what compilers add."""
        objects = (self.folder / "kernel/module").glob("*.o")
        symbols = output_of([f"{self.arch.cross}nm", *objects]) or ""
        return frozenset(re.findall(r"^\w+ [tT] (\w+)", symbols, re.M))

    @alone
    def make(self, *targets, what, progress=True, check=True, log=None):
        return run(
            ["make", "-C", str(self.source), f"O={self.folder}", f"-j{jobs()}", *self.variables, *map(str, targets)],
            log=log or log_file(f"build-{self.name}.log"),
            what=what,
            progress=progress,
            check=check,
            env=self.toolchain.env,
        )

    def fragment(self):
        """The configuration that is asked for, as lines: {symbol: line}."""
        lines = {}
        machine = TOP / f"vm/{self.arch.name}.config"
        for line in (CONFIG.read_text() + machine.read_text() + VARIANTS.get(self.variant, "")).splitlines():
            match = re.match(r"(?:# )?(CONFIG_\w+)[= ]", line)
            if match:
                lines[match[1]] = line
        return lines

    @alone
    def configure(self):
        """Writes .config, if what is asked for has changed. Fails if the kernel does not take it."""
        wanted = self.fragment()
        text = "\n".join(wanted.values()) + "\n"
        programs = hashlib.sha256(" ".join(self.variables).encode()).hexdigest()
        seed = self.folder / "module-dedup.config"
        stamp = f"{text}# {programs}\n".encode()
        kconfig = self.source / "kernel/module/Kconfig.dedup"
        stamp += kconfig.read_bytes() if kconfig.is_file() else b""
        if (self.folder / ".config").is_file() and seed.is_file() and seed.read_bytes() == stamp:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        fragment = self.folder / "module-dedup.fragment"
        fragment.write_text(text)
        seed.unlink(missing_ok=True)
        self.make(f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig", what="Configuring the kernel", progress=False)
        got = (self.folder / ".config").read_text().splitlines()
        dedup = kconfig.is_file()
        lost = [
            line
            for line in wanted.values()
            if line not in got and not line.endswith("is not set") and (dedup or "DEDUP" not in line)
        ]
        if lost:
            raise Failure(f"Linux in {self.source} cannot be configured with {' '.join(lost)}")
        seed.write_bytes(stamp)

    @alone
    def build(self):
        """Builds the kernel and its modules. With clippy, which is as quick, and checks our code."""
        self.configure()
        minutes = "fifteen" if self.variant == "debug" else "ten"
        first = "" if self.vmlinux.exists() else f", about {minutes} minutes the first time"
        say(f"Building the kernel {self.name}{first}")
        self.make("CLIPPY=1", self.image.name, "modules", what="Building")
        return self

    @alone
    def stage(self, selftests_of=None):
        """Installs the modules, and the selftests of a tree built against this kernel, for the guest.

        The tree is the kernel's own one, or another.
        """
        tree = selftests_of or self.source
        self.accel = None
        root = self.staging
        selftests = root / "selftests"
        log = log_file(f"selftests-{self.name}.log")
        say("Building the selftests")
        self.make(f"INSTALL_MOD_PATH={root}", "modules_install", what="Installing the modules", progress=False, log=log)
        self.make("headers", what="Installing the headers", progress=False, log=log)
        output = self.folder / "kselftest"
        # Kbuild leaves what it makes of the test modules in the tree, which other kernels may be built from.
        with locked(f"test modules of {tree.name}"):
            run(
                [
                    *("make", "-C", str(tree / "tools/testing/selftests"), "TARGETS=module kmod", "FORCE_TARGETS=1"),
                    *(f"O={output}", f"KDIR={self.folder}", f"INSTALL_PATH={selftests}", "install"),
                    *(f"KHDR_INCLUDES=-isystem {self.folder}/usr/include", *self.variables),
                ],
                log=log,
                what="Building the selftests",
                env=self.toolchain.env,
            )
        modules = root / "lib/modules" / self.release
        extra = modules / "extra"
        for module in (selftests / "module/test_modules").glob("*.ko"):
            write_if_changed(extra / module.name, module.read_bytes())
        run([tools.which("depmod"), "-b", str(root), self.release], log=log, what="depmod")
        return self
