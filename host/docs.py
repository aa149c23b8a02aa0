# SPDX-License-Identifier: GPL-2.0
"""The documents of the repository: the tables that commands write into them, their links, and the licence of each file.

A document shows a table between "<!-- begin: make bench -->" and "<!-- end -->". It is made of what that command has
recorded in bench/results/. With RECORD=1 the command records its result, and writes the table again.
"""

import datetime
import json
import re
import shutil
from pathlib import Path

from . import bench, boot, tap
from .table import markdown
from .util import OUT, TOP, Failure, output_of, say, write_json

RESULTS = TOP / "bench/results"
# When each result was recorded, and with which kernel.
DATES = RESULTS / "recorded.json"
# What a command records: the file of its result, what belongs to that, and how the documents show it.
RECORDS = {
    "make bench": (
        "bench.json",
        ("bench-profile.md", "bench-storm.svg", "bench-leader.svg", "bench-late.svg"),
        lambda figures: markdown(bench.table(figures)),
    ),
    "make boot-compare": (
        "boot.json",
        ("boot.svg",),
        lambda done: "\n".join([markdown(boot.table(done)), *(f"{note}\n" for note in boot.notes(done))]),
    ),
    "make compare": ("compare-stock.json", (), markdown),
    "make mounts": ("mounts.json", (), markdown),
}
BLOCK = re.compile(r"(?<=<!-- begin: )(.+?)( -->\n)(.*?)(?=<!-- end -->)", re.S)
README_LINES = 120
# Files without a line for their licence: what is data, or a mail, or has no room for comments.
UNMARKED = {
    "COPYING",
    "Documentation/ABI/testing/debugfs-module-dedup",
    "bench/results/bench-profile.md",
    "kernel/module/.kunitconfig",
    "patches/cover-letter",
    "tools/testing/selftests/module/settings",
    "vm/debian/etc/hostname",
    "vm/debian/etc/machine-id",
    "vm/job/welcome",
}
UNMARKED_ENDINGS = (".json", ".lock", ".patch", ".svg", ".tap", "/base")


def pages():
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md")
    return [*(TOP / name for name in names), *sorted((TOP / "docs").glob("*.md"))]


def rendered(command):
    """What the documents show of a result that was recorded."""
    name, _, render = RECORDS[command]
    made = json.loads(DATES.read_text())[name]
    text = render(json.loads((RESULTS / name).read_text()))
    note = f"Recorded on {made['date']}, with Linux {made['kernel']}. `{command} RECORD=1` records it again."
    return f"\n{text}\n{note}\n\n"


def record(command, kernel):
    """Keeps what a command has left in out/, and shows it in the documents."""
    name, more, _ = RECORDS[command]
    for file in (name, *more):
        shutil.copyfile(OUT / file, RESULTS / file)
    dates = json.loads(DATES.read_text()) if DATES.is_file() else {}
    dates[name] = {"date": str(datetime.date.today()), "kernel": kernel}
    write_json(DATES, dict(sorted(dates.items())))
    for page in rewrite({command}):
        say(f"{page.relative_to(TOP)} shows the new result.")


def rewrite(commands):
    """Writes the tables of some commands into the documents again. Returns the documents that have changed."""
    changed = []
    for page in pages():
        before = page.read_text()
        after = BLOCK.sub(
            lambda block: block[1] + block[2] + (rendered(block[1]) if block[1] in commands else block[3]), before
        )
        if after != before:
            page.write_text(after)
            changed.append(page)
    return changed


def wrong_tables():
    """The tables in the documents that are not what was recorded, and the results that no document shows."""
    wrong, shown = [], set()
    for page in pages():
        for command, _, text in BLOCK.findall(page.read_text()):
            shown.add(command)
            if command not in RECORDS or text != rendered(command):
                wrong.append(f"{page.relative_to(TOP)} ({command})")
    return wrong + [f"no document ({command})" for command in RECORDS if command not in shown]


def prose(page):
    """A document without its examples, in which nothing is a heading or a link."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)


def anchors(page):
    """What a link may name in a document: its headings, as GitHub spells them."""
    found = []
    for heading in re.findall(r"^#+ +(.+?) *$", page.read_text(), re.M):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in found)
        found.append(f"{name}-{count}" if count else name)
    return found


def wrong_links(page):
    """The links of a document that lead to no file of the repository, or to no heading of it."""
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        there = place.exists() and place.is_relative_to(TOP)
        if not there or (anchor and (place.suffix != ".md" or anchor not in anchors(place))):
            wrong.append(target)
    return wrong


def unlicensed():
    """The files of the repository whose first lines name no licence, but for those that need none."""
    listed = output_of(["git", "-C", TOP, "ls-files", "-z"])
    if not listed:
        raise Failure(f"{TOP} is no clone that git can read, so it is not known which files belong to the repository.")
    names = [name for name in listed.split("\0") if name and not name.endswith(UNMARKED_ENDINGS)]
    return [
        name
        for name in names
        if name not in UNMARKED and (TOP / name).is_file() and b"SPDX-License-Identifier" not in head(TOP / name)
    ]


def head(path: Path):
    return b"\n".join(path.read_bytes().split(b"\n", 4)[:4])


def checks():
    """What must hold for the documents, as results."""
    results = []
    for page in pages():
        wrong = wrong_links(page)
        name = f"{page.relative_to(TOP)}: every link leads somewhere {' '.join(wrong)}".strip()
        results.append(tap.verdict(name, not wrong))
    count = len((TOP / "README.md").read_text().splitlines())
    results.append(tap.verdict(f"README.md has {count} lines, at most {README_LINES}", count <= README_LINES))
    wrong = wrong_tables()
    results.append(tap.verdict(f"tables are what was recorded {' '.join(wrong)}".strip(), not wrong))
    wrong = unlicensed()
    results.append(tap.verdict(f"every file names its licence {' '.join(wrong)}".strip(), not wrong))
    return results
