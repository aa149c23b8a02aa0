# SPDX-License-Identifier: GPL-2.0
"""Boots a kernel in QEMU, runs a job in it, and reads its log."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from . import arch, image, protocol, tools
from .settings import USUAL_CPUS, asked
from .util import CACHE, TOP, Failure, log_file, say, start_program, tail

PATTERNS = TOP / "vm/log-patterns"
DEFAULT_SMP = 8
KNOWN_ACCEL = CACHE / "accel"
# What QEMU is told, by what we call it.
ACCELERATORS = {"kvm": "kvm", "tcg": "tcg,thread=multi", "icount": "tcg,thread=single", "many": "tcg,thread=single"}


def race_elsewhere(line, ours):
    """Whether KCSAN reports a race of which neither side is in one of our functions.

    The kernel at large has many, and nobody calls them bugs. What it says of a library that we call is not told
    apart from what it says of others who call it.
    """
    race = re.search(r"KCSAN: (?:data-race|assert: race) in (.+)", line)
    if not race:
        return False
    # FUNCTION [MODULE] / FUNCTION+0x12/0x34; the compiler adds endings to parts and copies of functions.
    names = {match[0] for side in race[1].split(" / ") if (match := re.match(r"\w+", side.strip()))}
    # There the loader makes a module live, without the lock under which others look at its state; stock does so, too.
    if "do_init_module" in names and not any(name.startswith("module_dedup") for name in names):
        return True
    return not names & ours


def log_hits(log, ours=frozenset()):
    """The lines of a kernel log that must not be there, and how many data races are not in ours, some functions.

    A test that causes one says so, in the log, before and after: "selftest expects: TEXT", where TEXT is in
    the line (or one of several, separated by "|"), and "selftest expects: nothing".

    Where everything is slow any call may wait long enough for the kernel to report it, with one stack.
    """
    for theirs, word in arch.guest().log_words:
        log = log.replace(theirs, word)
    patterns = [line for line in PATTERNS.read_text().splitlines() if line and not line.startswith("#")]
    wrong = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    expected, hits, elsewhere, reported = "nothing", [], 0, 0
    for line in log.splitlines():
        if re.search(r"\bmodule: .*waited 10 s", line):
            reported += 1
        elif "Call Trace:" in line and reported:
            reported -= 1
            continue
        said = re.search(r"selftest expects: (.+)$", line)
        if said:
            expected = said[1]
        elif ours and race_elsewhere(line, ours):
            elsewhere += 1
        elif wrong.search(line) and (expected == "nothing" or not any(text in line for text in expected.split("|"))):
            hits.append(line)
    return hits, elsewhere


class Crash(Failure):
    """QEMU itself has failed, whatever runs in it."""


class Result:
    """What became of a job."""

    def __init__(self, kernel, output, log, seconds, cpu, killed, enough):
        self.output_file = output
        self.log_file = log
        # How long it took, and how much time of this machine's cores.
        self.seconds, self.cpu = seconds, cpu
        # Whether it was ended here, when it had said what there was to say.
        self.enough = enough
        self.killed = killed
        self.output = output.read_bytes().decode(errors="replace").replace("\r", "")
        self.log = log.read_bytes().decode(errors="replace").replace("\r", "")
        self.status = protocol.status(self.output)
        self.hits, self.elsewhere = log_hits(self.log, kernel.functions() if kernel.variant == "kcsan" else frozenset())

    def problem(self):
        """Why the run cannot be trusted, or None."""
        if "Linux version" not in self.log:
            return f"The guest wrote no kernel log ({self.log_file})."
        if self.killed:
            return f"The guest was still running after {self.killed} s and was killed. Its last lines:\n{self.last()}"
        if self.hits:
            shown = "\n".join(self.hits[:10])
            return f"The kernel log has lines that it must not have:\n{shown}\nThe whole log: {self.log_file}"
        if self.status is None and not self.enough:
            return f"The guest stopped before its job was done. Its last lines:\n{self.last()}"
        return None

    def last(self):
        return f"{tail(self.log_file, 15)}\n{tail(self.output_file, 10)}\nThe whole log: {self.log_file}"

    def check(self):
        problem = self.problem()
        if problem:
            raise Failure(problem)
        if self.status:
            raise Failure(f"The job in the guest failed (status {self.status}). Its last lines:\n{self.last()}")
        return self


def memory_of(smp, memory=None):
    """How much memory a guest is given, in MB: what the user says, or its job, or as much as so many CPUs need."""
    text = asked().mem or memory or f"{2048 + 16 * smp}M"
    return int(text.rstrip("MG")) * (1024 if text.endswith("G") else 1)


def command(kernel, smp, append, accel, serial, memory=None, initrd=True, image=None):
    guest = kernel.arch
    emulator, many = [guest.emulator], ()
    if smp > USUAL_CPUS:
        if kernel.variant != "large" or not guest.many:
            raise Failure(f"Only make storm, for x86_64, takes more than {USUAL_CPUS} CPUs.")
        emulator, many = tools.qemu_for_many(), guest.many
        # One thread for all CPUs goes on to the next where one spins. With a thread for each, those take all the time.
        accel = "many" if accel == "tcg" else accel
    args = [*emulator, "-M", guest.board, "-nic", "none", "-display", "none", "-no-reboot"]
    args += ["-accel", ACCELERATORS[accel], "-cpu", "host" if accel == "kvm" else guest.cpu, *many]
    if accel == "icount":
        # The guest's clock counts its instructions: one is a nanosecond.
        args += ["-icount", "shift=0,sleep=off"]
    for firmware in guest.firmware:
        # So many need one that switches their interrupt controllers, which QEMU's own does.
        if Path(firmware).is_file() and not many:
            args += ["-bios", firmware]
            break
    args += ["-smp", str(smp), "-m", f"{memory_of(smp, memory)}M"]
    args += ["-kernel", str(image or kernel.image)]
    if initrd:
        args += ["-initrd", str(kernel.folder / "initramfs.cpio")]
    words = [f"console={guest.console}", "ignore_loglevel", "panic=-1", *guest.words, *append]
    if many:
        words += guest.many_words
    if kernel.variant == "kcsan":
        # Of few accesses, many, and for long.
        words += ["kcsan.skip_watch=50", "kcsan.udelay_task=500"]
    if accel != "kvm":
        words += guest.emulated
    return [*args, "-append", " ".join(words), *serial]


def accel_or_tcg():
    """The accelerator that the user has named; emulation if none."""
    return asked().accel or "tcg"


def boot_id():
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def known_accel():
    """What choose_accel() has found since this machine booted, or None."""
    known = KNOWN_ACCEL.read_text().split() if KNOWN_ACCEL.is_file() else []
    # Another make may be at work on it.
    return known[1] if len(known) == 2 and known[0] == boot_id() else None


def choose_accel(kernel):
    """KVM if a short boot really works with it; TCG otherwise."""
    if asked().accel:
        return asked().accel
    if not kernel.arch.native or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    if known := known_accel():
        return known
    say("Trying whether KVM works here")
    result = start(kernel, "nothing", smp=1, limit=20, accel="kvm", name="kvm")
    accel = "tcg" if result.problem() else "kvm"
    KNOWN_ACCEL.write_text(f"{boot_id()} {accel}\n")
    return accel


def prepare(kernel):
    """Makes what all guests of a kernel share, once. Returns the accelerator."""
    if not kernel.accel:
        image.build(kernel)
        kernel.accel = choose_accel(kernel)
    return kernel.accel


def run(kernel, job, *, smp=None, append=(), limit=600, name=None, icount=False, **more):
    """Runs a job in a guest; more is for start()."""
    accel = prepare(kernel)
    if icount:
        accel = "icount"
    smp = smp or asked().smp or DEFAULT_SMP
    return start(kernel, job, smp=smp, append=append, limit=limit, accel=accel, name=name or job, **more)


def start(
    kernel, job, *, smp, limit, accel, name, append=(), follow=protocol.show_step, extra=(), memory=None, image=None
):
    """Starts a guest, and waits for its end.

    Without a job it has disks, among what is extra for QEMU, and no initramfs. follow is called with each line of its
    output, and ends it by returning something true. The image is another one than that of the kernel.
    """
    guest = kernel.arch
    words = [f"job={job}", f"output={guest.output}", *append] if job else append
    output, log = log_file(f"{name}.tap"), log_file(f"{name}.log")
    errors = log_file(f"{name}.qemu")
    limit = asked().limit or limit
    port = [word.format(output) for word in guest.output_port]
    serial = ["-monitor", "none", "-serial", f"file:{log}", *port]
    began = time.monotonic()
    killed, enough, cpu = None, False, 0
    with open(errors, "wb") as out, open(output, "rb") as lines:
        process = start_program(
            command(kernel, smp, words, accel, [*serial, *extra], memory, initrd=bool(job), image=image),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        rest = b""
        try:
            while True:
                cpu = cpu_seconds(process)
                over = process.poll() is not None
                rest += lines.read()
                *whole, rest = rest.split(b"\n")
                for line in whole:
                    if follow(line.decode(errors="replace").rstrip("\r")):
                        enough = True
                if over or enough:
                    break
                if time.monotonic() - began > limit:
                    killed = limit
                    process.kill()
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    if process.returncode and not (killed or enough) and accel != "kvm":
        raise Crash(f"QEMU failed (status {process.returncode}):\n{tail(errors)}")
    return Result(kernel, output, log, time.monotonic() - began, cpu, killed, enough)


def cpu_seconds(process):
    """How much time of cores a program has used, that nobody has waited for."""
    # What is in parentheses is its name.
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def need_terminal():
    if not sys.stdin.isatty():
        raise Failure("A shell needs a terminal.")


def become(kernel, smp, append, extra, accel=None, initrd=True):
    """Becomes a guest on this terminal."""
    need_terminal()
    args = command(kernel, smp, append, accel or accel_or_tcg(), extra, initrd=initrd)
    # The log of the boot is in dmesg.
    args[args.index("-append") + 1] = args[args.index("-append") + 1].replace("ignore_loglevel", "quiet")
    os.execvp(args[0], args)


def shell(kernel):
    """A shell in the guest."""
    accel = prepare(kernel)
    become(kernel, asked().smp or DEFAULT_SMP, ["job=shell"], ["-serial", "mon:stdio"], accel)
