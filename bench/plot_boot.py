# SPDX-License-Identifier: GPL-2.0
"""Draws boots side by side: python3 plot_boot.py boot.json FOLDER writes FOLDER/boot.svg."""

import json
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


def middle(records, cpus, side, key):
    values = [it[key] for it in records if it["cpus"] == cpus and it["side"] == side and key in it]
    return statistics.median(values) if values else 0


def main():
    records = json.loads(Path(sys.argv[1]).read_text())
    sizes = sorted({it["cpus"] for it in records})
    figure, (time, waste) = plt.subplots(1, 2, figsize=(9, 3.6))
    width = 0.8 / len(SIDES)
    for number, (side, label) in enumerate(SIDES.items()):
        places = [index + (number - 1) * width for index in range(len(sizes))]
        kernel = [middle(records, cpus, side, "kernel_s") for cpus in sizes]
        user = [middle(records, cpus, side, "userspace_s") for cpus in sizes]
        wasted = [middle(records, cpus, side, "boot.Virtual mem wasted bytes") / 2**20 for cpus in sizes]
        time.bar(places, kernel, width, color=COLOURS[side], alpha=0.5)
        time.bar(places, user, width, bottom=kernel, color=COLOURS[side], label=label)
        bars = waste.bar(places, wasted, width, color=COLOURS[side], label=label)
        waste.bar_label(bars, [f"{value:,.0f}" for value in wasted], fontsize=8)
    for axes in (time, waste):
        axes.set_xticks(range(len(sizes)), [f"{cpus} CPUs" for cpus in sizes])
    time.set_ylabel("s until all is started, emulated\n(pale: kernel, full: user space)")
    waste.set_ylabel("MiB wasted at boot")
    waste.legend()
    figure.tight_layout()
    figure.savefig(Path(sys.argv[2]) / "boot.svg", metadata={"Date": None})


main()
