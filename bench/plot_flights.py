# SPDX-License-Identifier: GPL-2.0
"""Draws the loads and requests of boots: python3 plot_flights.py NAME.json FOLDER writes FOLDER/NAME.svg.

NAME.json is written by host/picture.py.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
# Text stays text, so that one can search for a name, and the file is small. No dates and no random names.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "flights", "font.size": 8})
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

INCH = 0.2  # of height, for each row
WIDTH, LEGEND_INCH = 13, 0.5
READ, INIT, LIVE, REQUEST, BAD, WAIT = "#9ecae1", "#3182bd", "#deebf7", "#fdae6b", "#de2d26", "#636363"
LEGEND = (
    Patch(color=READ, label="load: file read, checked, linked"),
    Patch(color=INIT, label="load: init runs"),
    Patch(color=LIVE, label="load: before and after init"),
    Patch(color=REQUEST, label="request, until its helper has ended"),
    Patch(color=BAD, label="failed"),
    Line2D([], [], color="black", marker="|", linestyle="", label="a call follows"),
    Line2D([], [], color=WAIT, linestyle=":", label="stood in line"),
    Line2D([], [], color=REQUEST, marker=">", label="has caused, or waits for"),
)


def bars(axes, row, place, least):
    """The parts of a flight, one after the other: [(begin, length, colour)]."""
    begin, end = row["begin"], row["end"]
    if row["bad"] or row["what"] == "request":
        parts = [(begin, end, BAD if row["bad"] else REQUEST)]
    else:
        linked = row["linked"] or end
        parts = [(begin, linked, READ), (linked, end, LIVE)]
        if row["init"]:
            parts.append((row["init"], row["inited"] or end, INIT))
    for number, (left, right, colour) in enumerate(parts):
        # The first is seen, however short.
        width = right - left if number else max(right - left, least)
        axes.barh(place, width, left=left, height=0.7, color=colour, linewidth=0)


def ticks(axes, row, place, least):
    """Who follows, in one path. More than one in the same spot look like one."""
    xs, ys = [], []
    for spot in sorted({round(join / least) for join in row["joins"]}):
        xs += [spot * least, spot * least, float("nan")]
        ys += [place, place + 0.35, float("nan")]
    axes.plot(xs, ys, color="black", linewidth=0.6, solid_capstyle="butt")


def draw(axes, panel, first, last):
    rows = panel["rows"]
    least = (last - first) / 1000
    for place, row in enumerate(rows):
        if row["in_line"]:
            axes.plot([row["begin"] - row["in_line"], row["begin"]], [place] * 2, color=WAIT, linestyle=":")
        bars(axes, row, place, least)
        ticks(axes, row, place, least)
        # Beside the bar, where there is more room.
        left = row["begin"] - row["in_line"]
        right = max(row["end"], row["begin"] + least)
        if last - right > left - first:
            axes.text(right + 4 * least, place, row["note"], va="center", fontsize=7)
        else:
            axes.text(left - 4 * least, place, row["note"], va="center", ha="right", fontsize=7)
    for begin, end, time in panel["arrows"]:
        axes.annotate(
            "",
            xy=(time, end + (0.4 if end < begin else -0.4)),
            xytext=(time, begin + (0.4 if begin < end else -0.4)),
            arrowprops={
                "arrowstyle": "-|>",
                "color": REQUEST,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 0,
                "mutation_scale": 6,
            },
        )
    axes.set_yticks(range(len(rows)), ["↳ " * row["depth"] + row["name"] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(BAD if row["bad"] else "black")
        label.set_style("italic" if row["what"] == "request" else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(first, last)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(panel["title"], loc="left", fontsize=9)
    said = [text for text in (panel["left"], panel["lost"]) if text]
    axes.set_xlabel("\n".join(["seconds since the kernel started", *said]))


def main():
    data = Path(sys.argv[1])
    panels = json.loads(data.read_text())["panels"]
    rows = [row for panel in panels for row in panel["rows"]]
    first = min(row["begin"] - row["in_line"] for row in rows)
    last = max(row["end"] for row in rows)
    edge = (last - first) * 0.01
    heights = [len(panel["rows"]) * INCH for panel in panels]
    # Beside the rows each panel has a title and an axis; below all is the legend.
    height = sum(heights) + 1.1 * len(panels) + LEGEND_INCH
    figure, all_axes = plt.subplots(
        len(panels), 1, figsize=(WIDTH, height), height_ratios=heights, squeeze=False, layout="constrained"
    )
    share = LEGEND_INCH / height
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    for axes, panel in zip(all_axes[:, 0], panels, strict=True):
        draw(axes, panel, first - edge, last + edge)
    figure.legend(handles=LEGEND, loc="lower center", ncols=4, frameon=False, fontsize=7)
    figure.savefig(Path(sys.argv[2]) / f"{data.stem}.svg", metadata={"Date": None})


main()
