# SPDX-License-Identifier: GPL-2.0
"""Debian's packages: what is missing, and the kernel source."""

import functools
import os
import re
import tempfile
from pathlib import Path

from .util import CACHE, Failure, locked, log_file, output_of, run, say

# Signs all of Debian's suites; each Debian has it.
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def have_apt():
    return output_of(["apt-get", "--version"]) is not None


def version_of(text):
    """The first dotted number in a text, as a tuple."""
    match = re.search(r"(\d+(?:\.\d+)+)", text or "")
    return tuple(map(int, match[1].split("."))) if match else ()


@functools.cache
@locked("apt")
def update():
    """Refreshes the package lists, once. Only root can."""
    if have_apt() and os.geteuid() == 0:
        run(["apt-get", "update"], log=log_file("apt-update.log"), what="apt-get update", check=False)


def candidate(package):
    """The version of a package that could be installed, as a tuple; () if there is none."""
    update()
    text = output_of(["apt-cache", "policy", package], env={"LC_ALL": "C"}) or ""
    match = re.search(r"Candidate: (?:\d+:)?(\S+)", text)
    return version_of(match[1]) if match else ()


@locked("apt")
def install(packages):
    """Installs packages, or says which ones to install."""
    packages = sorted(packages)
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if not have_apt():
        raise Failure(f"Programs are missing. Install these, which have their Debian names: {' '.join(packages)}")
    if os.geteuid() != 0:
        raise Failure(f"Programs are missing. Run this as root: {command}")
    update()
    say(f"Installing {' '.join(packages)}")
    log = log_file("apt-install.log")
    run(
        ["apt-get", "install", "-y", "--no-install-recommends", "-oDPkg::Lock::Timeout=300", *packages],
        log=log,
        what="Installing packages",
        progress=True,
        env={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )


def archive():
    """The address of Debian's archive that this machine uses, or None."""
    lines = output_of(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(SITE)"])
    for line in (lines or "").splitlines():
        origin, label, site = line.split("|")
        if origin == label == "Debian":
            return site
    return None


def suite():
    """The suite of Debian that this machine runs, or the stable one if it runs another system."""
    system = Path("/etc/os-release")
    match = re.search(r"^VERSION_CODENAME=(\w+)", system.read_text() if system.is_file() else "", re.M)
    return match[1] if match else "stable"


def need_root():
    """Fails unless debian() can be called."""
    if os.geteuid() != 0:
        raise Failure("Only root can make a Debian root filesystem. Run this as root.")


def debian(name, folder, variant, packages, *options):
    """Makes a folder with a suite of Debian and some packages, as a variant that mmdebstrap knows."""
    update()
    site = archive()
    if not site:
        raise Failure("This machine has no package lists of Debian to fetch Debian by. Run this on Debian.")
    # In a namespace of its own: what it mounts is gone when it ends, however it does.
    run(
        [
            *("unshare", "--mount"),
            *("mmdebstrap", "--mode=root", f"--variant={variant}", f"--include={','.join(packages)}"),
            f"--keyring={KEYRING}",
            # A mirror may lag behind; nothing of this system ever meets a network.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *options,
            *(name, str(folder), site),
        ],
        log=log_file("mmdebstrap.log"),
        what="mmdebstrap",
        progress=True,
    )


class Suites:
    """The package lists of some of Debian's suites, apart from the ones of this machine."""

    def __init__(self, suites):
        update()
        site = archive()
        if not site:
            raise Failure(
                "This machine has no package lists of Debian to find a kernel source in. "
                "Name a tree or a tarball by KSRC=/path/to/linux."
            )
        self.folder = CACHE / "apt"
        for name in ("lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        sources = self.folder / "sources.list"
        sources.write_text("".join(f"deb [signed-by={KEYRING}] {site} {suite} main\n" for suite in suites))
        # A configuration of the machine may clean its cache after an update: not this one.
        self.config = self.folder / "apt.conf"
        self.config.write_text(
            f'Dir::Etc::sourcelist "{sources}";\n'
            'Dir::Etc::sourceparts "/dev/null";\n'
            f'Dir::State::lists "{self.folder}/lists";\n'
            f'Dir::Cache "{self.folder}/cache";\n'
            f'APT::Architecture "{(output_of(["dpkg", "--print-architecture"]) or "amd64").strip()}";\n'
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
            'APT::Sandbox::User "";\n'
            'Acquire::Languages "none";\n'
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
        )
        self.env = {"APT_CONFIG": str(self.config), "LC_ALL": "C"}

    def update(self):
        """Reads what can be read: one suite that is out of date must not hide the others. Returns the log."""
        log = log_file("apt-suites.log")
        run(["apt-get", "update"], log=log, what="Reading the package lists", env=self.env, check=False)
        return log

    def versions(self, pattern):
        """All versions of all packages whose name matches, as {name: [version]}."""
        text = output_of(["apt-cache", "madison", *self._names(pattern)], env=self.env, check=False)
        found = {}
        for line in (text or "").splitlines():
            name, version, _ = (part.strip() for part in line.split("|", 2))
            found.setdefault(name, []).append(version)
        return found

    def _names(self, pattern):
        text = output_of(["apt-cache", "pkgnames"], env=self.env) or ""
        return [name for name in text.split() if re.fullmatch(pattern, name)]

    def download(self, name, version):
        """The .deb file of a package, in a temporary folder that the caller removes."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        run(
            ["apt-get", "download", f"{name}={version}"],
            log=log_file("apt-download.log"),
            what=f"Downloading {name} {version}",
            env=self.env,
            cwd=folder,
        )
        return next(folder.glob("*.deb"))
