# SPDX-License-Identifier: GPL-2.0
"""The kernel source: Debian's newest, or the user's own."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from . import apt, series
from .settings import asked
from .util import CACHE, Failure, cause, locked, log_file, need_space, run, say, tail

SRC = CACHE / "src"
# Where Debian has newer kernels than its stable release; the last has them first.
SUITES = ("trixie-backports", "sid")


def debian_source():
    """The tree of Debian's newest kernel source that we have patches for; fetched once.

    Debian moves on: if none of our versions is left, it is the newest there is.
    """
    known = sorted(SRC.glob("debian-*"), key=lambda path: apt.version_of(path.name)) if SRC.is_dir() else []
    # Those with a + in their name have the series on them.
    known = [path for path in known if not re.search(r"\+|\.part$", path.name) and fits(path)]
    if known:
        return known[-1]

    need_space(4, "A kernel source with a build of it")
    suites = apt.Suites(SUITES)
    log = suites.update()
    found = [
        (apt.version_of(version), name, version)
        for name, versions in suites.versions(r"linux-source-\d+\.\d+").items()
        for version in versions
    ]
    if not found:
        raise Failure(
            f"No kernel source was found in Debian's package lists: {cause(log) or 'they name none'}. "
            f"Name a tree or a tarball by KSRC=/path/to/linux. The whole log: {log}"
        )
    ours = [entry for entry in found if entry[0][:2] in series.supported()]
    _, name, version = max(ours or found)
    tree = SRC / f"debian-{version.split('-')[0]}"
    say(f"Fetching Linux {version.split('-')[0]} (Debian's {name}, 170 MB)")
    fetch_tree(suites, name, version, tree)
    return tree


def fetch_tree(suites, name, version, tree, change=None):
    """Makes a tree of a Debian package with a kernel source; change() gets it before it has its name."""
    package = suites.download(name, version)
    try:
        part = fresh_folder(tree.with_name(tree.name + ".part"))
        say("Unpacking the source")
        unpack(package, f"./usr/src/{name}.tar.xz", part)
        if change:
            change(part)
        part.rename(tree)
    finally:
        shutil.rmtree(package.parent, ignore_errors=True)


def unpack(package, archive, folder):
    """Unpacks a compressed archive that is in a Debian package, less its top folder."""
    commands = (
        ["dpkg-deb", "--fsys-tarfile", package],
        ["tar", "xO", archive],
        ["xz", "-dT0"],
        ["tar", "x", "--strip-components=1", "-C", folder],
    )
    log = log_file("unpack.log")
    processes, source = [], subprocess.DEVNULL
    with open(log, "wb") as errors:
        for command in commands:
            processes.append(subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=errors))
            if source != subprocess.DEVNULL:
                # So that who writes hears of it if who reads has ended.
                source.close()
            source = processes[-1].stdout
        source.close()
        failed = [command[0] for command, process in zip(commands, processes, strict=True) if process.wait()]
    if failed:
        reason = cause(log) or f"\n{tail(log)}\n"
        raise Failure(f"Unpacking the source failed ({', '.join(failed)}): {reason}. The whole log: {log}")


def fits(tree):
    version = series.kernel_version(tree)
    return version and version[:2] in series.supported()


def fresh_folder(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def own_source(given, toolchain):
    """A copy of a tree or a tarball of the user's, which itself is left alone."""
    given = Path(given).expanduser().resolve()
    if not given.exists():
        raise Failure(f"KSRC={given} does not exist.")
    tree = SRC / f"own-{hashlib.sha256(str(given).encode()).hexdigest()[:12]}"
    if given.is_dir():
        series.check_version(given)
        say(f"Copying {given}")
        tree.mkdir(parents=True, exist_ok=True)
        run(
            ["rsync", "-a", "--delete", "--exclude=/.git", f"{given}/", f"{tree}/"],
            log=log_file("copy.log"),
            what=f"Copying {given}",
        )
        if (tree / ".config").exists() or (tree / "include/config").exists():
            run(
                ["make", "-C", str(tree), "mrproper"],
                log=log_file("mrproper.log"),
                what="make mrproper in the copy",
                env=toolchain.env,
            )
    elif not tree.is_dir() or (tree / ".stamp").read_text() != stamp_of(given):
        say(f"Unpacking {given}")
        part = fresh_folder(tree.with_name(tree.name + ".part"))
        unpacked = subprocess.run(["tar", "xf", given, "-C", part], capture_output=True, text=True, check=False)
        if unpacked.returncode:
            shutil.rmtree(part)
            raise Failure(f"KSRC={given} is neither a folder nor a tarball ({unpacked.stderr.strip()}).")
        inner = list(part.iterdir())
        top = inner[0] if len(inner) == 1 and inner[0].is_dir() else part
        if not series.kernel_version(top):
            shutil.rmtree(part)
            raise Failure(f"There is no kernel tree in {given}.")
        (top / ".stamp").write_text(stamp_of(given))
        shutil.rmtree(tree, ignore_errors=True)
        top.rename(tree)
        shutil.rmtree(part, ignore_errors=True)
    series.check_version(tree)
    return tree


def stamp_of(path):
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


_made = []


def trees(toolchain):
    """The stock tree, and the one with the series on it: (stock, patched).

    Made once, since others may be building from it when it is asked for again.
    """
    with locked("kernel source"):
        if not _made:
            _made.append(_trees(toolchain))
        return _made[0]


def _trees(toolchain):
    stock = stock_tree(toolchain)
    patched = copy_of(stock, "dedup")
    series.sync(stock, patched)
    return stock, patched


def fetch():
    """What trees() has to fetch, if anything."""
    with locked("kernel source"):
        if not asked().ksrc:
            debian_source()


def stock_tree(toolchain):
    """The tree that KSRC= names, or Debian's."""
    given = asked().ksrc
    return own_source(given, toolchain) if given else debian_source()


def copy_of(stock, suffix):
    """A copy of the stock tree, with what series.py has put there; made once."""
    tree = stock.with_name(f"{stock.name}+{suffix}")
    if asked().ksrc and tree.is_dir():
        # The user's tree may have changed.
        run(
            ["rsync", "-a", "--delete", "--exclude=/.module-dedup", f"--link-dest={stock}", f"{stock}/", f"{tree}/"],
            log=log_file("copy.log"),
            what="Copying the source",
        )
    if not tree.is_dir():
        part = tree.with_name(tree.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        # Hard links: what we change is replaced, never written to.
        run(["cp", "-al", stock, part], log=log_file("copy.log"), what="Copying the source")
        part.rename(tree)
    return tree
