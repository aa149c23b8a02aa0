# SPDX-License-Identifier: GPL-2.0
"""make series-check: every step of the series by itself.

Git applies the steps to the stock files, one after the other. After each, a tree of its own (hard links of the stock
tree, in the cache) is made what the step leaves, and the module loader and the kernel crate are built there. Where a
step brings KUnit tests, examples in its documentation or selftests, the whole kernel is built, and they run in a guest.
A step that has passed is not tried again until it changes, one before it, the configuration or the compiler.

Of the older kernel version that KSRC= names only the last step is built.
"""

import hashlib
import json
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import runs, series, source, stack, tap, tools, vm
from .kernel import CONFIG, Kernel
from .settings import asked
from .util import CACHE, Failure, locked, log_file, output_of, run, say, write_if_changed

LIST = "linux-modules@vger.kernel.org"
SELFTESTS = Path("tools/testing/selftests/module")


def unnamed(tree, places):
    """Those of some files for which get_maintainer.pl does not name the module list."""

    def lists(place):
        command = ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", "--no-rolestats", "-f", place]
        return output_of(command, cwd=tree) or ""

    places = sorted(places)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [place for place, text in zip(places, pool.map(lists, places), strict=True) if LIST not in text]


def maintained(tree, places):
    """Whether the module list is named for all of some files, as a result."""
    wrong = unnamed(tree, places)
    return tap.verdict(f"MAINTAINERS names the module list {' '.join(wrong)}".strip(), not wrong)


def checkpatch(tree, mail):
    """What checkpatch says of a mail, as a result.

    It wants MAINTAINERS looked at whenever there is a new file: maintained() does that. And it takes Kconfig.dedup,
    which Kconfig has to name, for the name of the file itself.
    """
    name = f"checkpatch {mail.path.name}"
    log = log_file(f"checkpatch-{mail.path.name}.log")
    ignored = "FILE_PATH_CHANGES,EMBEDDED_FILENAME"
    script = tree / "scripts/checkpatch.pl"
    command = [script, "--strict", "--no-signoff", "--no-summary", "--ignore", ignored, mail.path.resolve()]
    # It leaves files behind where it runs.
    with tempfile.TemporaryDirectory() as scratch:
        failed = run(["perl", *map(str, command)], log=log, what="checkpatch", check=False, cwd=scratch)
    if failed:
        say(log.read_text(errors="replace").partition("\n")[2].strip() or f"checkpatch failed: {log}")
    return tap.verdict(name, not failed)


def asked_for(count):
    """The steps that STEPS= names; all if none."""
    words = asked().steps
    for word in words:
        if not word.isdigit() or not 1 <= int(word) <= count:
            raise Failure(f"STEPS={word} is no step: there are {count}.")
    return {int(word) for word in words} or set(range(1, count + 1))


class Steps:
    """The series as git applies it, and a tree and a kernel for one step after the other."""

    def __init__(self, stock, version, toolchain, scratch):
        self.stock = stock
        self.mails = series.mails(version)
        self.tree = source.copy_of(stock, "step")
        self.kernel = Kernel(toolchain, self.tree)
        self.passed_file = self.tree.with_name(self.tree.name + ".passed")
        self.passed = set(json.loads(self.passed_file.read_text())) if self.passed_file.is_file() else set()
        compiler = output_of([toolchain.rustc, "--version"])
        self.environment = f"{series.text_of(version)} {compiler} {toolchain.variables} {CONFIG.read_text()}"
        self.git = stack.Stack(scratch, version)
        self.git.start(stock, self.mails, whole_folders=False)
        self.commits = []
        for mail in self.mails:
            if not self.git.apply([mail]):
                raise Failure(
                    f"{mail.name} does not apply to Linux {series.text_of(version)} after the steps before it."
                )
            self.commits.append(self.git.commit_of("HEAD"))

    def key(self, number):
        """What a step that has passed is known by."""
        made = self.git.git("rev-parse", f"{self.commits[number - 1]}^{{tree}}") + self.mails[number - 1].text
        return hashlib.sha256((made + self.environment).encode()).hexdigest()

    def set_passed(self, number):
        self.passed.add(self.key(number))
        self.passed_file.write_text(json.dumps(sorted(self.passed)))

    def go_to(self, number):
        """Makes the tree what a step leaves. Touches only what differs."""
        self.git.git("checkout", "-q", "--detach", self.commits[number - 1])
        touched = {place for mail in self.mails for place in mail.diffs}
        # What the steps have touched when they were others.
        manifest = self.tree / ".module-dedup"
        before = set(manifest.read_text().split()) if manifest.is_file() else set()
        write_if_changed(manifest, "\n".join(sorted(touched | before)).encode())
        for place in touched | before:
            path = (self.git.tree if place in touched else self.stock) / place
            data, mode = (path.read_bytes(), path.stat().st_mode & 0o777) if path.is_file() else (None, None)
            series.put(self.tree / place, data, mode)

    def check(self, number):
        """Builds and tests a step. Returns the results."""
        mail, kernel = self.mails[number - 1], self.kernel
        self.go_to(number)
        results = [maintained(self.tree, mail.creates()), checkpatch(self.tree, mail)]
        suites, tests = brings(mail)
        try:
            if suites or tests:
                kernel.build().stage()
            else:
                kernel.configure()
                kernel.make(
                    "CLIPPY=1", "prepare", "kernel/module/", what="Building the module loader and the kernel crate"
                )
        except Failure as failure:
            say(str(failure))
            return [*results, ("builds", tap.FAILED)]
        results.append(("builds", tap.PASSED))
        if suites:
            results += kunit(kernel, suites, f"step{number}-kunit")
        listed = (kernel.staging / "selftests/kselftest-list.txt").read_text() if tests else ""
        tests = [name for name in tests if f"module:{name}\n" in listed]
        if tests:
            results += runs.kselftests(kernel, asked().smp or vm.DEFAULT_SMP, f"step{number}-kselftest", tests)[0]
        return results

    def is_tip(self):
        """Whether the last step leaves what all other commands build, as a result."""
        self.go_to(len(self.mails))
        wanted = series.contents(self.stock, self.git.version)
        wrong = [
            place
            for place, data in wanted.items()
            if ((self.tree / place).read_bytes() if (self.tree / place).is_file() else None) != data
        ]
        return tap.verdict(f"the last step is the overlay {' '.join(wrong)}".strip(), not wrong)


def brings(mail):
    """The tests that a step brings: KUnit suites, and what may be selftests."""
    suites, tests = set(), set()
    for place, diff in mail.diffs.items():
        suites |= set(re.findall(r"^\+#\[kunit_tests\((\w+)\)\]", diff, re.M))
        # Each example is a test, named after the file. Every other line of this form ends one.
        examples = re.findall(r"^\+\s*//[/!] ```(.*)$", diff, re.M)[::2]
        if place.startswith("rust/kernel/") and {"", "rust"} & set(examples):
            suites.add(place.removeprefix("rust/kernel/").removesuffix(".rs").replace("/", "_"))
        # A step that changes the engine is to pass what those before it have brought.
        if place.startswith("rust/kernel/module_dedup"):
            suites.add("module_dedup")
        if Path(place).parent == SELFTESTS and place.endswith((".c", ".sh")):
            tests.add(Path(place).name.removesuffix(".c"))
    return suites, sorted(tests)


def kunit(kernel, suites, name):
    """The KUnit tests that a kernel has: none fails, and those of some suites are there."""
    append = ["kunit.enable=1", "kunit.autorun=1"]
    smp = asked().smp or vm.DEFAULT_SMP
    result = vm.run(kernel, "nothing", smp=smp, append=append, limit=300, name=name)
    results = tap.kunit(kernel.source, result.log_file)
    results += [
        tap.verdict(f"suite {suite} ran", any(suite in test for test, _ in results)) for suite in sorted(suites)
    ]
    return runs.finish(kernel, smp, "KUnit", result, results)


def check():
    """Checks the steps. Fails if one of them does."""
    toolchain = tools.ensure(tests=True)
    with locked("kernel source"):
        stock = source.stock_tree(toolchain)
    version = series.kernel_version(stock)
    series.check_absorbed(series.supported()[-1])
    if version[:2] in series.supported():
        series.check_absorbed(version)
    failed, passed = [], 0
    with locked("series check"), tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        steps = Steps(stock, version, toolchain, Path(scratch))
        last = len(steps.mails)
        numbers = sorted(asked_for(last))
        if version[:2] != series.supported()[-1] and version[:2] in series.supported():
            numbers = [last]
        for number in numbers:
            title = f"Step {number} of {last}: {steps.mails[number - 1].subject}"
            if steps.key(number) in steps.passed:
                print(f"ok: {title} (passed before)", flush=True)
                passed += 1
                continue
            say(f"\n{title}")
            results = steps.check(number)
            wrong = [name for name, result in results if result == tap.FAILED]
            print(f"{'not ok' if wrong else 'ok'}: {title}: {len(results)} results, {len(wrong)} failed", flush=True)
            for name in wrong:
                print(f"    FAILED {name}", flush=True)
            if wrong:
                failed.append(number)
            else:
                steps.set_passed(number)
                passed += 1
        name, result = steps.is_tip()
        print(f"{'ok' if result == tap.PASSED else 'not ok'}: {name}", flush=True)
    print(
        f"{passed} steps passed" + (f", {len(failed)} failed: {', '.join(map(str, failed))}" if failed else ""),
        flush=True,
    )
    if failed or result != tap.PASSED:
        raise SystemExit(1)
