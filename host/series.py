# SPDX-License-Identifier: GPL-2.0
"""The series as it lies in patches/: mails, and how it gets onto a kernel tree.

patches/<version>/NNNN-*.patch are mails as git format-patch writes them, one a step. The newest version has all steps;
an older one has those whose changes to stock files are not the same there. Our own files are edited where they lie in
this repository (the overlay), and never in a mail: make absorb carries what has changed into the steps (stack.py).
What is built is the stock tree, with what the mails change in stock files, and the overlay on top; so no edit of
the overlay has to be absorbed before it can be built.
"""

import re
import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

from .util import TOP, Failure, output_of, say, write_if_changed

PATCHES = TOP / "patches"
# What of this repository is laid over a kernel tree.
OVERLAY = ("Documentation", "Kconfig", "include", "kernel", "rust", "tools/testing")
# Where a file of ours goes, if not to the same place.
MOVED = {"Kconfig": "kernel/module/Kconfig.dedup"}
# How the names of files end that a build leaves behind.
BUILT = {".o", ".ko", ".mod", ".cmd", ".order", ".symvers", ".orig", ".rej", ".zst", ".xz"}


def kernel_version(tree):
    """The version of a kernel tree as (major, minor, patch), or None if it is no kernel tree."""
    makefile = Path(tree) / "Makefile"
    if not makefile.is_file() or not (Path(tree) / "kernel/module/main.c").is_file():
        return None
    values = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", makefile.read_text(errors="replace"), re.M))
    if len(values) != 3:
        return None
    return int(values["VERSION"]), int(values["PATCHLEVEL"]), int(values["SUBLEVEL"])


def text_of(version):
    return ".".join(map(str, version))


def supported():
    """The kernel versions that we have patches for, oldest first."""
    names = [path.name for path in PATCHES.iterdir() if path.is_dir()]
    return sorted(tuple(map(int, name.split("."))) for name in names)


def supported_text():
    return ", ".join(map(text_of, supported()))


class Mail:
    """One step of the series."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text()
        # git am cuts at the same line.
        top, cut, rest = self.text.partition("\n---\n")
        self.stat, diff, diffs = rest.partition("\ndiff --git ")
        if not cut or not diff or "\n\n" not in top:
            raise Failure(f"{self.name} is no mail with a patch. make absorb writes such mails.")
        self.headers, _, self.message = top.partition("\n\n")
        # What it does to each file: {place: diff}.
        self.diffs = {}
        for text in re.split(r"^(?=diff --git )", f"diff --git {diffs}", flags=re.M)[1:]:
            self.diffs[re.match(r"diff --git a/\S+ b/(\S+)", text)[1]] = text

    @property
    def name(self):
        return str(self.path.relative_to(TOP)) if self.path.is_relative_to(TOP) else str(self.path)

    @property
    def step(self):
        """What the step is called in all versions, whatever its number."""
        return self.path.stem.partition("-")[2]

    @cached_property
    def subject(self):
        line = re.search(r"^Subject: (.*(?:\n[ \t].*)*)", self.headers, re.M)
        if not line:
            raise Failure(f"{self.name} has no subject.")
        return re.sub(r"^\[.*?\] *", "", re.sub(r"\n\s+", " ", line[1]))

    def creates(self):
        return {place for place, diff in self.diffs.items() if re.search(r"^new file mode", diff, re.M)}

    def deletes(self):
        return {place for place, diff in self.diffs.items() if re.search(r"^deleted file mode", diff, re.M)}


def own_mails(folder):
    return [Mail(path) for path in sorted(folder.glob("[0-9]*.patch"))]


def mails(version):
    """The steps for a kernel version: its own mails, and those of the newest version for the other steps."""
    newest = supported()[-1]
    found = own_mails(PATCHES / text_of(newest))
    if not found:
        raise Failure(f"There are no mails in patches/{text_of(newest)}.")
    if version[:2] in supported() and version[:2] != newest:
        own = {mail.step: mail for mail in own_mails(PATCHES / text_of(version[:2]))}
        lost = set(own) - {mail.step for mail in found}
        if lost:
            name = own[lost.pop()].name
            raise Failure(f"{name} is no step of patches/{text_of(newest)} (any more). Rename it, or remove it.")
        found = [own.get(mail.step, mail) for mail in found]
    return found


def created(steps):
    """The files that the series brings, at one of these steps or another."""
    return {place for mail in steps for place in mail.creates()}


def overlay():
    """Our files: {place in a kernel tree: path}."""
    files = []
    for name in OVERLAY:
        path = TOP / name
        files += [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {target(file): file for file in files if not ignored(file)}


def lines_of(text):
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def patched(text, diff):
    """A text with a diff applied that fits it to the line. Fails with ValueError if it does not fit."""
    old, new, at = lines_of(text), [], 0
    for hunk in re.split(r"^(?=@@ )", diff, flags=re.M)[1:]:
        first, *body = lines_of(hunk)
        match = re.match(r"@@ -(\d+)(?:,(\d+))? ", first)
        # A hunk that takes no line names the one before it.
        start = int(match[1]) - (match[2] != "0")
        new += old[at:start]
        at = start
        for line in body:
            if line[0] == "\\":
                # The line before it has no newline.
                new[-1] = new[-1].rstrip("\n")
                continue
            if line[0] in " -":
                if at >= len(old) or old[at].rstrip("\n") != line[1:].rstrip("\n"):
                    raise ValueError(f"line {at + 1}")
                at += 1
            if line[0] in " +":
                new.append(line[1:])
    return "".join([*new, *old[at:]])


def grown(steps):
    """Yields, for each step, its mail and all our files as they are after it: {place: text}. Needs no kernel tree."""
    ours, files = created(steps), {}
    for mail in steps:
        for place in ours & set(mail.diffs):
            try:
                text = patched("" if place in mail.creates() else files[place], mail.diffs[place])
            except (KeyError, ValueError) as error:
                raise Failure(f"{mail.name} does not fit {place} as the steps before it leave it ({error}).") from error
            files[place] = text
            if place in mail.deletes():
                del files[place]
        yield mail, dict(files)


def differing(steps):
    """Our files that are not, to the byte and with their mode, what the last step leaves."""
    *_, (_, files) = grown(steps)
    modes = {}
    for mail in steps:
        for place, diff in mail.diffs.items():
            mode = re.search(r"^new (?:file )?mode 100(\d+)$", diff, re.M)
            if mode:
                modes[place] = int(mode[1], 8)
    ours = overlay()
    return sorted(
        place
        for place in {*files, *ours}
        if place not in files
        or place not in ours
        or files[place].encode() != ours[place].read_bytes()
        or modes[place] != mode_of(place)
    )


def diffstat(diffs):
    """How many lines diffs add and remove, as lines of text: {place: diff}, or {place: all of its diffs}."""
    counts = {}
    for place, diff in diffs.items():
        body = [
            line
            for hunk in re.split(r"^@@ .*\n", diff, flags=re.M)[1:]
            for line in hunk.split("\ndiff --git ")[0].split("\n")
        ]
        counts[place] = tuple(sum(line.startswith(sign) for line in body) for sign in "+-")
    width = max(map(len, counts))
    added, removed = (sum(column) for column in zip(*counts.values(), strict=True))
    return [
        *(f" {place:<{width}} | +{plus} -{minus}" for place, (plus, minus) in counts.items()),
        f" {len(counts)} files changed, {added} insertions(+), {removed} deletions(-)",
    ]


def check_absorbed(version):
    """Fails unless the last step for a version leaves what the overlay has."""
    wrong = differing(mails(version))
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise Failure(f"The series for {text_of(version[:2])} does not have the latest of {shown}. Run make absorb.")


def ignored(path):
    """Whether a file is one that a build, or checkpatch, left behind."""
    return path.suffix in BUILT or path.name.startswith(".checkpatch-")


def target(path):
    """Where a file of ours goes in a kernel tree."""
    name = str(path.relative_to(TOP))
    return MOVED.get(name, name)


def check_version(tree):
    """The version of a tree; fails unless our patches could fit it."""
    version = kernel_version(tree)
    if not version:
        raise Failure(f"{tree} is no kernel tree (it has no kernel/module/main.c, or no version in its Makefile).")
    if version[:2] < supported()[0]:
        raise Failure(f"{tree} is Linux {text_of(version)}; there are patches for {supported_text()}.")
    if version[:2] not in supported():
        say(
            f"{tree} is Linux {text_of(version)}, for which there are no patches; "
            f"trying those for {text_of(supported()[-1])}."
        )
    return version


def contents(tree, version):
    """All that changes in a tree: {place: new contents, or None where a file goes}. Writes nothing.

    What the mails change in stock files, and the overlay.
    """
    steps = mails(version)
    ours = created(steps) | set(overlay())
    result = {}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for mail in steps:
            hooks = {place: diff for place, diff in mail.diffs.items() if place not in ours}
            for place in hooks:
                source, copy = Path(tree) / place, scratch / place
                if place not in result:
                    if not source.is_file():
                        raise Failure(f"{tree} has no {place}; {mail.name} does not fit.")
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, copy)
                    result[place] = None
            done = subprocess.run(
                ["patch", "-p1", "-s", "-f", "-F2", "--no-backup-if-mismatch", "-r", "-"],
                cwd=scratch,
                input="".join(hooks.values()),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                raise Failure(
                    f"{mail.name} does not apply to Linux {text_of(version)} in {tree}:\n"
                    f"{done.stdout.strip()}\nThere are patches for {supported_text()}."
                )
        for place in result:
            copy = scratch / place
            result[place] = copy.read_bytes() if copy.is_file() else None
    return result | {place: path.read_bytes() for place, path in overlay().items()}


def put(path, data, mode):
    """Makes a file what is wanted, if it differs; None is no file."""
    if data is None:
        path.unlink(missing_ok=True)
    else:
        write_if_changed(path, data, mode)


def mode_of(place):
    source = TOP / place
    return 0o755 if (source.is_file() and source.stat().st_mode & 0o100) or place.endswith(".sh") else 0o644


def sync(stock, tree):
    """Makes tree what stock is with the series on it. Touches only what differs."""
    version = check_version(stock)
    wanted = contents(stock, version)
    manifest = Path(tree) / ".module-dedup"
    before = manifest.read_text().split() if manifest.is_file() else []
    for place in set(before) - set(wanted):
        original = Path(stock) / place
        put(Path(tree) / place, original.read_bytes() if original.is_file() else None, mode_of(place))
    write_if_changed(manifest, "\n".join(sorted(wanted)).encode())
    for place, data in wanted.items():
        put(Path(tree) / place, data, mode_of(place))


def apply(tree):
    """Puts the series onto somebody's own tree: all of it, or nothing."""
    tree = Path(tree).resolve()
    if not tree.is_dir():
        raise Failure(f"{tree} is no folder. Name a kernel tree: make apply KSRC=/path/to/linux")
    version = check_version(tree)
    if (tree / MOVED["Kconfig"]).exists():
        raise Failure(f"{tree} has the series already.")
    if (tree / ".git").exists():
        status = output_of(["git", "-C", str(tree), "status", "--porcelain", "--untracked-files=no"])
        if status is None:
            raise Failure(f"git cannot read {tree}, so it is not known whether it has changes of your own.")
        if status:
            raise Failure(f"{tree} has changes that are not committed. Please commit or stash them first.")
    wanted = contents(tree, version)
    taken = [place for place in overlay() if (tree / place).exists()]
    if taken:
        raise Failure(f"{tree} has a {taken[0]} of its own.")
    replaced = {}
    try:
        for place, data in wanted.items():
            path = tree / place
            replaced[path] = (path.read_bytes(), path.stat().st_mode & 0o777) if path.exists() else None
            put(path, data, replaced[path][1] if replaced[path] else mode_of(place))
    except OSError as error:
        for path, original in replaced.items():
            if original:
                write_if_changed(path, *original)
            else:
                path.unlink(missing_ok=True)
        raise Failure(f"Writing to {tree} failed, and was undone: {error}") from error
    say(f"Linux {text_of(version)} in {tree} has the series now. docs/kernel.md says how to configure it.")
