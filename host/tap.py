# SPDX-License-Identifier: GPL-2.0
"""Counts the results of tests."""

import json
import re
import sys
from collections import Counter

from .util import log_file, output_of

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def verdict(name, good):
    """The result of one check."""
    return name, PASSED if good else FAILED


def counted(results):
    """How many passed, and how many failed, in words."""
    counts = Counter(result for _, result in results)
    return f"{counts[PASSED]} passed, {counts[FAILED]} failed"


class Tally:
    """The results so far."""

    def __init__(self):
        self.counts = Counter()
        # As text: "group: name".
        self.failures = []

    def report(self, group, results):
        """Adds the results of a group, and shows how it went."""
        failed = [name for name, result in results if result == FAILED]
        self.counts += Counter(result for _, result in results)
        self.failures += [f"{group}: {name}" for name in failed]
        print(f"{'not ok' if failed else 'ok'}: {group}: {counted(results)}", flush=True)
        for name in failed:
            print(f"    FAILED {name}", flush=True)

    def summary(self):
        text = f"{self.counts[PASSED]} passed, {self.counts[FAILED]} failed"
        return f"{text}, {self.counts[SKIPPED]} skipped" if self.counts[SKIPPED] else text


def kselftests(output):
    """The results in what run_kselftest.sh printed: [(name, result)].

    A program that reports its own tests, one level deeper, counts as these; it counts itself if it failed
    without one of them failing, or if it reported none.
    """
    results, inner = [], []
    # It is run twice if one program has to be the last of all.
    planned, seen = 0, 0
    for line in output.splitlines():
        match = re.match(r"(# )*(ok|not ok) \d+ (.*)", line)
        plan = re.match(r"1\.\.(\d+)", line)
        if plan:
            planned += int(plan[1])
        if not match:
            continue
        text = match[3].removeprefix("selftests: module: ").removeprefix("- ")
        name = text.split(" #")[0].strip()
        result = PASSED if match[2] == "ok" else FAILED
        if re.search(r"# *SKIP", text):
            result = SKIPPED
        if match[1]:
            inner.append((name, result))
            continue
        seen += 1
        results += [(f"{name}: {test}", got) for test, got in inner]
        if not inner or (result == FAILED and all(got != FAILED for _, got in inner)):
            results.append((text if result == FAILED else name, result))
        inner = []
    if not planned or seen < planned:
        results.append((f"all programs run ({seen} of {planned})", FAILED))
    return results


def kunit(source, log):
    """The results of KUnit in a kernel log: [(name, result)]. The kernel's own tool reads them."""
    target = log_file("kunit.json")
    target.unlink()
    output_of([sys.executable, source / "tools/testing/kunit/kunit.py", "parse", f"--json={target}", log])
    return of_json(target)


def of_json(target):
    """The results in a file that the kernel's own tool has written, if it has: [(name, result)]."""
    results = []

    def walk(group, path):
        for case in group.get("test_cases", []):
            result = {"PASS": PASSED, "SKIP": SKIPPED}.get(case["status"], FAILED)
            results.append((f"{path}{case['name']}", result))
        for inner in group.get("sub_groups", []):
            walk(inner, f"{path}{inner['name']}: ")

    if target.is_file():
        walk(json.loads(target.read_text()), "")
    return results or [("KUnit ran", FAILED)]
