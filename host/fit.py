# SPDX-License-Identifier: GPL-2.0
"""make fit: does the series still fit the newest kernel source there is? What does not is said hunk by hunk."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import apt, series, source, tap
from .settings import asked
from .util import CACHE, Failure, cause, log_file, say

# The suites of Debian in which kernels appear first.
SUITES = ("experimental", "sid", "forky", "trixie-backports")
FOLDER = CACHE / "fit"


def newest(files):
    """The files of the newest kernel source in any suite, or those of them that it has: a folder, made once."""
    suites = apt.Suites(SUITES)
    log = suites.update()
    packages = suites.versions(r"linux-source-\d+\.\d+(-rc\d+)?")
    found = [(apt.version_of(one), "~rc" not in one, name, one) for name in packages for one in packages[name]]
    if not found:
        raise Failure(f"No kernel source was found in Debian's package lists: {cause(log) or 'they name none'}.")
    *_, name, version = max(found)
    folder = FOLDER / version
    if not folder.is_dir():
        say(f"Fetching {name} {version} (170 MB)")
        source.fetch_tree(suites, name, version, folder, lambda part: keep(part, files))
    return folder


def keep(tree, files):
    """Removes all but some files of a tree."""
    with tempfile.TemporaryDirectory(dir=tree.parent) as scratch:
        copy(tree, Path(scratch), files)
        shutil.rmtree(tree)
        shutil.copytree(scratch, tree)


def copy(tree, to, files):
    for place in files:
        if (tree / place).is_file():
            (to / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / place, to / place)


def tried(mail, tree, log):
    """What no longer fits of a step: lines for people. The rest of the step is applied to the tree."""
    command = ["git", "apply", "--reject", "--verbose", "-p1", mail.path]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})
    with open(log, "a", encoding="utf-8") as out:
        out.write(f"## {mail.name}\n{done.stdout}{done.stderr}\n")
    lost = []
    for text in re.split(r"^(?=Applying patch |Checking patch )", done.stdout + done.stderr, flags=re.M):
        place = re.match(r"(?:Applying|Checking) patch (\S+?)(?:\.\.\.| with)", text)
        if place:
            count = text.count("unk #")
            lost += [f"{place[1]}: hunk {n} of {count}" for n in re.findall(r"^Rejected hunk #(\d+)", text, re.M)]
    lost += [
        f"{place}: {why}"
        for place, why in re.findall(r"^error: (\S+): (No such file.*|already exists.*)", done.stderr, re.M)
    ]
    if done.returncode and not lost:
        lost.append(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "git apply failed")
    return lost


def results():
    """One result for each step."""
    files = {place for version in series.supported() for mail in series.mails(version) for place in mail.diffs}
    files.add("Makefile")
    given = asked().ksrc
    tree = Path(given).expanduser().resolve() if given else newest(files)
    version = series.kernel_version(tree)
    if not version:
        raise Failure(f"{tree} is no kernel tree (it has no kernel/module/main.c, or no version in its Makefile).")
    steps = series.mails(version)
    say(f"Trying the series on Linux {series.text_of(version)} in {tree}")
    log = log_file("fit.log")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        copy(tree, Path(scratch), files)
        for mail in steps:
            lost = tried(mail, scratch, log)
            for line in lost:
                say(f"  {mail.path.name}: {line}")
            found.append(tap.verdict(mail.path.name, not lost))
    say(f"The whole log, with the lines that were looked for: {log}")
    return found
