# SPDX-License-Identifier: GPL-2.0
"""make kunit-py: the KUnit tests as other kernel people run them, by the kernel's own kunit.py."""

import os
import sys
from pathlib import Path

from . import source, tap, tools, vm
from .settings import asked
from .util import CACHE, jobs, locked, log_file, run, say

# A kernel that is a process of this machine, and one for QEMU.
ARCHES = ("um", "x86_64")


def beside_kvm(command):
    """A command that finds no KVM, if that is there but does not work: kunit.py takes it if it can be opened."""
    if "tcg" not in (asked().accel, vm.known_accel()) or os.geteuid() != 0 or not Path("/dev/kvm").exists():
        return command
    return ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /dev/kvm && exec "$@"', "sh", *command]


def on(arch, tree, toolchain):
    """The results on a kernel of that architecture, which kunit.py configures, builds and boots."""
    folder = CACHE / "build" / f"{tree.name}-kunit-{arch}"
    target = log_file(f"kunit-py-{arch}.json")
    target.unlink()
    log = log_file(f"kunit-py-{arch}.log")
    command = ["tools/testing/kunit/kunit.py", "run", "--kunitconfig=kernel/module", f"--arch={arch}"]
    say(f"$ {' '.join(command)}")
    options = [f"--make_options={variable}" for variable in toolchain.variables]
    with locked(f"kernel {folder.name}"):
        failed = run(
            beside_kvm(
                [sys.executable, *command, f"--build_dir={folder}", f"--jobs={jobs()}", f"--json={target}", *options]
            ),
            log=log,
            what=f"Building and running for {arch}",
            progress=True,
            check=False,
            # So that there is something to count.
            env=toolchain.env | {"PYTHONUNBUFFERED": "1"},
            cwd=tree,
        )
    say(f"  the whole log: {log}")
    results = tap.of_json(target)
    results.append(tap.verdict("suite module_dedup ran", any("module_dedup" in name for name, _ in results)))
    results.append(tap.verdict("kunit.py says that all is well", not failed))
    return [(f"{arch}: {name}", result) for name, result in results]


def results():
    """Those of all architectures."""
    toolchain = tools.ensure(tests=True)
    _, tree = source.trees(toolchain)
    return [result for arch in ARCHES for result in on(arch, tree, toolchain)]
