# SPDX-License-Identifier: GPL-2.0
"""Boots Debian on our kernels: systemd, udev and kmod as they are."""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import statistics
import tarfile
import tempfile

from . import apt, picture, protocol, tools, vm
from .kernel import alone
from .settings import asked
from .table import publish
from .util import CACHE, OUT, TOP, Failure, locked, log_file, need_space, run, say, write_if_changed, write_json

JSON = OUT / "boot.json"
# The same while boots go on, so that what was there before is kept until all is done.
PART = OUT / "boot.part.json"
# What is on a disk of its own in a Debian guest; and what is put into the system itself. With one machine-id for all
# guests none finds that it boots for the first time.
GUEST = TOP / "vm/root"
OVERLAY = TOP / "vm/debian"
ROOTS = CACHE / "root"
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "kmod", "dbus", "login", "passwd", "initramfs-tools", "zstd"),
    # What REPORT=requests runs.
    *("iptables", "iproute2", "squashfs-tools"),
    # Takes what the kernel has traced to the host.
    "trace-cmd",
)
SIDES = {"stock": "stock", "ours": "this series", "off": "this series, module.dedup=off"}
# How modules are on the disk: plain, or compressed by what.
FORMS = {"ko": None, "zst": ("zstd", "-q", "-3", "--rm"), "xz": ("xz", "--check=crc32", "--lzma2=dict=1MiB")}
# Their kmod is older than 31, and decompresses modules itself, whatever the kernel can do.
OLD_KMOD = ("bookworm",)
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
    "sysctl.kernel.panic_on_rcu_stall=1",
)
# What the kernel traces of a boot, from its first load on, for a picture (host/picture.py). The clock is the one that
# the times in the kernel log are of.
TRACED = (
    f"trace_event={','.join(picture.EVENTS)}",
    "trace_clock=mono",
    # For each CPU. More than the default would be a lot of memory where there are many.
    "trace_buf_size=1M",
)
# QEMU 7.2, with a thread for each of many CPUs, now and then loses an interrupt that one CPU sends to another: the one
# waits for ever, and the other sleeps with nothing pending. That happens with stock kernels, too.
LOST = re.compile(r"rcu: INFO: \w+ self-detected stall on CPU\n(?:.*\n){1,8}?.*RIP: 0010:smp_call_function_\w+")
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
    "Copies led",
    "Copies joined",
    "Late copies",
    "Copy bytes saved",
    "Requests led",
    "Requests joined",
    "Longest wait (us)",
)


def check_settings():
    """Fails if a boot cannot be as it is asked for."""
    if asked().kernel:
        raise Failure("Debian is booted on a kernel of its own configuration: KERNEL= cannot be given.")
    decompresser()


def decompresser():
    """Who decompresses the modules: the kernel, or kmod, which then calls init_module(); None if they are plain."""
    given = asked().decompress
    if asked().form == "ko":
        if given:
            raise Failure(f"DECOMPRESS={given} needs modules that are compressed: FORM=zst or FORM=xz.")
        return None
    if asked().suite in OLD_KMOD:
        if given == "kernel":
            raise Failure(f"The kmod of {asked().suite} never leaves it to the kernel to decompress a module.")
        return "kmod"
    return given or "kernel"


def variant():
    """The kernel for these modules: one that decompresses them, or, where kmod is to do that, one that cannot."""
    who = decompresser()
    return "boot-xz" if who and (asked().form == "xz") == (who == "kernel") else "boot"


def packing():
    """How the modules are on the disk, and what is made of that, for people."""
    who = decompresser()
    return f".ko.{asked().form}, decompressed by {'the kernel' if who == 'kernel' else who}" if who else ".ko"


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


@locked("Debian")
def root():
    """The disk with Debian on it; made once, and again if it is to hold something else."""
    name = asked().suite
    overlay = sorted(path for path in OVERLAY.rglob("*") if path.is_file())
    recipe = b"\n".join([" ".join(PACKAGES).encode(), *(path.read_bytes() for path in overlay)])
    image = ROOTS / f"{name}-{hashlib.sha256(recipe).hexdigest()[:8]}.ext4"
    if image.is_file():
        return image
    apt.need_root()
    tools.require({"mmdebstrap": "mmdebstrap", "mkfs.ext4": "e2fsprogs"})
    need_space(4, "A Debian root filesystem")
    say(f"Making a Debian root filesystem ({name}, 60 MB to fetch)")
    ROOTS.mkdir(parents=True, exist_ok=True)
    # An earlier one, and what is left of one that was interrupted.
    for old in (*ROOTS.glob(f"{name}-*.ext4*"), *ROOTS.glob(f"{name}.ext4*")):
        old.unlink()
    folder = ROOTS / f"{name}.folder"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        apt.debian(name, folder, "minbase", PACKAGES)
        for path in overlay:
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            write_if_changed(folder / path.relative_to(OVERLAY), path.read_bytes(), mode)
        (folder / "guest").mkdir()
        disk(folder, image, 2048)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return image


@functools.cache
@alone
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
    run(
        [tools.which("gcc"), "-O2", "-Wall", "-static", "-o", folder / "helper", GUEST / "helper.c"],
        log=log_file("helper.log"),
        what="Building the helper",
    )
    disk(folder, image, 64 + sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // (1 << 19))
    shutil.rmtree(folder)
    return image


def machine(kernel, *, side, report, words=(), scratch=None):
    """The kernel command line, and what QEMU is told of disks and devices.

    scratch is a disk on which the guest leaves a trace of the boot.
    """
    devices = list(DEVICES)
    disks = [f"{path},snapshot=on" for path in (root(), modules(kernel, asked().form))]
    line = ["init=/usr/sbin/guest-init", *SYSTEM, f"report={report}", *words]
    if scratch:
        disks.append(scratch)
        line += TRACED
    for number, disk in enumerate(disks):
        devices += ["-drive", f"file={disk},if=none,id=disk{number},format=raw"]
        devices += ["-device", f"virtio-blk-pci,drive=disk{number}"]
    if side == "off":
        line.append("module.dedup=off")
    return line, devices


def boot(kernel, name, *, smp, side="ours", report="boot", limit=3600, words=(), scratch=None):
    """One boot. Returns its result, good or not; but fails with vm.Crash if QEMU itself did."""
    line, devices = machine(kernel, side=side, report=report, words=words, scratch=scratch)
    accel = vm.accel_or_tcg()
    result = vm.start(
        kernel,
        None,
        smp=smp,
        limit=limit,
        accel=accel,
        name=name,
        append=line,
        extra=devices,
    )
    if accel == "tcg" and LOST.search(result.log):
        raise vm.Crash(f"QEMU has lost an interrupt from one CPU to another. Please try again. ({result.log_file})")
    return result


def traced(kernel, name, trace, **more):
    """The same, but leaves a trace of the boot in a file, if the guest has come so far."""
    trace.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=OUT, prefix="trace-") as scratch:
        scratch.truncate(1 << 30)
        result = boot(kernel, name, scratch=scratch.name, **more)
        # The guest writes an archive, which says itself how long it is. There is none if the boot hangs.
        with contextlib.suppress(tarfile.ReadError, KeyError), tarfile.open(scratch.name, "r:") as archive:
            trace.write_bytes(archive.extractfile("trace.dat").read())
    return result


def shell(kernel, *, smp, side):
    """A login on this terminal; root needs no password."""
    say("A login as root; poweroff ends it, and so does Ctrl-A X.")
    line, devices = machine(kernel, side=side, report="shell")
    vm.become(kernel, smp, line, [*devices, "-serial", "mon:stdio", "-serial", "null"], initrd=False)


def seconds(text):
    """ "1min 2.345s" or "678ms", in seconds."""
    units = {"h": 3600, "min": 60, "s": 1, "ms": 0.001, "us": 1e-6}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(min|ms|us|h|s)\b", text))


def figures(result):
    """What a boot has said of itself, as numbers."""
    found = {}
    for text in protocol.texts(result.output, "analyze"):
        line = re.search(r"in (.*?) \(kernel\) (?:\+ .*? \(initrd\) )?\+ (.*?) \(userspace\)", text)
        found |= {"kernel_s": seconds(line[1]), "userspace_s": seconds(line[2])} if line else {}
    for text in protocol.texts(result.output, "helpers"):
        found["helpers"] = int(text)
    for title, lines in counters(result):
        found |= {f"{title}.{key}": value for key, value in lines.items()}
    return found


def counters(result):
    """Of each copy of the statistics what is shown: (when that was, {line: value})."""
    for title, text in stats(result):
        lines = dict(re.findall(r"^ *(.*?)\t(\d+)$", text, re.M))
        yield title, {key: int(lines[key]) for key in SHOWN if key in lines}


def judge(result):
    """Whether our kernel has wasted nothing, in calls of the kind that was meant. Shows what it has counted."""
    lines = {}
    for title, lines in counters(result):
        say(f"{title}: {', '.join(f'{key} {value:,}' for key, value in lines.items())}")
        if any(lines[key] for key in FAILURES):
            raise Failure("Loads were wasted: all lines of failures, and of bytes wasted, should be 0.")
    if bool(lines["Copies led"]) != (decompresser() == "kmod"):
        raise Failure(f"With modules as {packing()}, init_module() was {'' if lines['Copies led'] else 'not '}called.")


def stats(result):
    """Each copy of the statistics that a boot has sent: (when that was, the text)."""
    blocks = protocol.blocks(result.output).items()
    return [(name.removeprefix("stats "), "\n".join(lines)) for name, lines in blocks]


def shown(result):
    """What a boot has said of itself, for people."""
    lines = []
    for word in ("state", "analyze", "failed", "systemd", "kmod", "modules", "loaded", "helpers", "storm", "pairs"):
        lines += [f"{word}: {text}" for text in protocol.texts(result.output, word)]
    lines += ["", "systemd-analyze blame, of udev and modules:"]
    lines += [text.lstrip() for text in protocol.texts(result.output, "blame")]
    for title, text in stats(result):
        lines += ["", f"/sys/kernel/debug/modules/stats, {title}:", text]
    return "\n".join(lines)


def one_of_many(kernel, name, side, smp):
    """A boot, and what it has said of itself, as a dictionary; with the problem if there was one.

    If QEMU itself crashes, that says nothing of the kernel: it is tried again, twice.
    """
    record = {"crashes": 0}
    # Several times what a boot takes: one that hangs must not cost hours.
    limit = 600 + 6 * smp
    while True:
        try:
            result = boot(kernel, name, smp=smp, side=side, limit=limit)
            record |= {"seconds": round(result.seconds)} | figures(result)
            result.check()
        except Failure as failure:
            say(str(failure))
            record["crashes"] += isinstance(failure, vm.Crash)
            if isinstance(failure, vm.Crash) and record["crashes"] < 3:
                continue
            record["problem"] = str(failure)
        return record


def compare(kernels, sizes, boots):
    """Boots all three in turn. Returns what came of all that; a boot that fails does not stop the others."""
    accel = vm.accel_or_tcg()
    done = {
        "kernel": kernels["stock"].release,
        "accel": accel,
        "suite": asked().suite,
        "form": packing(),
        "boots": [],
    }
    for smp in sizes:
        for number in range(boots):
            # Each is as often the first.
            turn = number % len(SIDES)
            for side in (*list(SIDES)[turn:], *list(SIDES)[:turn]):
                say(f"Boot {number + 1} of {boots} with {smp} CPUs: {side}")
                record = {"side": side, "cpus": smp, "number": number + 1}
                record |= one_of_many(kernels[side], f"boot-{side}-smp{smp}-{number + 1}", side, smp)
                done["boots"].append(record)
                write_json(PART, done)
    return done


def middle(records, key):
    """The median of some boots, and how far they are apart: "12.3 (11.9-13.0)"."""
    values = [record[key] for record in records if key in record]
    if not values:
        return "-"
    form = "{:,.1f}" if isinstance(values[0], float) else "{:,.0f}"
    low, high = form.format(min(values)), form.format(max(values))
    text = form.format(statistics.median(values))
    return text if low == high else f"{text} ({low}-{high})"


def table(done):
    """The boots as rows, a column for each side, for each number of CPUs."""
    rows = [("CPUs", "", *SIDES.values())]
    keys = [("kernel_s", "kernel, s"), ("userspace_s", "user space, s")]
    keys += [(f"boot.{line}", line) for line in SHOWN]
    keys += [("helpers", "Helpers started")]
    for smp in sorted({record["cpus"] for record in done["boots"]}):
        some = {side: [it for it in done["boots"] if it["cpus"] == smp and it["side"] == side] for side in SIDES}
        good = {side: [it for it in boots if "problem" not in it] for side, boots in some.items()}
        rows.append((str(smp), "boots", *(f"{len(good[side])} of {len(some[side])}" for side in SIDES)))
        for key, name in keys:
            cells = [middle(good[side], key) for side in SIDES]
            if any(cell != "-" for cell in cells):
                rows.append(("", name, *cells))
    return rows


def notes(done):
    """What is to be said wherever the table is shown: how it came about, and which boots failed, and how."""
    what = "on emulated CPUs" if done["accel"] == "tcg" else "with KVM"
    lines = [
        f"Linux {done['kernel']}, Debian {done['suite']}, modules as {done['form']}, {what}: "
        "median (least-most). Times can be compared within this run, and say nothing of other machines."
    ]
    crashes = {side: sum(record["crashes"] for record in done["boots"] if record["side"] == side) for side in SIDES}
    if any(crashes.values()):
        which = ", ".join(f"{side} {count}" for side, count in crashes.items())
        lines.append(f"In more boots QEMU itself crashed, or lost an interrupt; these were tried again: {which}.")
    for record in done["boots"]:
        if "problem" in record:
            lines.append(f"Boot {record['number']} with {record['cpus']} CPUs, {record['side']}: {record['problem']}")
    return lines


def finish(done):
    """Shows what came of the boots; keeps it as JSON, as a table and as a picture. Fails if a boot did."""
    publish(JSON, done, table(done), "\n\n".join(notes(done)))
    PART.unlink()
    tools.draw("plot_boot.py", JSON)
    say(f"\nAll boots: {JSON}, as Markdown: {OUT}/boot.md, a picture: {OUT}/boot.svg")
    failed = sum("problem" in record for record in done["boots"])
    if failed:
        raise Failure(f"{failed} of {len(done['boots'])} boots failed; what became of each is said above.")
