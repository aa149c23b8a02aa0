# SPDX-License-Identifier: GPL-2.0
"""What is run in a guest, what came of it, and a record of it."""

import json
import random
import re
import threading

from . import protocol, tap, vm
from .table import markdown
from .util import OUT, say, write_json

# Kernels that find mistakes, and by what.
SANITIZED = {
    "debug": "KASAN, lockdep, kmemleak, DEBUG_OBJECTS",
    "kcsan": "KCSAN",
    "rt": "PREEMPT_RT, lockdep",
}
# What they say of themselves: a check that is not there finds nothing.
MARKS = {
    "debug": ("KernelAddressSanitizer initialized", "Lock dependency validator", "kmemleak has looked"),
    "kcsan": ("kcsan: enabled early",),
    "rt": ("PREEMPT_RT", "Lock dependency validator"),
}
SANITIZED_SMP = 4
# Many calls, and as many CPUs as most machines can emulate at full speed.
RANDOM_SMP = 2
COLUMNS = (
    *("kernel", "cpus", "what", "rounds", "calls", "faults", "killed", "log_lines", "passed", "failed"),
    *("seconds", "core_seconds"),
)

# What ran, and where that is written.
records = []
_writing = threading.Lock()
TABLE = OUT / "ran.md"


def finish(kernel, smp, what, result, results, **more):
    """The results of a boot, with more for its kernel log; and a record of all that."""
    problem = result.problem()
    if problem:
        say(problem)
    results = [*results, tap.verdict("kernel log is clean and complete", not problem)]
    for mark in MARKS.get(kernel.variant, ()):
        results.append(tap.verdict(f"{mark}: seen", mark in result.log or mark in result.output))
    if result.elsewhere:
        say(f"  {result.elsewhere} data races do not count: stock has them, in other code or on a module's state, too")
    took = f"{result.seconds:.0f} s, {result.cpu:.0f} s of a core"
    say(f"  output: {result.output_file}, kernel log: {result.log_file}, {took}")
    got = [result for _, result in results]
    record(
        {
            "kernel": SANITIZED.get(kernel.variant, "plain"),
            "cpus": smp,
            "what": what,
            "log_lines": result.log.count("\n"),
            "passed": got.count(tap.PASSED),
            "failed": got.count(tap.FAILED),
            "seconds": round(result.seconds),
            "core_seconds": round(result.cpu),
            **more,
        }
    )
    return results


def kselftests(kernel, smp, name, tests=None, without=None):
    """Returns the results, and what the tests wrote. Where all is slow its tests may be, too.

    One program may be left out, which is said, and counts as skipped.
    """
    # Two guests at a time have half the cores each.
    limit, test_limit = (3600, 300) if kernel.variant else (1800, 240 if smp > 16 else 120)
    append = [f"limit={test_limit}"]
    if tests:
        append.append(f"tests={','.join(tests)}")
    if without:
        append.append(f"without={without}")
    result = vm.run(kernel, "kselftest", smp=smp, append=append, limit=limit, name=name)
    results = tap.kselftests(result.output)
    if without:
        say(f"  {without} is left out: it waits for the 5 s of requests for most of its time")
        results.append((without, tap.SKIPPED))
    return finish(kernel, smp, "kselftests", result, results), result.output


def kmod(kernel, smp):
    """The kernel's own test of request_module()."""
    result = vm.run(kernel, "kmod", smp=smp, limit=900, name=f"kmod-smp{smp}")
    return finish(kernel, smp, "kmod.sh", result, tap.kselftests(result.output))


def reading(kernel):
    """Whether reading what is in flight slows a storm, on one CPU whose clock counts instructions."""
    result = vm.run(kernel, "reading", smp=1, icount=True)
    words = {key: int(value) for key, value in protocol.record(result.output, "reading").items()}
    change = words.get("read_storm_ns", 0) - words.get("alone_storm_ns", 0)
    say(
        f"  instructions of a storm of 255: {words.get('alone_storm_ns')} alone, {change:+} with a reader, which took "
        f"{words.get('read_reader_ns')} for reading {words.get('read_reads')} times"
    )
    good = words.get("alone_ok") == words.get("read_ok") == 255 and abs(change) < words["read_reader_ns"]
    results = [tap.verdict("a reader does not slow a storm", good)]
    return finish(kernel, 1, "reading in a storm", result, results)


def bpftrace(kernel, smp, count):
    """What the scripts for bpftrace say of a storm of so many processes."""
    result = vm.run(kernel, "bpftrace", smp=smp, append=[f"n={count}"])
    blocks = protocol.blocks(result.output)
    who, waits = (blocks.get(name, []) for name in ("dedup_who", "dedup_waits"))

    def lines(pattern):
        return sum(bool(re.search(pattern, line)) for line in who)

    load = "the load of test_dedup_big"
    counted = re.search(r"^@waits\[test_dedup_big\S*\]: (\d+)$", "\n".join(waits), re.M)
    results = [
        tap.verdict("dedup_who.bt: one process leads", lines(f" leads {load}") == 1),
        tap.verdict("dedup_who.bt: all others join it", lines(f" joins {load}") == count - 1),
        tap.verdict("dedup_who.bt: all of them end with its result", lines(f" ends {load}.*: 0, after") == count),
        tap.verdict("dedup_waits.bt: all of them but one wait", counted and int(counted[1]) == count - 1),
    ]
    for line in [*who[:4], *waits]:
        say(f"  {line}")
    return finish(kernel, smp, "bpftrace", result, results)


def moddedup(kernel, smp, count):
    """Each subcommand of moddedup, while so many requests and modprobes wait for one module, and after that."""
    result = vm.run(kernel, "moddedup", smp=smp, append=[f"n={count}"], name="moddedup")
    blocks = protocol.blocks(result.output)

    def said(name):
        try:
            return json.loads("\n".join(blocks.get(name, [])))
        except ValueError:
            return None

    results = [tap.verdict(f"moddedup {name}", good) for name, good in moddedup_checks(blocks, said, count)]
    return finish(kernel, smp, "moddedup", result, results)


def moddedup_checks(blocks, said, count):
    """Whether what moddedup has said agrees with what the kernel says: (name, whether that is so)."""
    top, why, stats = said("top") or {}, said("why") or [], said("stats") or {}
    blame, check = said("blame") or {}, said("check") or {}
    loads = [one for one in why if one["kind"] == "load" and one["followers"]]
    helpers = [one["helper"] for one in why if one["kind"] == "request"]
    yield "top: what is in flight", any(one["followers"] >= count - 1 for one in top.get("flights", []))
    yield "why: where the loader sleeps", "test_dedup_gate_pass" in str([one["loader"] for one in loads])
    yield "why: who waits", len(loads) == 1 and len(loads[0]["waiters"]) >= loads[0]["followers"] >= count - 1
    yield "why: who stands in line", any(one["in_line"] for one in loads)
    yield "why: the helper of a request", "'runs_for': 'request for test_dedup by" in str(helpers)
    yield "why: nothing in flight", "is live" in str(blocks.get("why after"))
    # Nothing was loaded between the two.
    raw = dict(re.findall(r"^ *(.+)\t(\d+)$", "\n".join(blocks.get("after", [])), re.M))
    yield "stats: as the kernel says", stats and all(raw.get(name) == str(value) for name, value in stats.items())
    calls, all_loads = blame.get("calls", {}), blame.get("loads", [])
    led = sum(int(raw.get(name, 0)) for name in ("Flights led", "Requests led", "Requests not joinable"))
    joined = sum(int(raw.get(name, 0)) for name in ("Calls joined", "Requests joined", "Retried after leader end"))
    yield "blame: as many led as counted", led and led == len(all_loads)
    yield "blame: as many joined as counted", joined and joined <= sum(one["waits"] for one in all_loads)
    yield "blame: all events are understood", calls.get("join") == sum(one["waits"] for one in all_loads)
    yield "blame: all loads are over", all(one["seconds"] is not None for one in all_loads if one["kind"] == "load")
    yield "blame: trace-cmd", '"waits": 3' in "\n".join(blocks.get("blame trace-cmd", []))
    yield "check", check.get("dedup") == "on" and check["modules"][0]["call"] == "finit_module"
    yield "without debugfs", "debugfs is not mounted" in str(blocks.get("no debugfs"))
    yield "without tracefs", "tracefs is not mounted" in str(blocks.get("no tracefs"))


def kunit(kernel, smp):
    append = ["kunit.enable=1", "kunit.autorun=1"]
    result = vm.run(kernel, "nothing", smp=smp, append=append, limit=300, name="kunit")
    results = tap.kunit(kernel.source, result.log_file)
    wanted = [entry for entry in results if re.match(r"module_dedup|.*completion", entry[0])]
    others = [name for name, got in results if got == tap.FAILED and not re.match(r"module_dedup|.*completion", name)]
    wanted.append(tap.verdict(f"no other suite fails {' '.join(others)}".strip(), not others))
    for suite in ("module_dedup", "completion"):
        wanted.append(tap.verdict(f"suite {suite} ran", any(suite in name for name, _ in wanted)))
    return finish(kernel, smp, "KUnit", result, wanted)


def at_random(kernel, what, smp, calls, seed=None, processes=None):
    """Chaos or fuzz: many calls, at random."""
    seed = seed or random.getrandbits(32)
    append = [f"program=dedup_{what}", f"calls={calls}", f"seed={seed}"]
    append += [f"processes={processes}"] if processes else []
    again = [f"make {what}", f"SEED={seed}", f"CALLS={calls}", f"SMP={smp}"]
    again += [f"KERNEL={kernel.variant}"] if kernel.variant else []
    say(f"Running {what}; to try the same again: {' '.join(again)}")
    name = "-".join(filter(None, [what, kernel.variant, f"smp{smp}", str(calls)]))
    # It has a limit of its own for each round; this one is for a guest that is stuck as a whole.
    limit = 900 + calls // (10 if kernel.variant else 50)
    result = vm.run(kernel, "random", smp=smp, append=append, limit=limit, name=name)
    words = protocol.record(result.output, what)
    if words:
        say(f"  {' '.join(f'{key}={value}' for key, value in words.items())}")
    for line in re.findall(r"^(?:# round|# .* (?:hangs|ended with|C code|live)|Bail out).*$", result.output, re.M)[:10]:
        say(f"  {line}")
    numbers = {key: int(value) for key, value in words.items() if value.isdigit()}
    # After eight rounds all has been tried; who has to try again is not ours to decide.
    missing = [key for key, value in numbers.items() if not value and calls >= 20_000 and key != "retried"]
    results = [
        *tap.kselftests(result.output),
        tap.verdict(f"{calls} calls were made", numbers.get("calls", 0) >= calls),
        tap.verdict(f"all was tried {' '.join(missing)}".strip(), not missing),
    ]
    more = {key: numbers[key] for key in ("rounds", "calls", "faults", "killed") if key in numbers}
    return finish(kernel, smp, what, result, results, seed=seed, **more)


def record(one):
    """Adds to what ran, as JSON and as a table."""
    with _writing:
        records.append(one)
        write_json(OUT / "ran.json", records)
        lines = [[column.replace("_", " ") for column in COLUMNS]]
        for ran in records:
            values = [ran.get(column, "") for column in COLUMNS]
            lines.append([f"{value:,}" if isinstance(value, int) else value for value in values])
        TABLE.write_text(markdown(lines))
