# SPDX-License-Identifier: GPL-2.0
"""What the targets of the Makefile do."""

import os
import re
import shutil
import sys

from . import compare, lint, series, source, tap, tools, vm, watch
from .kernel import Kernel
from .util import CACHE, OUT, Failure, lock_cache, say


def built(variant="", tests=False):
    """The patched kernel, up to date, with its modules and selftests."""
    toolchain = tools.ensure(tests)
    if variant == "debug":
        tools.ensure_llvm()
    _, patched = source.trees(toolchain)
    return Kernel(toolchain, patched, variant).build().stage()


def built_stock():
    """The kernel without our patches, with the same configuration, and the same selftests."""
    toolchain = tools.ensure(tests=True)
    stock, patched = source.trees(toolchain)
    return Kernel(toolchain, stock).build().stage(selftests_of=patched)


def follow_steps(line):
    if line.startswith("@step "):
        say(f"  {line.removeprefix('@step ')}")


def words_of(line):
    """KEY=VALUE words as a dictionary."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def megabytes(text):
    return f"{int(text) / 1e6:,.1f} MB"


def cmd_run():
    """The main job: the storm with and without de-duplication, real modprobe, and the statistics."""
    kernel = built()
    say("Booting it")
    result = vm.run(kernel, "run", follow=follow_steps).check()
    storms = dict(re.findall(r"^@storm (\w+) (.*)$", result.output, re.M))
    modprobes = dict(re.findall(r"^@modprobe (\w+) (.*)$", result.output, re.M))
    stats = result.output.partition("@stats\n")[2].partition("@end")[0]
    print("\n/sys/kernel/debug/modules/stats after the storms with module.dedup=on:\n")
    print(stats)
    print_table(storms, modprobes)
    say(f"\nThe kernel log: {result.log_file}")


def print_table(storms, modprobes):
    rows = [("", "module.dedup=on", "module.dedup=off")]
    both = [words_of(storms[mode]) for mode in ("on", "off")]
    rows.append(("200 processes, finit_module() on one file of 1 MB", "", ""))
    rows.append(("  calls that returned success", *(one["ok"] for one in both)))
    rows.append(("  calls that failed with EEXIST", *(one["eexist"] for one in both)))
    rows.append(("  flights led, calls joined", *(f"{one['led']}, {one['joined']}" for one in both)))
    rows.append(("  memory wasted on copies", *(megabytes(one["wasted"]) for one in both)))
    rows.append(("  time until the last call returned", *(f"{int(one['ms']) / 1000:.2f} s" for one in both)))
    both = [words_of(modprobes[mode]) for mode in ("on", "off")]
    rows.append(("64 processes, modprobe of a module that needs another", "", ""))
    rows.append(("  modprobes that succeeded", *(one["ok"] for one in both)))
    rows.append(("  memory wasted on copies", *(megabytes(one["wasted"]) for one in both)))
    rows.append(("  time", *(f"{int(one['ms']) / 1000:.2f} s" for one in both)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip())


def cmd_storm():
    """One storm, of as many processes as there are CPUs, unless N= says otherwise."""
    kernel = built()
    smp = vm.number("SMP", 255)
    count = vm.number("N", smp)
    say(f"Booting it with {smp} CPUs")
    result = vm.run(kernel, "storm", smp=smp, append=[f"n={count}"], limit=1800, follow=follow_steps).check()
    words = words_of(re.search(r"^@storm on (.*)$", result.output, re.M)[1])
    print(
        f"{words['calls']} calls: {words['ok']} succeeded, {words['led']} led, {words['joined']} joined, "
        f"{words['wasted']} bytes wasted, {int(words['ms']) / 1000:.2f} s"
    )
    if words["ok"] != str(count) or words["wasted"] != "0":
        raise Failure("Not every call succeeded without waste.")


def cmd_watch():
    """Storms, and a table of what is in flight that refreshes."""
    kernel = built()
    say("Booting it")
    result = vm.run(kernel, "watch", append=[f"n={vm.number('N', 200)}"], follow=watch.Screen().line).check()
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
        ("KBUILD", kernel.folder),
        ("KSRC", kernel.source),
        ("MODULES", kernel.staging / "lib/modules" / kernel.release),
        ("SELFTESTS", kernel.staging / "selftests"),
    ):
        print(f"{key}={value}")


def cmd_apply():
    given = os.environ.get("KSRC")
    if not given:
        raise Failure(f"Which tree? make apply KSRC=/path/to/linux (we have patches for {series.supported_text()})")
    series.apply(given)


def cmd_series():
    toolchain = tools.ensure()
    stock, _ = source.trees(toolchain)
    for path in series.generate(stock):
        print(path)


def cmd_clean():
    """Removes what was built, but not what was downloaded."""
    for folder in (OUT, CACHE / "build"):
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Removed {OUT} and {CACHE / 'build'}. What is left in {CACHE} was downloaded.")


def report(tally, group, results):
    """Adds the results of a group, and shows how it went."""
    for name, result in results:
        tally.add(group, name, result)
    failed = [name for name, result in results if result == tap.FAILED]
    passed = sum(1 for _, result in results if result == tap.PASSED)
    print(f"{'not ok' if failed else 'ok'}: {group}: {passed} passed, {len(failed)} failed", flush=True)
    for name in failed:
        print(f"    FAILED {name}", flush=True)


def vm_results(result, results):
    """The results of a boot, with one more for the kernel log."""
    problem = result.problem()
    if problem:
        say(problem)
    return [*results, ("kernel log is clean and complete", tap.FAILED if problem else tap.PASSED)]


def run_kselftests(kernel, smp, name, tests=None, limit=1500, test_limit=30):
    """Returns the results, and what the tests wrote."""
    append = [f"limit={test_limit}"]
    if tests:
        append.append(f"tests={','.join(tests)}")
    result = vm.run(kernel, "kselftest", smp=smp, append=append, limit=limit, name=name)
    say(f"  TAP: {result.output_file}, kernel log: {result.log_file}, {result.seconds:.0f} s")
    return vm_results(result, tap.kselftests(result.output)), result.output


def run_kmod(kernel, smp):
    """The kernel's own test of request_module()."""
    result = vm.run(kernel, "kmod", smp=smp, limit=900, name=f"kmod-smp{smp}")
    say(f"  output: {result.output_file}, kernel log: {result.log_file}, {result.seconds:.0f} s")
    return vm_results(result, tap.kselftests(result.output))


def run_reading(kernel):
    """Whether reading what is in flight slows a storm, on one CPU whose clock counts instructions."""
    result = vm.run(kernel, "reading", smp=1, icount=True)
    found = re.search(r"^@reading (.*)$", result.output, re.M)
    words = {key: int(value) for key, value in words_of(found[1] if found else "").items()}
    change = words.get("read_storm_ns", 0) - words.get("alone_storm_ns", 0)
    say(
        f"  instructions of a storm of 255: {words.get('alone_storm_ns')} alone, {change:+} with a reader, which took "
        f"{words.get('read_reader_ns')} for reading {words.get('read_reads')} times"
    )
    good = words.get("alone_ok") == words.get("read_ok") == 255 and abs(change) < words["read_reader_ns"]
    return vm_results(result, [("a reader does not slow a storm", tap.PASSED if good else tap.FAILED)])


def run_debug(kernel):
    """The kselftests on the kernel that finds mistakes. It is slow, and its tests may be."""
    smp = 4
    results, output = run_kselftests(kernel, smp, "kselftest-debug", limit=2400, test_limit=300)
    looked = "# kmemleak has looked" in output
    return [*results, ("kmemleak has looked", tap.PASSED if looked else tap.FAILED)]


def run_compare(kernel, output):
    """Compares what the tests wrote on our kernel with what they do on the stock kernel."""
    say("Running the kselftests on the stock kernel")
    stock = compare.stock(kernel)
    ours = compare.Seen().read(output)
    rows = compare.table(stock, ours, kernel.release)
    compare.print_table(rows)
    say(f"The same as Markdown: {compare.write(rows)}")
    return compare.verdicts(stock, ours)


def run_kunit(kernel, smp):
    append = ["kunit.enable=1", "kunit.autorun=1"]
    result = vm.run(kernel, "nothing", smp=smp, append=append, limit=300, name="kunit")
    say(f"  kernel log with the results: {result.log_file}, {result.seconds:.0f} s")
    results = tap.kunit(kernel.source, result.log_file)
    wanted = [entry for entry in results if re.match(r"module_dedup|.*completion", entry[0])]
    others = [name for name, got in results if got == tap.FAILED and not re.match(r"module_dedup|.*completion", name)]
    wanted.append((f"no other suite fails {' '.join(others)}".strip(), tap.FAILED if others else tap.PASSED))
    for suite in ("module_dedup", "completion"):
        found = any(suite in name for name, _ in wanted)
        wanted.append((f"suite {suite} ran", tap.PASSED if found else tap.FAILED))
    return vm_results(result, wanted)


def finish(tally):
    for group, name in tally.failures():
        say(f"FAILED {group}: {name}")
    print(tally.summary(), flush=True)
    if tally.failures() or not tally.count(tap.PASSED):
        sys.exit(1)


def finish_one(group, results):
    tally = tap.Tally()
    report(tally, group, results)
    finish(tally)


def cmd_lint():
    finish_one("lint", lint.checks(built(tests=True)))


def cmd_kunit():
    finish_one("KUnit", run_kunit(built(), vm.number("SMP", vm.DEFAULT_SMP)))


def cmd_kselftest():
    """The kselftests alone, or those that TESTS= names."""
    kernel = built()
    results, _ = run_kselftests(kernel, vm.number("SMP", vm.DEFAULT_SMP), "kselftest", named_tests())
    finish_one("kselftest", results)


def cmd_debug():
    """The kselftests on a kernel with KASAN, lockdep and kmemleak."""
    finish_one("kselftest, debug kernel", run_debug(built("debug", tests=True)))


def named_tests():
    return os.environ.get("TESTS", "").replace(",", " ").split()


def cmd_compare():
    """One table: the clauses of the contract, what stock does, what ours does."""
    kernel = built(tests=True)
    stock = built_stock()
    say("Running the kselftests on our kernel")
    results, output = run_kselftests(kernel, 8, "compare-ours", compare.PROGRAMS)
    tally = tap.Tally()
    report(tally, "ours", results)
    report(tally, "compared with stock", run_compare(stock, output))
    finish(tally)


def cmd_test():
    """Everything that must hold."""
    tally = tap.Tally()
    kernel = built(tests=True)
    report(tally, "lint", lint.checks(kernel))
    report(tally, "without CONFIG_MODULE_DEDUP", lint.disabled(kernel))
    report(tally, "KUnit, 8 CPUs", run_kunit(kernel, 8))
    outputs = {}
    for smp in (8, 1, 2, 64):
        results, outputs[smp] = run_kselftests(kernel, smp, f"kselftest-smp{smp}")
        report(tally, f"kselftest, {smp} CPUs", results)
    report(tally, "reading in a storm", run_reading(kernel))
    for smp in (8, 64):
        report(tally, f"kmod.sh, {smp} CPUs", run_kmod(kernel, smp))
    report(tally, "compared with stock", run_compare(built_stock(), outputs[8]))
    report(tally, "kselftest, debug kernel", run_debug(built("debug", tests=True)))
    finish(tally)


def main():
    commands = {name.removeprefix("cmd_"): value for name, value in globals().items() if name.startswith("cmd_")}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(f"usage: python3 -m host {'|'.join(commands)}", file=sys.stderr)
        return 2
    lock = None
    try:
        vm.check_variables()
        if sys.argv[1] != "apply":
            lock = lock_cache()
        commands[sys.argv[1]]()
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"\n{error.strerror}: {error.filename}", file=sys.stderr)
        return 1
    finally:
        if lock:
            lock.close()
    return 0


sys.exit(main())
