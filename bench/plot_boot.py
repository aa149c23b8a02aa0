# SPDX-License-Identifier: GPL-2.0
"""Draws boots side by side: python3 plot_boot.py boot.json FOLDER writes FOLDER/boot.svg."""

import json
import math
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "boot", "font.size": 10, "axes.spines.top": False})
matplotlib.rcParams.update({"axes.spines.right": False, "legend.frameon": False})
from matplotlib import pyplot as plt  # noqa: E402

SIDES = {"off": "no de-duplication", "stock": "C code of Linux", "ours": "this series"}
COLOURS = {"off": "tab:gray", "stock": "tab:orange", "ours": "tab:blue"}


def spread(boots, cpus, side, key, unit=1):
    """The median of what boots have told, and how far below and above it they were; nothing if none did."""
    values = [
        it[key] / unit
        for it in boots
        if it["cpus"] == cpus and it["side"] == side and key in it and "problem" not in it
    ]
    if not values:
        return float("nan"), 0, 0
    middle = statistics.median(values)
    return middle, middle - min(values), max(values) - middle


def main():
    done = json.loads(Path(sys.argv[1]).read_text())
    boots = done["boots"]
    sizes = sorted({it["cpus"] for it in boots})
    figure, (time, waste) = plt.subplots(1, 2, figsize=(9, 3.8))
    width = 0.8 / len(SIDES)
    for number, (side, label) in enumerate(SIDES.items()):
        places = [index + (number - 1) * width for index in range(len(sizes))]
        kernel = [spread(boots, cpus, side, "kernel_s")[0] for cpus in sizes]
        user, less, more = zip(*(spread(boots, cpus, side, "userspace_s") for cpus in sizes), strict=True)
        wasted = [spread(boots, cpus, side, "boot.Virtual mem wasted bytes", 2**20)[0] for cpus in sizes]
        time.bar(places, kernel, width, color=COLOURS[side], alpha=0.5)
        time.bar(places, user, width, bottom=kernel, color=COLOURS[side], label=label, yerr=(less, more), capsize=2)
        bars = waste.bar(places, wasted, width, color=COLOURS[side], label=label)
        waste.bar_label(bars, ["no boot" if math.isnan(value) else f"{value:,.0f}" for value in wasted], fontsize=8)
    for axes in (time, waste):
        axes.set_xticks(range(len(sizes)), [f"{cpus} CPUs" for cpus in sizes])
    emulated = ", emulated" if done["accel"] == "tcg" else ""
    time.set_ylabel(f"s until all is started{emulated}\n(pale: kernel, full: user space)")
    waste.set_ylabel("MiB wasted at boot")
    waste.legend()
    figure.text(0.01, 0.01, "Times compare within this run, and say nothing of other machines.", fontsize=8)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(Path(sys.argv[2]) / "boot.svg", metadata={"Date": None})


main()
