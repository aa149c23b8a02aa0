# SPDX-License-Identifier: GPL-2.0
"""make matrix: do our objects build with configurations that are not the usual one? No kernel is linked or booted."""

import re
import tempfile
from pathlib import Path

from . import distro, source, tap, tools
from .kernel import Kernel
from .util import TOP, Failure, log_file, run, say

# What a configuration changes in the usual one.
CONFIGURATIONS = {
    "the usual one": "",
    "no TRACEPOINTS": "FTRACE=n ENABLE_DEFAULT_TRACERS=n TRACEPOINTS=n",
    "no DEBUG_FS": "DEBUG_FS=n MODULE_STATS=n MODULE_DEBUG=n FAULT_INJECTION_DEBUG_FS=n FAIL_MAKE_REQUEST=n FAILSLAB=n",
    "no SECURITY": "SECURITY=n SECURITY_NETWORK=n SECURITY_SELINUX=n SECURITY_SELINUX_DEVELOP=n LSM=n INTEGRITY=n "
    "IMA=n IMA_APPRAISE=n IMA_WRITE_POLICY=n",
    "no MODULE_UNLOAD": "MODULE_UNLOAD=n TEST_KMOD=n",
    "no MODULE_STATS": "MODULE_STATS=n MODULE_DEBUG=n",
    "no SMP": "SMP=n NR_CPUS=1 X86_X2APIC=n",
    "PREEMPT_RT": "EXPERT=y PREEMPT_RT=y",
    "MODVERSIONS": "MODVERSIONS=y GENDWARFKSYMS=y DEBUG_INFO_DWARF5=y DEBUG_INFO_NONE=n",
}
# The same with LLVM, which these need.
BY_LLVM = {
    "LLVM": "",
    "CFI": "CFI=y",
    "LTO": "LTO_NONE=n LTO_CLANG_THIN=y",
    # Not with RUST, so without us: what is left must build.
    "RANDSTRUCT": "RANDSTRUCT_NONE=n RANDSTRUCT_FULL=y RUST=n MODULE_DEDUP=n MODULE_DEDUP_KUNIT_TEST=n "
    "RUST_KERNEL_DOCTESTS=n",
}
# The module loader with us in it; and what else the series changes.
OBJECTS = ("kernel/module/", "kernel/umh.o")


class Configured(Kernel):
    """A kernel whose configuration differs. All of one compiler share a folder, so that less is built again."""

    def __init__(self, toolchain, tree, changes, llvm):
        super().__init__(toolchain, tree, "matrix-llvm" if llvm else "matrix")
        self.changes = [
            f"# CONFIG_{one[:-2]} is not set" if one.endswith("=n") else f"CONFIG_{one}" for one in changes.split()
        ]
        if llvm:
            self.variables.append(f"LLVM={tools.find_llvm()}")

    def fragment(self):
        return super().fragment() | {re.search(r"CONFIG_\w+", line)[0]: line for line in self.changes}

    def configure(self):
        super().configure()
        got = re.findall(r"^CONFIG_\w+(?==)", (self.folder / ".config").read_text(), re.M)
        left = [line for line in self.changes if line.endswith("is not set") and line.split()[1] in got]
        if left:
            raise Failure(f"Linux in {self.source} sets {' '.join(line.split()[1] for line in left)} all the same.")


def built(kernel, title):
    """Whether the objects build. A warning is an error in all of these configurations."""
    log = log_file(f"matrix-{re.sub(r'[^A-Za-z0-9_]+', '-', title)}.log")
    say(f"  {title}")
    try:
        kernel.configure()
        rust = "CONFIG_RUST=y" in (kernel.folder / ".config").read_text()
        kernel.make("WERROR=1", "prepare", *(["rust/"] if rust else []), *OBJECTS, what=f"Building: {title}", log=log)
    except Failure as failure:
        say(str(failure))
        return tap.verdict(f"{title}: builds", False)
    return tap.verdict(f"{title}: builds", True)


def versions(kernel):
    """Whether gendwarfksyms has given versions to what the engine exports."""
    commands = "".join(path.read_text() for path in (kernel.folder / "rust").glob(".*.cmd"))
    return tap.verdict("gendwarfksyms: versions of the engine", re.search(r"^#SYMVER \S*module_dedup", commands, re.M))


def checked(kernel):
    """What the tools of a distribution say of our objects."""
    log, results = log_file("matrix-tools.log"), []
    with tempfile.TemporaryDirectory() as scratch:
        commands = {
            "linked": ["ld", "-r", "-o", "vmlinux.o", "--whole-archive", kernel.folder / "kernel/module/built-in.a"],
            # It looks for no symbols in what has this name, since they may be anywhere in the kernel.
            "modpost": [kernel.folder / "scripts/mod/modpost", "-E", "-o", "symvers", "vmlinux.o"],
            "pahole": ["pahole", "--btf_encode_detached", "btf", "--lang_exclude=rust", "vmlinux.o"],
        }
        for name, command in commands.items():
            failed = run(command, log=log, what=name, check=False, cwd=scratch)
            results.append(tap.verdict(f"{name}: our objects", not failed))
    return results


def recipe(tree, config, toolchain):
    """What docs/kernel.md says to type, up to the build, with Debian's configuration as that of the machine."""
    text = (TOP / "docs/kernel.md").read_text()
    lines = re.search(r"^    cp /boot/config.*\n((?:    .*\n)+?)    make bindeb-pkg$", text, re.M)[1]
    log = log_file("matrix-recipe.log")
    with tempfile.TemporaryDirectory(dir=source.SRC) as scratch:
        copy = Path(scratch, "linux")
        run(["cp", "-al", tree, copy], log=log, what="Linking a copy of the tree")
        (copy / ".config").write_bytes(config)
        # As if the toolchain were in the usual places.
        env = toolchain.env | {"MAKEFLAGS": f" -- {' '.join(toolchain.variables)}"}
        run(["bash", "-exc", lines], log=log, what="The recipe of docs/kernel.md", cwd=copy, env=env)
        got = (copy / ".config").read_text().splitlines()
    return [tap.verdict(f"recipe of docs/kernel.md: {name}", f"CONFIG_{name}=y" in got) for name in distro.WANTED]


def results():
    """All of them."""
    toolchain = tools.ensure()
    tools.ensure_llvm()
    tools.require(distro.PROGRAMS, distro.HEADERS)
    _, patched = source.trees(toolchain)
    say(f"Building the objects with {len(CONFIGURATIONS) + len(BY_LLVM) + 1} configurations, about two minutes each")
    found = []
    for llvm, configurations in enumerate((CONFIGURATIONS, BY_LLVM)):
        for title, changes in configurations.items():
            kernel = Configured(toolchain, patched, changes, llvm)
            found.append(built(kernel, title))
            if title == "MODVERSIONS":
                found.append(versions(kernel))
    title = "Debian's own"
    debian = distro.Distributed(toolchain, patched, "debian")
    found.append(built(debian, title))
    found += [(f"{title}: {name}", result) for name, result in checked(debian)]
    return found + recipe(patched, debian.given, toolchain)
