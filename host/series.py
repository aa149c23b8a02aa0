# SPDX-License-Identifier: GPL-2.0
"""The series: our files and the hook patches, and how they get onto a kernel tree."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .util import OUT, TOP, Failure, output_of, say, write_if_changed

PATCHES = TOP / "patches"
# Where a file of ours goes, if not to the same place.
MOVED = {"Kconfig": "kernel/module/Kconfig.dedup"}


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


def steps():
    """The steps of the series: [(name of the hook patch, [our files])]."""
    found = []
    for line in (PATCHES / "series").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, places = line.partition(":")
        files = []
        for place in places.split():
            path = TOP / place
            files += [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        found.append((name, [file for file in files if not ignored(file)]))
    return found


def ignored(path):
    """Whether a file is one that a build left behind."""
    return path.suffix in {".o", ".ko", ".mod", ".cmd", ".order", ".symvers", ".orig", ".rej", ".zst", ".xz"}


def target(path):
    """Where a file of ours goes in a kernel tree."""
    name = str(path.relative_to(TOP))
    return MOVED.get(name, name)


def patch_file(name, version):
    """The hook patch for a kernel version: its own one, or that of the newest version."""
    for folder in (version[:2], supported()[-1]):
        path = PATCHES / text_of(folder) / name
        if path.is_file():
            return path
    raise Failure(f"There is no patch {name} in patches/{text_of(supported()[-1])}.")


def touched(patch):
    """The files that a patch changes."""
    return re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.M)


def check_version(tree):
    """The version of a tree; fails unless our patches could fit it."""
    version = kernel_version(tree)
    if not version:
        raise Failure(f"{tree} is no kernel tree (it has no kernel/module/main.c, or no version in its Makefile).")
    if version[:2] < supported()[0]:
        raise Failure(f"{tree} is Linux {text_of(version)}; we have patches for {supported_text()}.")
    if version[:2] not in supported():
        say(
            f"{tree} is Linux {text_of(version)}, which we have no patches for; "
            f"trying those for {text_of(supported()[-1])}."
        )
    return version


def step_contents(tree, version):
    """Yields, for each step, its patch and {place in the tree: new contents}. Writes nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for name, files in steps():
            patch = patch_file(name, version)
            for place in touched(patch):
                source, copy = Path(tree) / place, scratch / place
                if copy.exists():
                    continue
                if not source.is_file():
                    raise Failure(f"{tree} has no {place}; the hook {patch.relative_to(TOP)} does not fit.")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
            result = subprocess.run(
                ["patch", "-p1", "-s", "-f", "-F2", "--no-backup-if-mismatch", "-r", "-", "-i", patch],
                cwd=scratch,
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode:
                raise Failure(
                    f"The hook {patch.relative_to(TOP)} does not apply to Linux {text_of(version)} in {tree}:\n"
                    f"{result.stdout.strip()}\nWe have patches for {supported_text()}."
                )
            contents = {place: (scratch / place).read_bytes() for place in touched(patch)}
            contents |= {target(file): file.read_bytes() for file in files}
            yield patch, contents


def contents(tree, version):
    """All that changes in a tree: {place: new contents}."""
    result = {}
    for _, changed in step_contents(tree, version):
        result |= changed
    return result


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
        (Path(tree) / place).unlink(missing_ok=True)
        original = Path(stock) / place
        if original.is_file():
            write_if_changed(Path(tree) / place, original.read_bytes(), mode_of(place))
    write_if_changed(manifest, "\n".join(sorted(wanted)).encode())
    for place, data in wanted.items():
        write_if_changed(Path(tree) / place, data, mode_of(place))


def apply(tree):
    """Puts the series onto somebody's own tree: all of it, or nothing."""
    tree = Path(tree).resolve()
    if not tree.is_dir():
        raise Failure(f"{tree} is no folder. Which kernel tree is it to be? make apply KSRC=/path/to/linux")
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
    ours = {target(file) for _, files in steps() for file in files}
    taken = [place for place in ours if (tree / place).exists()]
    if taken:
        raise Failure(f"{tree} has a {taken[0]} of its own.")
    replaced = {}
    try:
        for place, data in wanted.items():
            path = tree / place
            replaced[path] = (path.read_bytes(), path.stat().st_mode & 0o777) if path.exists() else None
            write_if_changed(path, data, replaced[path][1] if replaced[path] else mode_of(place))
    except OSError as error:
        for path, original in replaced.items():
            if original:
                write_if_changed(path, *original)
            else:
                path.unlink(missing_ok=True)
        raise Failure(f"Writing to {tree} failed, and was undone: {error}") from error
    say(f"Linux {text_of(version)} in {tree} has the series now. Set CONFIG_RUST=y and CONFIG_MODULE_DEDUP=y.")


def generate(stock):
    """Writes the series to out/series/, for git am. Returns the files.

    git itself makes them, in a repository that has only the files that change.
    """
    version = check_version(stock)
    out = OUT / "series"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as repo:
        git(repo, "init", "-q")
        for place in contents(stock, version):
            original = Path(stock) / place
            if original.is_file():
                copy = Path(repo) / place
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, copy)
        git(repo, "add", "-A")
        git(repo, "commit", "-q", "--allow-empty", "-m", f"Linux {text_of(version)}")
        for patch, changed in step_contents(stock, version):
            for place, data in changed.items():
                copy = Path(repo) / place
                mode = copy.stat().st_mode & 0o777 if copy.exists() else mode_of(place)
                write_if_changed(copy, data, mode)
            message = patch.read_text().split("\n---\n")[0].strip()
            git(repo, "add", "-A")
            git(repo, "commit", "-q", "-m", message)
        git(repo, "format-patch", "-q", "-o", str(out), "--no-signature", f"HEAD~{len(steps())}")
    return sorted(out.glob("*.patch"))


def git(repo, *args):
    """git, as the user, or as nobody in particular where the user has no name."""
    who = {}
    for key, default in (("name", "module-dedup"), ("email", "module-dedup@localhost")):
        value = (output_of(["git", "config", f"user.{key}"]) or default).strip()
        who |= {f"GIT_AUTHOR_{key.upper()}": value, f"GIT_COMMITTER_{key.upper()}": value}
    result = subprocess.run(
        ["git", "-C", repo, "-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false", *args],
        env=os.environ | who,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise Failure(f"git {args[0]} failed: {result.stderr.strip()}")
