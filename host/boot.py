# SPDX-License-Identifier: GPL-2.0
"""Boots Debian on our kernels: systemd, udev and kmod as they are."""

import functools
import json
import os
import re
import shutil
import statistics

from . import apt, runs, tools, vm
from .util import CACHE, OUT, TOP, Failure, log_file, markdown, run, say

# What is done in the guest after the boot.
REPORTS = ("boot", "storms", "pairs")
JSON = OUT / "boot.json"
GUEST = TOP / "vm/root"
ROOTS = CACHE / "root"
SUITE = "trixie"
SUITES = ("bookworm", "trixie", "forky", "sid")
PACKAGES = ("systemd", "systemd-sysv", "udev", "kmod", "dbus", "login", "passwd", "initramfs-tools", "zstd")
SIDES = {"stock": "stock", "ours": "ours", "off": "ours, module.dedup=off"}
# How modules are on the disk: plain, or compressed by what.
FORMS = {"ko": None, "zst": ("zstd", "-q", "-3", "--rm"), "xz": ("xz", "--check=crc32", "--lzma2=dict=1MiB")}
# What udev finds besides the CPUs.
DEVICES = (
    *("-device", "virtio-rng-pci"),
    *("-device", "virtio-balloon-pci"),
    *("-device", "virtio-serial-pci"),
    *("-device", "virtio-keyboard-pci"),
    *("-device", "intel-hda"),
    *("-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net"),
)
# The kernel command line of all systems. An emulated machine with many CPUs is slow, and nothing is to be given up.
SYSTEM = (
    "root=/dev/vda",
    "rw",
    "systemd.mask=serial-getty@ttyS1.service",
    "systemd.default_timeout_start_sec=3600",
    "systemd.default_device_timeout_sec=3600",
    "udev.event_timeout=3600",
)
# The first program that the kernel starts; what comes next is on the second disk.
GUEST_INIT = """#!/bin/sh
[ -b /dev/vdb ] || mount -t devtmpfs devtmpfs /dev
mount -t ext4 -o ro /dev/vdb /guest && exec /guest/init
"""
# Of the statistics: what loads have wasted.
FAILURES = (
    "Mods failed on kread",
    "Mods failed on decompress",
    "Mods failed on becoming",
    "Mods failed on load",
    "Virtual mem wasted bytes",
)
SHOWN = (
    *FAILURES,
    "Flights led",
    "Calls joined",
    "Most followers at once",
    "Late duplicates",
    "Requests led",
    "Requests joined",
    "Longest wait (us)",
)


def suite():
    name = os.environ.get("SUITE") or SUITE
    if name not in SUITES:
        raise Failure(f"SUITE={name} is none of {', '.join(SUITES)}.")
    return name


def form():
    name = os.environ.get("FORM") or "ko"
    if name not in FORMS:
        raise Failure(f"FORM={name} is none of {', '.join(FORMS)}.")
    return name


def sizes():
    """The numbers of CPUs that are compared."""
    text = os.environ.get("SIZES") or "8 64 255"
    words = text.replace(",", " ").split()
    if not words or not all(re.fullmatch(r"[1-9]\d*", word) for word in words):
        raise Failure(f"SIZES={text} is no list of numbers of CPUs.")
    return [int(word) for word in words]


def ensure():
    """Finds what makes a root filesystem, or installs it. Only root can make one."""
    if os.geteuid() != 0:
        raise Failure("A Debian root filesystem can only be made by root. Please run this as root.")
    missing = {
        package
        for program, package in (("mmdebstrap", "mmdebstrap"), ("mkfs.ext4", "e2fsprogs"))
        if not tools.which(program)
    }
    if missing:
        apt.install(missing)


def disk(folder, image, megabytes):
    """Makes an ext4 image of a folder."""
    part = image.with_name(image.name + ".part")
    part.unlink(missing_ok=True)
    run(
        [tools.which("mkfs.ext4"), "-q", "-F", "-E", "root_owner=0:0", "-d", folder, part, f"{megabytes}M"],
        log=log_file("mkfs.log"),
        what=f"Making the disk {image.name}",
    )
    part.replace(image)


def root(name):
    """The disk with Debian on it; made once."""
    image = ROOTS / f"{name}.ext4"
    if image.is_file():
        return image
    ensure()
    free = shutil.disk_usage(CACHE).free
    if free < 4 << 30:
        raise Failure(f"A Debian root filesystem needs 4 GB in {CACHE}; {free >> 20} MB are free.")
    apt.update()
    site = apt.archive()
    if not site:
        raise Failure("This is no Debian machine with package lists, so Debian cannot be fetched.")
    say(f"Making a Debian root filesystem ({name}, 60 MB to fetch)")
    ROOTS.mkdir(parents=True, exist_ok=True)
    folder = ROOTS / f"{name}.folder"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        run(
            [
                *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
                f"--keyring={apt.KEYRING}",
                *('--customize-hook=echo guest > "$1/etc/hostname"',),
                *('--customize-hook=echo "/dev/vda / ext4 defaults 0 0" > "$1/etc/fstab"',),
                *('--customize-hook=mkdir "$1/guest"',),
                *('--customize-hook=systemd-machine-id-setup --root="$1" || echo uninitialized > "$1/etc/machine-id"',),
                *(name, str(folder), site),
            ],
            log=log_file("mmdebstrap.log"),
            what="mmdebstrap",
            progress=True,
        )
        script = folder / "usr/sbin/guest-init"
        script.write_text(GUEST_INIT)
        script.chmod(0o755)
        disk(folder, image, 2048)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return image


@functools.cache
def modules(kernel, how):
    """The disk with the modules of a kernel, in one of FORMS, and what runs in the guest."""
    image = kernel.folder / f"modules-{how}.ext4"
    folder = kernel.folder / f"modules-{how}"
    shutil.rmtree(folder, ignore_errors=True)
    tree = folder / "modules" / kernel.release
    shutil.copytree(kernel.staging / "lib/modules" / kernel.release, tree, symlinks=True)
    for name in ("build", "source"):
        (tree / name).unlink(missing_ok=True)
    compress = FORMS[how]
    if compress:
        found = [str(path) for path in tree.rglob("*.ko")]
        run([*compress, *found], log=log_file("compress.log"), what="Compressing the modules")
    # The tools of the guest look below /lib/modules.
    (folder / "lib").symlink_to(".")
    run(
        [tools.which("depmod"), "-b", folder, kernel.release],
        log=log_file("depmod.log"),
        what="depmod",
    )
    for script in GUEST.iterdir():
        shutil.copy2(script, folder)
    disk(folder, image, 64 + sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // (1 << 19))
    shutil.rmtree(folder)
    return image


def machine(kernel, *, how, side, report, words=(), distribution=SUITE):
    """The kernel command line, and what QEMU is told of disks and devices."""
    devices = list(DEVICES)
    for number, path in enumerate((root(distribution), modules(kernel, how))):
        devices += ["-drive", f"file={path},if=none,id=disk{number},format=raw,snapshot=on"]
        devices += ["-device", f"virtio-blk-pci,drive=disk{number}"]
    line = ["init=/usr/sbin/guest-init", *SYSTEM, f"report={report}", *words]
    if side == "off":
        line.append("module.dedup=off")
    return line, devices


def boot(kernel, name, *, smp, side="ours", report="boot", how="ko", limit=3600, **more):
    """One boot. Returns its result, good or not."""
    line, devices = machine(kernel, how=how, side=side, report=report, **more)
    accel = os.environ.get("ACCEL") or "tcg"
    return vm.start(
        kernel, None, smp=smp, limit=limit, accel=accel, name=name, append=line, extra=devices, follow=runs.follow_steps
    )


def shell(kernel, *, smp, **more):
    """A login on this terminal; root needs no password."""
    line, devices = machine(kernel, report="shell", **more)
    vm.become(kernel, smp, line, [*devices, "-serial", "mon:stdio", "-serial", "null"], initrd=False)


def seconds(text):
    """ "1min 2.345s" or "678ms", in seconds."""
    units = {"h": 3600, "min": 60, "s": 1, "ms": 0.001, "us": 1e-6}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(min|ms|us|h|s)\b", text))


def figures(result):
    """What a boot has said of itself, as numbers."""
    line = re.search(
        r"^@analyze .*?in (.*?) \(kernel\) (?:\+ .*? \(initrd\) )?\+ (.*?) \(userspace\)", result.output, re.M
    )
    found = {"kernel_s": seconds(line[1]), "userspace_s": seconds(line[2])} if line else {}
    for name, text in re.findall(r"^@stats (\w+)\n(.*?)^@end", result.output, re.M | re.S):
        lines = dict(re.findall(r"^ *(.*?)\t(\d+)$", text, re.M))
        found |= {f"{name}.{key}": int(lines[key]) for key in SHOWN if key in lines}
    return found


def shown(result):
    """What a boot has said of itself, for people."""
    lines = []
    for word in ("state", "analyze", "failed", "kmod", "modules", "loaded", "modules_load", "pairs"):
        lines += [f"{word}: {text}" for text in re.findall(rf"^@{word} (.*)$", result.output, re.M)]
    lines += ["", "systemd-analyze blame, of udev and modules:", *re.findall(r"^@blame *(.*)$", result.output, re.M)]
    for name, text in re.findall(r"^@stats (\w+)\n(.*?)^@end", result.output, re.M | re.S):
        lines += ["", f"/sys/kernel/debug/modules/stats, {name}:", text.rstrip()]
    return "\n".join(lines)


def compare(kernels, sizes, boots):
    """Boots all three in turn. Returns what came of each boot; one that fails does not stop the others."""
    records = []
    for smp in sizes:
        for number in range(boots):
            for side, kernel in kernels.items():
                say(f"Boot {number + 1} of {boots} with {smp} CPUs: {side}")
                record = {"side": side, "cpus": smp, "ok": False}
                try:
                    result = boot(kernel, f"boot-{side}-smp{smp}", smp=smp, side=side)
                    record |= {"seconds": round(result.seconds)} | figures(result)
                    result.check()
                    record["ok"] = True
                except Failure as failure:
                    say(str(failure))
                records.append(record)
                write(records)
    return records


def middle(records, key):
    """The median of some boots, and how far they are apart: "12.3 (11.9-13.0)"."""
    values = [record[key] for record in records if key in record]
    if not values:
        return "-"
    form = "{:,.1f}" if isinstance(values[0], float) else "{:,.0f}"
    low, high = form.format(min(values)), form.format(max(values))
    text = form.format(statistics.median(values))
    return text if low == high else f"{text} ({low}-{high})"


def table(records):
    """The boots as rows, a column for each side, for each number of CPUs."""
    rows = [("CPUs", "", *SIDES.values())]
    keys = [("kernel_s", "kernel, s"), ("userspace_s", "user space, s")]
    keys += [(f"boot.{line}", line) for line in SHOWN]
    for smp in sorted({record["cpus"] for record in records}):
        some = {side: [it for it in records if it["cpus"] == smp and it["side"] == side] for side in SIDES}
        good = [f"{sum(it['ok'] for it in boots)} of {len(boots)}" for boots in some.values()]
        rows.append((str(smp), "boots", *good))
        for key, name in keys:
            cells = [middle(boots, key) for boots in some.values()]
            if any(cell != "-" for cell in cells):
                rows.append(("", name, *cells))
    return rows


def write(records):
    """Writes what came of the boots: all of it, and as a table."""
    OUT.mkdir(exist_ok=True)
    JSON.write_text(json.dumps(records, indent=1) + "\n")
    JSON.with_suffix(".md").write_text(markdown(table(records)))


def print_table(records):
    rows = table(records)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
