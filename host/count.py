# SPDX-License-Identifier: GPL-2.0
"""Instructions by function, and those while a lock is held or interrupts are off: what bench/count.c needs and says."""

import re
import subprocess
from bisect import bisect_right
from collections import Counter

from .table import markdown
from .util import TOP, Failure, log_file, output_of, run

SOURCE = TOP / "bench/count.c"
# An interrupt or a fault begins here.
ENTRY = re.compile(r"asm_(sysvec_|exc_|common_interrupt)")
# What is called at a mark, by who has returned from its load, and as soon as a module is live.
CALLS = {"__x64_sys_personality": "M", "__x64_sys_getpgrp": "W", "trim_init_extable": "V"}


class Plugin:
    """The plugin, built, with the points for a kernel."""

    def __init__(self, kernel, side):
        self.kernel = kernel
        self.library = kernel.folder / "bench/count.so"
        self.points = kernel.folder / "bench/points"
        self.out = log_file(f"count-{side}.txt")
        run(
            ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", self.library, SOURCE],
            log=log_file("bench-plugin.log"),
            what="Building the plugin for QEMU",
        )
        self.write_points()

    def arguments(self):
        return ["-plugin", f"{self.library},points={self.points},out={self.out}"]

    def lockers(self):
        """The functions that take the lock of interest and no other, and what they call for that."""
        names = output_of(["nm", self.kernel.folder / "kernel/module/dedup.o"])
        if names:
            return set(re.findall(r"^\w+ [tTwW] (\S+)", names, re.M))
        return {"idempotent", "idempotent_complete", "idempotent_init_module", "__do_sys_finit_module"} | {
            f"{prefix}_sys_finit_module" for prefix in ("__x64", "__se", "__ia32")
        }

    def write_points(self):
        lockers = self.lockers()
        points, function, taken = [], "", False
        listing = ["objdump", "-d", "--no-show-raw-insn", self.kernel.vmlinux]
        with subprocess.Popen(listing, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.endswith(">:\n"):
                    address, _, rest = line.partition(" <")
                    function = rest[:-3].split(".")[0] if rest[:-3] not in lockers else rest[:-3]
                    if function in CALLS:
                        points.append((address, CALLS[function]))
                    elif ENTRY.match(function):
                        points.append((address, "I"))
                    elif function.startswith("entry_SYSCALL_64"):
                        points.append((address, "D"))
                    continue
                address, colon, text = line.partition(":\t")
                if not colon:
                    continue
                if taken:
                    points.append((address, "L"))
                    taken = False
                word = text.split(maxsplit=1)[0] if text.strip() else ""
                if word in ("cli", "sti") and not (word == "cli" and function == "__schedule"):
                    points.append((address, "D" if word == "cli" else "E"))
                elif word.startswith(("iret", "sysret")):
                    points.append((address, "R" if word.startswith("iret") else "E"))
                elif word in ("call", "jmp", "callq") and function in lockers:
                    if re.search(r"<(rust_helper|_raw)_spin_lock>", text):
                        taken = word != "jmp"
                    elif re.search(r"<(rust_helper|_raw)_spin_unlock>", text):
                        points.append((address, "U"))
        if not {"L", "U", "M", "V", "W"} <= {kind for _, kind in points}:
            raise Failure(f"{self.kernel.vmlinux} lacks the functions whose instructions are to be counted.")
        self.points.write_text("".join(f"{address.strip()} {kind}\n" for address, kind in points))

    def windows(self):
        """What was counted between each two marks, as dictionaries."""
        symbols = sorted(
            (int(address, 16), name)
            for address, name in re.findall(r"^(\w+) [tTwW] (\S+)$", output_of(["nm", self.kernel.vmlinux]), re.M)
        )
        addresses = [address for address, _ in symbols]

        def symbol(address):
            at = bisect_right(addresses, int(address, 16)) - 1
            return symbols[at][1] if at >= 0 and address.startswith("ffff") else "user space, modules"

        windows = []
        for line in self.out.read_text().splitlines():
            words = line.split()
            if words[0] == "window":
                window = {words[i]: int(words[i + 1]) for i in range(0, 14, 2)}
                window |= {"off_from": symbol(words[14]), "off_to": symbol(words[15]), "profile": Counter()}
                windows.append(window)
            else:
                windows[-1]["profile"][symbol(words[0])] += int(words[1]) * int(words[2])
        return windows


def mean(profiles):
    """The mean of some profiles, by function."""
    total = Counter()
    for profile in profiles:
        total.update(profile)
    return {name: value / len(profiles) for name, value in total.items()}


def report(functions, n):
    """Where the instructions of a follower, and of a single load, are spent, as Markdown."""
    parts = []
    for title, get in (
        (f"A follower of a storm of {n}: what it, and waking it, takes", lambda it: per_follower(it, n)),
        ("A single load of 16 KiB, with nobody else", lambda it: it["single"]),
    ):
        stock, ours = (get(functions[side]) for side in ("stock", "ours"))
        rows = [(f"`{name}`", stock.get(name, 0), ours.get(name, 0)) for name in {*stock, *ours}]
        rows.sort(key=lambda it: (-abs(it[2] - it[1]), it[0]))
        rows.insert(0, ("all", sum(stock.values()), sum(ours.values())))
        cells = [(name, f"{before:,.0f}", f"{now:,.0f}", f"{now - before:+,.0f}") for name, before, now in rows[:61]]
        parts.append(f"# {title}\n\n{markdown([('function', 'stock', 'this series', 'more'), *cells])}")
    return "\n".join(parts)


def per_follower(functions, n):
    """What one more follower takes, from storms of n and of n / 2."""
    whole, half = functions[n], functions[n // 2]
    return {name: (whole.get(name, 0) - half.get(name, 0)) / (n - n // 2) for name in {*whole, *half}}
