# SPDX-License-Identifier: GPL-2.0
"""Measures module loads on the stock kernel, with this series, and with module.dedup=off, side by side."""

import random
import re
import shutil
import statistics

from . import count, tools, vm
from .table import aligned, markdown
from .util import OUT, TOP, Failure, log_file, run, say, write_if_changed, write_json

BENCH = TOP / "bench"
JSON = OUT / "bench.json"
PROFILE = OUT / "bench-profile.md"
TABLE = OUT / "bench.md"
SMP = 8
# How many call at once, and how often each is counted.
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ROUNDS = 3
# How often the boot with threads is tried; and what is measured there, with the side left open.
TRIES = 3
THREADED = {
    "storm.{}.64": "a storm of 64",
    "storm.{}.256": "a storm of 256",
    "many.{}.256": "64 modules by 256 processes",
}
MEMORY = "4G"
# The three that are compared: the kernel, and what module.dedup= is there.
SIDES = ("stock", "ours", "off")
NAMES = {"stock": "the stock kernel", "ours": "this series", "off": "this series with module.dedup=off"}
# Bytes of ballast that make a file of about this size, with what all modules have.
BALLAST = {"16k": (11 << 10) - 256, "1m": (1 << 20) - (7 << 10), "8m": (8 << 20) - (7 << 10)}
# Nothing is left to chance: addresses, the clock at boot, and random numbers. Without the last two words the kernel
# copies by `rep movsb`, which QEMU counts as an instruction a byte, and a real CPU does 32 or 64 bytes at a time.
PINNED = ("-rtc", "base=2026-01-01,clock=vm", "-seed", "1", "-cpu", "max,-erms,-fsrm")
WORDS = ("nokaslr", "norandmaps")


def ballast(size):
    """Bytes that compress as modules do, about three to one, always the same."""
    source = random.Random(size)
    words = [source.randbytes(source.randrange(3, 12)) for _ in range(600)]
    return b"".join(source.choices(words, k=size // 3))[:size]


def stage(kernel):
    """Builds what is measured, and what measures, for the guest."""
    work = kernel.folder / "bench"
    for name, size in BALLAST.items():
        write_if_changed(work / "ballast" / name, ballast(size))
    (work / "modules").mkdir(exist_ok=True)
    kernel.make(
        *(f"M={BENCH / 'modules'}", f"MO={work / 'modules'}", f"BALLAST={work / 'ballast'}", "modules"),
        what="Building the modules to measure",
        progress=False,
    )
    root = kernel.staging / "bench"
    for module in (work / "modules").glob("*.ko"):
        write_if_changed(root / module.name, module.read_bytes())
    log = log_file("bench-build.log")
    run(
        [tools.which("zstd"), "-qf", "-19", root / "bench_1m.ko", "-o", root / "bench_1m.ko.zst"],
        log=log,
        what="Compressing a module",
    )
    selftests = TOP / "tools/testing/selftests/module"
    headers = ("-D_GNU_SOURCE=", f"-I{selftests}", f"-I{kernel.source / 'tools/testing/selftests'}")
    sources = (BENCH / "guest.c", *(selftests / "lib").glob("*.c"))
    run(
        ["gcc", "-O2", "-Wall", *headers, "-o", root / "guest", *sources],
        log=log,
        what="Building the program that measures",
    )
    shutil.copy2(kernel.staging / "selftests/module/test_modules/test_dedup_request.ko", root)
    return kernel


def boot(kernel, side, what, **options):
    """One boot. Returns what was measured: {name: number}."""
    words = [*WORDS, f"what={what}", f"side={side}", f"module.dedup={'off' if side == 'off' else 'on'}"]
    name = f"bench-{what}-{side}"
    result = vm.run(
        kernel,
        "bench",
        smp=SMP,
        append=words,
        limit=1800,
        name=name,
        memory=MEMORY,
        **options,
    ).check()
    found = re.findall(r"^([\w.]+) (\d+)$", result.output, re.M)
    return {key.replace("SIDE", side): int(value) for key, value in found}


def counted(kernel, side):
    """What is counted from outside the guest, and in which functions: (figures, functions)."""
    plugin = count.Plugin(kernel, side)
    boot(kernel, side, "marked", icount=True, extra=(*PINNED, *plugin.arguments()))
    windows = iter(plugin.windows())
    figures, functions = {}, {}

    def middle(rounds, name):
        return int(statistics.median(window[name] for window in rounds))

    for n in COUNTS:
        rounds = [next(windows) for _ in range(ROUNDS)]
        figures[f"storm.16k.{side}.{n}.leader_delay_insns"] = middle(rounds, "leader")
        figures[f"lock.{side}.{n}.longest_insns"] = max(window["longest"] for window in rounds)
        figures[f"lock.{side}.{n}.mean_insns"] = sum(one["held"] for one in rounds) // (
            sum(one["holds"] for one in rounds) or 1
        )
        figures[f"lock.{side}.{n}.holds"] = middle(rounds, "holds")
        figures[f"irqs_off.{side}.{n}.longest_insns"] = middle(rounds, "off")
        functions[n] = count.mean([window["profile"] for window in rounds])
    single, late = zip(*((next(windows), next(windows)) for _ in range(ROUNDS)), strict=True)
    figures[f"single.16k.{side}.load_insns"] = middle(single, "insns")
    figures[f"late.16k.{side}.insns"] = middle(late, "insns")
    functions["single"] = count.mean([window["profile"] for window in single])
    return figures, functions


def derived(figures):
    """Adds what follows from the figures."""
    for size in BALLAST:
        for side in (*SIDES, "c"):
            last = [figures.get(f"storm.{size}.{side}.{n}.last_return_ns") for n in (2, COUNTS[-1])]
            if None in last:
                continue
            figures[f"storm.{size}.{side}.slope_ns"] = round((last[1] - last[0]) / (COUNTS[-1] - 2))
    for size in (*BALLAST, "16k_copy", "1m_copy"):
        c = figures.get(f"single.{size}.c.load_ns")
        if c:
            figures[f"single.{size}.ours.part_ns"] = figures[f"single.{size}.ours.load_ns"] - c
    for key, value in list(figures.items()):
        stock = figures.get(key.replace(".ours.", ".stock."))
        if ".ours." in key and stock:
            figures["ratio." + key.replace(".ours.", ".")] = round(value / stock, 4)
    return figures


def interval(ours, c):
    """The ratio of the medians of rounds that were paired, and where it is by nineteen chances in twenty."""
    source = random.Random(len(ours))
    pairs = list(zip(ours, c, strict=True))

    def ratio(some):
        return statistics.median(one for one, _ in some) / statistics.median(other for _, other in some)

    drawn = sorted(ratio(source.choices(pairs, k=len(pairs))) for _ in range(2000))
    return ratio(pairs), drawn[50], drawn[-51]


def threaded(kernel):
    """Ratios from a machine whose CPUs are threads: its times say nothing by themselves."""
    for attempt in range(1, TRIES + 1):
        say("  With threads, this series and its C code in turn")
        try:
            figures = boot(kernel, "ours", "clocked")
            break
        except Failure as failure:
            # A CPU that is a thread may see code that was patched meanwhile: that is QEMU's.
            say(f"This boot, number {attempt} of at most {TRIES}, is left out. {failure}")
    else:
        return {}
    found = {}
    for what in THREADED:
        rounds = [
            [value for key, value in figures.items() if key.startswith(f"threads.{what.format(side)}.round_")]
            for side in ("ours", "c")
        ]
        for name, value in zip(("", "_low", "_high"), interval(*rounds), strict=True):
            found[f"ratio.threads.{what.format('c')}{name}"] = round(value, 3)
    return found


def measure(kernels):
    """Everything. Returns the figures, and the functions by side."""
    figures, functions = {}, {}
    for side in SIDES:
        say(f"  Storms, {NAMES[side]}")
        figures |= boot(kernels[side], side, "all", icount=True, extra=PINNED)
    for side in ("stock", "ours"):
        say(f"  Counting instructions from outside, {NAMES[side]}")
        more, functions[side] = counted(kernels[side], side)
        figures |= more
    return derived(figures) | threaded(kernels["ours"]), functions


# What is to be reached: what it is, its figures by side, and how large which of them may be. A limit is for this
# series, by itself ("is"), divided by the figure of stock ("of stock"), by that of the kernel's own C code in the same
# boot ("of C"), or by that for two calls ("of two callers").
TARGETS = (
    ("wasted bytes, 256 x 1 MiB", "storm.1m.{}.256.wasted_bytes", "is", 0),
    ("bytes read, 256 x 1 MiB", "storm.1m.{}.256.read_bytes", "of stock", 1.01),
    ("cost per further follower, 16 KiB", "storm.16k.{}.slope_ns", "of C", 1),
    ("cost per further follower, 1 MiB", "storm.1m.{}.slope_ns", "of C", 1),
    ("cost per further follower, 8 MiB", "storm.8m.{}.slope_ns", "of C", 1),
    ("leader's delay, 256 callers", "storm.16k.{}.256.leader_delay_insns", "of two callers", 1.5),
    ("last follower's return, 256 x 16 KiB", "storm.16k.{}.256.last_follower_ns", "of C", 1),
    ("last follower's return, 256 x 1 MiB", "storm.1m.{}.256.last_follower_ns", "of C", 1),
    ("single load, 16 KiB", "single.16k.{}.load_ns", "of C", 1.01),
    ("  the part of this series", "single.16k.{}.part_ns", "is", 1500),
    ("late duplicate, 1 MiB", "late.1m.{}.ns", "of stock", 0.05),
    ("late duplicate, 8 MiB", "late.8m.{}.ns", "of stock", 0.05),
    ("single init_module, 16 KiB", "single.16k_copy.{}.load_ns", "of C", 1.01),
    ("  the part of this series", "single.16k_copy.{}.part_ns", "is", 3000),
    ("single init_module, 1 MiB", "single.1m_copy.{}.load_ns", "of C", 1.01),
    ("wasted bytes, 256 x init_module, 1 MiB", "storm.1m_copy.{}.256.wasted_bytes", "is", 0),
    ("  memory at the peak", "storm.1m_copy.{}.256.peak_vmalloc_bytes", "of stock", 0.05),
    ("  last return", "storm.1m_copy.{}.256.last_return_ns", "of stock", 1),
    ("late init_module, 1 MiB", "late.1m_copy.{}.ns", "of stock", 0.05),
    ("longest hold of the lock, 256 callers", "lock.{}.256.longest_insns", "of two callers", 1.1),
    ("longest time with interrupts off", "irqs_off.{}.256.longest_insns", "of two callers", 1.1),
    ("64 modules by 256 processes", "many.{}.256.last_return_ns", "of C", 1),
    ("helpers for 256 requests of a name", "request.{}.256.helpers", "is", 1),
)


def table(figures):
    """What was reached, as rows of text."""

    def number(value):
        return "-" if value is None else f"{value:,}"

    rows = [("", "stock", "this series", "dedup=c", "dedup=off", "compared", "to reach", "")]
    for what, key, how, limit in TARGETS:
        sides = {side: figures.get(key.format(side)) for side in ("stock", "ours", "c", "off")}
        ours, values = sides["ours"], list(sides.values())
        two = figures.get(key.format("ours").replace(".256.", ".2."))
        base = {"is": 1, "of stock": sides["stock"], "of C": sides["c"], "of two callers": two}[how]
        if ours is None or base is None:
            rows.append((what, *map(number, values), "", f"<= {limit:,}", "not measured"))
            continue
        compared = ours / base
        shown = "" if how == "is" else f"{round(compared, 3):g} {how}"
        rows.append((what, *map(number, values), shown, f"<= {limit:,}", "" if compared <= limit else "MISSED"))
    for key, what in THREADED.items():
        key = f"ratio.threads.{key.format('c')}"
        if key in figures:
            ratio, low, high = (figures[f"{key}{end}"] for end in ("", "_low", "_high"))
            shown = f"{ratio:g} ({low:g} to {high:g}) of C"
            rows.append((f"with threads: {what}", "", "", "", "", shown, "<= 1", "" if ratio <= 1 else "MISSED"))
    return rows


def differences(old, new):
    """How far two runs are apart in figures of instruction counts, at the most: (figure, part of it)."""
    worst = ("", 0.0)
    for key, value in new.items():
        before = old.get(key)
        if before is None or key.startswith("ratio.") or key.endswith("part_ns"):
            continue
        apart = abs(value - before) / max(abs(before), abs(value), 1)
        worst = max(worst, (key, apart), key=lambda it: it[1])
    return worst


def write(figures, functions):
    """Writes what was measured, and what it looks like."""
    write_json(JSON, figures)
    TABLE.write_text(markdown(table(figures)))
    PROFILE.write_text(count.report(functions, COUNTS[-1]))
    tools.draw("plot.py", JSON)


def print_table(figures):
    print("\n".join(aligned(table(figures), right=range(1, 7))))
