# SPDX-License-Identifier: GPL-2.0
"""Tables, for terminals and as Markdown. A table is a list of rows of cells; the first row is the heading."""

from itertools import zip_longest

from .util import write_json


def aligned(rows, right=()):
    """The rows as lines, with the columns below each other; cells of those in right end alike, as numbers should."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = []
    for row in rows:
        cells = zip(row, widths, strict=False)
        texts = [cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(cells)]
        lines.append("  ".join(texts).rstrip())
    return lines


def markdown(rows):
    first, *rest = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (first, ("---",) * len(first), *rest))


def publish(place, data, rows, notes):
    """Shows a table and what is to be said of it; keeps both as Markdown, beside a JSON file of what they show."""
    print("\n".join(aligned(rows)), f"\n\n{notes}", sep="", flush=True)
    place.with_suffix(".md").write_text(f"{markdown(rows)}\n{notes}\n")
    write_json(place, data)
