# SPDX-License-Identifier: GPL-2.0
"""Shows what is in flight in the guest, as a table that refreshes."""

import os
import shutil
import sys

from .protocol import Blocks
from .table import aligned

CLEAR = "\033[H\033[2J"
# Of what is no terminal.
ANY_SIZE = os.terminal_size((200, 50))


class Screen:
    """Takes the lines of the job "watch", and draws each of its frames."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()
        self.blocks = Blocks()
        self.tables = {"dedup": [], "stats": []}
        self.last = None

    def line(self, line):
        block = self.blocks.take(line)
        if block:
            name, lines = block
            self.tables[name] = [line.split("\t") for line in lines]
            if name == "stats":
                self.draw()

    def draw(self):
        text = self.frame()
        if text == self.last:
            return
        self.last = text
        print(f"{CLEAR}{text}" if self.terminal else f"{text}\n", flush=True)

    def frame(self):
        """The flights, oldest first, and below them the counters."""
        size = shutil.get_terminal_size() if self.terminal else ANY_SIZE
        flights, stats = self.tables["dedup"], self.tables["stats"]
        flights = [[cell.replace("_", " ") for cell in flights[0]], *flights[1:]] if flights else []
        room = max(size.lines - len(stats) - 5, 5)
        shown, hidden = flights[: room + 1], flights[room + 1 :]
        lines = [line[: size.columns] for line in aligned(shown)]
        if hidden:
            lines.append(f"and {len(hidden)} more")
        if not flights[1:]:
            lines.append("(nothing in flight)")
        return "\n".join([*lines, "", *(f"{name}  {value}" for name, value in stats)])
