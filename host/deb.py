# SPDX-License-Identifier: GPL-2.0
"""Debian packages of the patched kernel, by Kbuild; installed in a Debian system, and booted from what that made."""

import shutil
import tempfile
from pathlib import Path

from . import boot, tools, vm
from .settings import asked
from .util import OUT, TOP, Failure, log_file, need_space, run, say

FOLDER = OUT / "deb"
# What Kbuild and debhelper need, by a program or a header of each.
PROGRAMS = {
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "fakeroot": "fakeroot",
    "cpio": "cpio",
    "rsync": "rsync",
}
HEADERS = {"dwarf.h": "libdw-dev"}


def need_loop():
    """Fails where no disk image can be mounted, before anything is built."""
    if not any(Path("/dev").glob("loop[-0-9]*")):
        raise Failure("make deb mounts a disk image, and /dev has no loop device: a container needs /dev/loop-control.")


def make(kernel):
    """Makes the packages, and returns them. What was built before is not built again."""
    tools.require(PROGRAMS, HEADERS)
    # Kbuild writes them beside its folder.
    beside = kernel.folder.parent
    for old in beside.glob("linux-*.deb"):
        old.unlink()
    say("Making the packages")
    variables = ("KDEB_CHANGELOG_DIST=unstable", "KDEB_COMPRESS=zstd", "DPKG_FLAGS=-d")
    kernel.make(*variables, "bindeb-pkg", what="Making the packages", log=log_file("deb.log"))
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for package in beside.glob("linux-*"):
        if package.suffix in (".deb", ".changes", ".buildinfo"):
            if package.suffix == ".deb":
                shutil.copy2(package, FOLDER)
            package.unlink()
    packages = sorted(FOLDER.glob("linux-*.deb"))
    if not all(any(path.name.startswith(f"linux-{part}-") for path in packages) for part in ("image", "headers")):
        raise Failure(f"Kbuild made no packages of the image and the headers ({FOLDER}).")
    for path in packages:
        print(path)
    return packages


def build(kernel):
    """Makes packages of a kernel for guests, and shows that they work."""
    kernel.build()
    packages = [path for path in make(kernel) if path.name.startswith(("linux-image-", "linux-headers-"))]
    check(kernel, [path for path in packages if "-dbg" not in path.name])


def real(kernel):
    """Makes packages that can replace the kernel of a machine."""
    need_space(8 if asked().modules == "loaded" else 40, "A kernel with all of its drivers")
    kernel.configure()
    hours = "half an hour" if asked().modules == "loaded" else "some hours"
    say(f"Building the kernel {kernel.name}, {hours}; what is built stays built if this is interrupted")
    kernel.make("all", what="Building")
    make(kernel)
    say("\napt-get install these packages, but for the one with -dbg, on the machine that they are for.")


def check(kernel, packages):
    """Installs them by the tools of a Debian system, and boots that from its own kernel and initramfs."""
    image = boot.root()
    environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with tempfile.TemporaryDirectory(dir=boot.ROOTS) as scratch:
        disk = Path(scratch, "disk.ext4")
        log = log_file("deb-install.log")
        run(["cp", "--sparse=always", image, disk], log=log, what="Copying the system")
        for package in packages:
            shutil.copy2(package, scratch)
        say(f"Installing them in Debian {asked().suite}")
        command = ["unshare", "--mount", TOP / "vm/install", scratch, boot.GUEST]
        run(command, log=log, what="Installing", env=environment)
        say("Booting it")
        result = boot_installed(kernel, disk, Path(scratch, "vmlinuz"), Path(scratch, "initrd.img"))
    print(boot.shown(result))
    result.check()
    say("\nThese kernels have the drivers of a virtual machine, and no others: they do not boot on real hardware.")
    say("docs/kernel.md says how to build one that does.")


def boot_installed(kernel, disk, image, initrd):
    """A boot with nothing of ours but what the packages have installed."""
    line = [*boot.SYSTEM, "report=boot"]
    devices = [*boot.DEVICES, "-drive", f"file={disk},if=virtio,format=raw,snapshot=on", "-initrd", str(initrd)]
    return vm.start(
        kernel,
        None,
        smp=asked().smp or vm.DEFAULT_SMP,
        limit=1800,
        accel=vm.accel_or_tcg(),
        name="boot-deb",
        append=line,
        extra=devices,
        image=image,
    )
