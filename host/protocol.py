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


def blocks(output):
    """The lines between each @begin and its @end, by name."""
    found, name, lines = {}, None, []
    for line in output.splitlines():
        if line.startswith("@begin "):
            name, lines = line.removeprefix("@begin "), []
        elif line == "@end" and name:
            found[name], name = lines, None
        elif name:
            lines.append(line)
    return found
