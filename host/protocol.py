# SPDX-License-Identifier: GPL-2.0
"""What a guest tells the host, on its second serial port. What runs in guests is in vm/, and writes these lines:

    @step TEXT    what happens now, for the user
    @NAME TEXT    something that was found; TEXT often is KEY=VALUE words
    @begin NAME   what stands between here and "@end" is to be taken as it is, as a file or a table
    @exit STATUS  the job is done; the last line

All other lines are for somebody else: the output of tests, for one.
"""

import re

from .util import say


def texts(output, name):
    """What stands behind each @name."""
    return re.findall(rf"^@{name} (.*)$", output, re.M)


def words_of(text):
    """KEY=VALUE words as a dictionary."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def records(output, name):
    """The words behind each @name."""
    return [words_of(text) for text in texts(output, name)]


def record(output, name):
    """The words behind the first @name; none if there is no such line."""
    return next(iter(records(output, name)), {})


def status(output):
    """The exit status of the job, or None if it has not come to its end."""
    found = re.search(r"^@exit (\d+)$", output, re.M)
    return int(found[1]) if found else None


def show_step(line):
    """Takes a line as soon as it is there, and shows it to the user if it is for the user."""
    if line.startswith("@step "):
        say(f"  {line.removeprefix('@step ')}")


class Blocks:
    """Takes lines one by one, and finds what stands between @begin and @end."""

    def __init__(self):
        self.name, self.lines = None, []

    def take(self, line):
        """Returns the name and the lines of the block that ends with this line, or None."""
        if line.startswith("@begin "):
            self.name, self.lines = line.removeprefix("@begin "), []
        elif line == "@end" and self.name:
            name, self.name = self.name, None
            return name, self.lines
        elif self.name:
            self.lines.append(line)
        return None


def blocks(output):
    """All blocks, by name."""
    return dict(filter(None, map(Blocks().take, output.splitlines())))
