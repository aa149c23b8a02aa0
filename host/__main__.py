# SPDX-License-Identifier: GPL-2.0
"""What the targets of the Makefile do."""

import errno
import json
import shutil
import signal
import sys
from pathlib import Path

from . import (
    arch,
    bench,
    boot,
    check,
    compare,
    deb,
    distro,
    docs,
    dump,
    fit,
    jobs,
    kunit,
    lint,
    matrix,
    model,
    picture,
    protocol,
    requests,
    runs,
    series,
    source,
    stack,
    submit,
    suite,
    tap,
    tools,
    vm,
)
from .kernel import Kernel
from .settings import USUAL_CPUS, asked
from .table import aligned, markdown
from .util import CACHE, OUT, TOP, Failure, interrupt, say, write_json


def kernel_of(variant=None, stock=False, tests=False):
    """A kernel that can be built, and the tree with our patches, which has the selftests for it.

    The variant is the usual one ("") or another; the one that the user asks for by KERNEL= if not given.
    """
    variant = asked().kernel if variant is None else variant
    toolchain = tools.ensure(tests)
    if variant == "debug":
        tools.ensure_llvm()
    elif variant == "large":
        tools.require(distro.PROGRAMS)
    unpatched, patched = source.trees(toolchain)
    return Kernel(toolchain, unpatched if stock else patched, variant), patched


def built(variant=None, stock=False, tests=False):
    """The same, up to date, with its modules and selftests."""
    kernel, patched = kernel_of(variant, stock, tests)
    return kernel.build().stage(selftests_of=patched)


def megabytes(text):
    return f"{int(text) / 1e6:,.1f} MB"


def cmd_run():
    """The main job: the storm with and without de-duplication, real modprobe, and the statistics."""
    kernel = built()
    say("Booting the kernel")
    result = vm.run(kernel, "run").check()
    print("\n/sys/kernel/debug/modules/stats after the storms with module.dedup=on:\n")
    print("\n".join(protocol.blocks(result.output)["stats"]), end="\n\n")
    print_table(protocol.records(result.output, "storm"), protocol.records(result.output, "modprobe"))
    say(f"\nThe kernel log: {result.log_file}")


def print_table(storms, modprobes):
    """Each has a record with module.dedup=on, and then one with off."""
    rows = [("", *(f"module.dedup={one['mode']}" for one in storms))]
    rows.append(("200 processes, finit_module() on one file of 1 MB", "", ""))
    rows.append(("  calls that returned success", *(one["ok"] for one in storms)))
    rows.append(("  calls that failed with EEXIST", *(one["eexist"] for one in storms)))
    rows.append(("  flights led, calls joined", *(f"{one['led']}, {one['joined']}" for one in storms)))
    rows.append(("  memory wasted on copies", *(megabytes(one["wasted"]) for one in storms)))
    rows.append(("  time until the last call returned", *(f"{int(one['ms']) / 1000:.2f} s" for one in storms)))
    rows.append(("64 processes, modprobe of a module that needs another", "", ""))
    rows.append(("  modprobes that succeeded", *(one["ok"] for one in modprobes)))
    rows.append(("  memory wasted on copies", *(megabytes(one["wasted"]) for one in modprobes)))
    rows.append(("  time", *(f"{int(one['ms']) / 1000:.2f} s" for one in modprobes)))
    print("\n".join(aligned(rows, right=(1, 2))))


def cmd_storm():
    """One storm, of as many processes as there are CPUs, unless N= says otherwise."""
    smp = asked().smp or 255
    count = asked().n or smp
    many = smp > USUAL_CPUS
    kernel = built("large" if many else None)
    say(f"Booting the kernel with {smp} CPUs")
    result = vm.run(kernel, "storm", smp=smp, append=[f"n={count}"], limit=10_000 if many else 1800).check()
    words = protocol.record(result.output, "storm")
    print(
        f"{words['calls']} calls: {words['ok']} succeeded, {words['led']} led, {words['joined']} joined, "
        f"{words['wasted']} bytes wasted, {int(words['ms']) / 1000:.2f} s"
    )
    if words["ok"] != str(count) or words["wasted"] != "0":
        raise Failure("Some calls failed, or memory was wasted: the line above has the numbers.")


def show_frame(line):
    """A line of what moddedup draws in the guest, which takes the second serial port for the terminal here."""
    if not line.startswith("@"):
        print(line if sys.stdout.isatty() else line.replace("\033[H\033[2J", "\n"), flush=True)


def cmd_watch():
    """Storms, and what moddedup shows of them."""
    kernel = built()
    say("Booting the kernel")
    size = shutil.get_terminal_size((200, 50))
    words = [f"n={asked().n or 200}", f"LINES={size.lines}", f"COLUMNS={size.columns}"]
    result = vm.run(kernel, "watch", append=words, follow=show_frame).check()
    say(f"\nThe kernel log: {result.log_file}")


def cmd_shell():
    vm.shell(built())


def cmd_kernel():
    built()


def cmd_where():
    """KEY=VALUE lines for other tools."""
    kernel = built()
    for key, value in (
        ("VMLINUX", kernel.vmlinux),
        ("IMAGE", kernel.image),
        ("KBUILD", kernel.folder),
        ("KSRC", kernel.source),
        ("MODULES", kernel.staging / "lib/modules" / kernel.release),
        ("SELFTESTS", kernel.staging / "selftests"),
    ):
        print(f"{key}={value}")


def cmd_apply():
    given = asked().ksrc
    if not given:
        raise Failure(f"Name a kernel tree, {series.supported_text()}: make apply KSRC=/path/to/linux")
    series.apply(given)


def cmd_series():
    """The series as mails to send: from the mails in patches/, and nothing else."""
    submit.write()


def cmd_absorb():
    """Carries edits of the overlay, and of hooks in out/stack/, into the steps."""
    changed = stack.absorb()
    for path in changed:
        print(path.relative_to(TOP))
    say("The series has these changes now." if changed else "Nothing differs from the series.")


def cmd_series_check():
    """Every step of the series by itself: built, tested, and as maintainers want it."""
    check.check()


def cmd_clean():
    """Removes what was built, but not what was downloaded."""
    for folder in (OUT, CACHE / "build"):
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Removed {OUT} and {CACHE / 'build'}. What is left in {CACHE} was downloaded.")


def record(command, kernel):
    """Keeps the result of a command in bench/results/ and in the documents, if RECORD=1 asks for that."""
    if asked().record:
        docs.record(command, kernel.release)


def finish(tally):
    if runs.records:
        say(f"A record of what ran: {runs.TABLE}")
    for failure in tally.failures:
        say(f"FAILED {failure}")
    print(tally.summary(), flush=True)
    if tally.failures or not tally.counts[tap.PASSED]:
        sys.exit(1)


def finish_one(group, results):
    tally = tap.Tally()
    tally.report(group, results)
    finish(tally)


def cmd_lint():
    finish_one("lint", lint.checks(built("", tests=True)))


def cmd_model():
    """Every interleaving of a few callers of the engine; and that its mutants are found."""
    tools.ensure_cargo()
    finish_one("model", model.checks())


def cmd_kunit():
    finish_one("KUnit", runs.kunit(built(), asked().smp or vm.DEFAULT_SMP))


def cmd_kunit_py():
    """The KUnit tests by the kernel's own kunit.py."""
    finish_one("KUnit by kunit.py", kunit.results())


def cmd_kselftest():
    """The kselftests alone, or those that TESTS= names."""
    kernel = built()
    smp = asked().smp or (runs.SANITIZED_SMP if kernel.variant else vm.DEFAULT_SMP)
    unknown = [name for name in asked().tests if name not in kernel.tests()]
    if unknown:
        raise Failure(f"TESTS={unknown[0]} is none of {', '.join(kernel.tests())}.")
    results, _ = runs.kselftests(kernel, smp, "kselftest", asked().tests)
    finish_one("kselftest", results)


def at_random(what):
    """As many random calls as CALLS= says; SEED= repeats what was tried."""
    kernel = built()
    smp = asked().smp or runs.RANDOM_SMP
    finish_one(what, runs.at_random(kernel, what, smp, asked().calls, asked().seed))


def cmd_chaos():
    at_random("chaos")


def cmd_fuzz():
    at_random("fuzz")


def cmd_moddedup():
    """The command moddedup, in a guest."""
    finish_one("moddedup", runs.moddedup(built(tests=True), asked().smp or runs.RANDOM_SMP, asked().n or 20))


def cmd_compare():
    """One table: the guarantees of the guide, what stock does, what this series does."""
    kernel = built("", tests=True)
    stock = built("", stock=True, tests=True)
    say("Running the kselftests with this series")
    results, output = runs.kselftests(kernel, 8, "compare-ours", compare.PROGRAMS)
    tally = tap.Tally()
    tally.report("this series", results)
    tally.report("compared with stock", compare.run(stock, "stock", output))
    if not tally.failures:
        record("make compare", kernel)
    finish(tally)


def cmd_bench():
    """Stock, this series, and this series with module.dedup=off, measured by instruction counts."""
    # What fails is to fail before it has taken long.
    tools.find_matplotlib()
    kernels = {side: bench.stage(built("bench", stock=side == "stock")) for side in ("stock", "ours")}
    kernels["off"] = kernels["ours"]
    say("Measuring, about ten minutes")
    before = json.loads(bench.JSON.read_text()) if bench.JSON.is_file() else {}
    figures, functions = bench.measure(kernels)
    bench.write(figures, functions)
    bench.print_table(figures)
    if before:
        key, apart = bench.differences(before, figures)
        print(f"\nSince the last run no figure has changed by more than {apart:.1%}{f' ({key})' if key else ''}.")
    record("make bench", kernels["ours"])
    say(f"\nAll figures: {bench.JSON}, by function: {bench.PROFILE}, pictures: {bench.OUT}/bench-*.svg")


def cmd_bpftrace():
    """The scripts for bpftrace, in a guest with BTF."""
    tools.require({"bpftrace": "bpftrace"})
    finish_one("bpftrace", runs.bpftrace(built("large"), asked().smp or runs.RANDOM_SMP, asked().n or 50))


def cmd_drgn():
    """The script for drgn, on the memory of a guest."""
    finish_one("drgn", dump.results(built("large"), asked().smp or runs.RANDOM_SMP, asked().n or 8))


def cmd_mounts():
    """64 processes mount a filesystem whose module is missing: joined requests beside the kernel's own code."""
    kernel = built()
    count = asked().n or 64
    say(f"Booting the kernel, with a clock that counts instructions; {count} processes mount at once")
    result = vm.run(kernel, "mounts", append=[f"n={count}"], limit=1200, icount=True).check()
    helpers = protocol.records(result.output, "helpers")
    times = protocol.records(result.output, "mounts")
    rows = [["filesystem", "module.dedup=", "mounted", "helpers", "ms, least to most"]]
    for one in helpers:
        same = [int(it["ms"]) for it in times if (it["fs"], it["mode"]) == (one["fs"], one["mode"])]
        took = f"{min(same)} to {max(same)}"
        rows.append([one["fs"], one["mode"], f"{one['mounted']} of {count}", one["helpers"], took])
    (OUT / "mounts.md").write_text(markdown(rows))
    write_json(OUT / "mounts.json", rows)
    print(markdown(rows), end="")
    say(f"The same as Markdown: {OUT / 'mounts.md'}; the kernel log: {result.log_file}")
    record("make mounts", kernel)


def kernels_to_boot(sides):
    """The kernels for a Debian system, up to date; and the system, first, since that may fail at once."""
    tools.ensure()
    boot.root()
    kernels = {stock: built(boot.variant(), stock) for stock in {side == "stock" for side in sides}}
    return {side: kernels[side == "stock"] for side in sides}


def cmd_boot():
    """One boot of a Debian system: systemd, udev and kmod, with our kernel, or the one that SIDE= names."""
    side, report = asked().side, asked().report
    boot.check_settings()
    if asked().guest_shell:
        vm.need_terminal()
    elif report != "requests":
        picture.prepare()
    kernel = kernels_to_boot([side])[side]
    smp = asked().smp or vm.DEFAULT_SMP
    if asked().guest_shell:
        boot.shell(kernel, smp=smp, side=side)
    say(f"Booting Debian {asked().suite} with {smp} CPUs and the kernel {kernel.name}; modules as {boot.packing()}")
    if report == "requests":
        requests.measure(kernel, side, smp)
        return
    words = [f"rounds={asked().rounds or 1000}"]
    trace = picture.trace_of(side)
    result = boot.traced(kernel, "boot", trace, smp=smp, side=side, report=report, words=words)
    print(boot.shown(result))
    # One that went wrong is drawn, too.
    drawn = picture.draw([trace], trace.stem) if trace.is_file() else None
    result.check()
    if side == "ours":
        boot.judge(result)
    say(f"\nThe kernel log: {result.log_file}\nWho waited for what: {drawn}")


def cmd_boot_compare():
    """Boots of the stock kernel, this series, and this series without joining, in turn."""
    boot.check_settings()
    tools.find_matplotlib()
    kernels = kernels_to_boot(list(boot.SIDES))
    boot.finish(boot.compare(kernels, asked().sizes, asked().boots))
    record("make boot-compare", kernels["ours"])


def cmd_picture():
    """A picture of traces of boots: of this machine or any other, or what make boot has left of each side."""
    traces = list(map(Path, asked().trace)) or list(filter(Path.is_file, map(picture.trace_of, boot.SIDES)))
    if not traces:
        raise Failure(
            "There is no trace to draw. Please run make boot first, or name one: make picture TRACE=trace.dat"
        )
    picture.prepare()
    say(f"The picture: {picture.draw(traces, 'picture')}")


def cmd_matrix():
    """Our objects, with other configurations than the usual one."""
    finish_one("objects by configuration", matrix.results())


def cmd_fit():
    """The series on the newest kernel source in Debian, or on KSRC=."""
    finish_one("steps that fit", fit.results())


def cmd_deb():
    """Debian packages of the patched kernel; installed, and booted, in a Debian system, if it is for a guest."""
    if asked().config:
        deb.real(distro.kernel())
        return
    boot.check_settings()
    deb.need_loop()
    tools.ensure()
    boot.root()
    deb.build(kernel_of("boot")[0])


def run_suite(one):
    """Runs all that was put together, and ends with the counts."""
    tally = tap.Tally()
    unrun = jobs.run(one.jobs, tally)
    if unrun:
        say(f"Not run: {'; '.join(job.name for job in unrun)}")
    finish(tally)


def cmd_test():
    """Everything that must hold, and fits into an hour."""
    one = suite.Suite(built)
    here = arch.guest().name == "x86_64"
    if here:
        one.without_guests()
    one.plain()
    if here:
        one.sanitized("debug", 5_000, 10_000, without=suite.SLOW)
    run_suite(one)


def cmd_test_debug():
    """All kernels that find mistakes, with a long run of random calls on each."""
    one = suite.Suite(built)
    one.all_sanitized()
    run_suite(one)


def cmd_test_all():
    """Everything, however long it takes."""
    one = suite.Suite(built)
    one.without_guests()
    one.plain()
    one.long()
    one.all_sanitized()
    run_suite(one)


def explained(error):
    """What a user should read of an error of the system."""
    text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
        return text
    return f"{text}. make writes to {OUT} and to {CACHE}; XDG_CACHE_HOME= names another folder for the latter."


def interrupted(*_):
    """Ends what was started, by whatever thread."""
    interrupt()
    raise KeyboardInterrupt


def main():
    commands = {
        name.removeprefix("cmd_").replace("_", "-"): value
        for name, value in globals().items()
        if name.startswith("cmd_")
    }
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(f"usage: python3 -m host {'|'.join(commands)}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        arch.check(sys.argv[1])
        commands[sys.argv[1]]()
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"\n{explained(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
