# SPDX-License-Identifier: GPL-2.0
"""Draws what was measured: python3 plot.py bench.json FOLDER writes FOLDER/bench-*.svg."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# No dates and no random names: the same figures make the same picture.
matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 10, "axes.spines.top": False, "axes.grid": True})
matplotlib.rcParams.update({"axes.spines.right": False, "grid.alpha": 0.3, "legend.frameon": False})
from matplotlib import pyplot as plt  # noqa: E402

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIDES = {
    "off": ("no de-duplication", "tab:gray", "^"),
    "stock": ("C code of Linux", "tab:orange", "s"),
    "ours": ("this series", "tab:blue", "o"),
}


def save(figure, folder, name):
    figure.tight_layout()
    figure.savefig(Path(folder) / f"bench-{name}.svg", metadata={"Date": None})
    plt.close(figure)


def against_count(axes, figures, key, scale, counts=COUNTS, sides=SIDES):
    """One line for each side, against the number of callers."""
    for side in sides:
        label, colour, marker = SIDES[side]
        values = [(n, figures.get(key.format(side, n))) for n in counts]
        points = [(n, value / scale) for n, value in values if value is not None]
        axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.set_xlabel("processes that load one file at once")


def storm(figures, folder):
    figure, (time, waste) = plt.subplots(1, 2, figsize=(9, 3.6))
    against_count(time, figures, "storm.1m.{}.{}.last_return_ns", 1e6)
    time.set_yscale("log")
    time.set_ylabel("million instructions until all are back")
    time.legend()
    against_count(waste, figures, "storm.1m.{}.{}.wasted_bytes", 2**20)
    waste.set_ylabel("MiB read in vain")
    waste.set_yscale("symlog", linthresh=1)
    waste.set_ylim(bottom=0)
    figure.suptitle("A module of 1 MiB")
    save(figure, folder, "storm")


def leader(figures, folder):
    figure, axes = plt.subplots(figsize=(5, 3.6))
    against_count(axes, figures, "storm.16k.{}.{}.leader_delay_insns", 1e3, sides=("stock", "ours"))
    axes.set_ylabel("thousand instructions")
    axes.set_title("From live until the leader is back")
    axes.legend()
    save(figure, folder, "leader")


def late(figures, folder):
    figure, axes = plt.subplots(figsize=(5, 3.6))
    sizes = {"16k": 16, "1m": 1024, "8m": 8192}
    for side in ("stock", "ours"):
        label, colour, marker = SIDES[side]
        values = [figures[f"late.{size}.{side}.ns"] / 1e3 for size in sizes]
        axes.plot(list(sizes.values()), values, label=label, color=colour, marker=marker)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(sizes.values()), ["16 KiB", "1 MiB", "8 MiB"])
    axes.set_yscale("log")
    axes.set_ylabel("thousand instructions")
    axes.set_title("A load of a module that is live")
    axes.legend()
    save(figure, folder, "late")


def main():
    figures = json.loads(Path(sys.argv[1]).read_text())
    for draw in (storm, leader, late):
        draw(figures, sys.argv[2])


main()
