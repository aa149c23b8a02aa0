# SPDX-License-Identifier: GPL-2.0
"""The model checker: the engine under all interleavings of a few callers, and mutants that it must find."""

import re
import shutil

from . import tap
from .util import CACHE, OUT, TOP, Failure, locked, log_file, output_of, run, say, tail, write_json

FOLDER = CACHE / "model"
TARGET = FOLDER / "target"
# What the model is built from, below TOP. Mutants change some of it.
SOURCES = ("model", "rust/kernel/module_dedup.rs", "rust/kernel/module_dedup")
# For one scenario, in seconds. The longest takes five, and a hundred times that in the gaps that others leave.
LIMIT = 3600

PASSED = re.compile(r"^(\S+) +(\d+) threads, bound (\S+) +(\d+) executions +([\d.]+) s$", re.M)
FAILED = re.compile(r"FAILED: (.*)$", re.M)
# What goes wrong with the exploration, and says nothing of the engine.
NO_PROPERTY = ("Model exceeded", "the process was killed", "[loom internal bug]", "There is no scenario")


def command(what):
    """What cargo is to do, for a folder that has the model."""
    cargo = shutil.which("cargo")
    if not cargo:
        raise Failure("cargo is missing. As root: apt-get install cargo (on Debian 12: cargo-web)")
    lints = ["--", "-D", "warnings"] if what == "clippy" else []
    return [cargo, what, "--release", "--locked", "--target-dir", str(TARGET), *lints]


def build(log, patch=None):
    """Builds the model, with a change to the engine if there is a patch. Returns the program.

    Always from a copy, whose files are new: cargo goes by their time, and takes all copies for one.
    """
    where = FOLDER / "source"
    shutil.rmtree(where, ignore_errors=True)
    for source in SOURCES:
        (where / source).parent.mkdir(parents=True, exist_ok=True)
        if (TOP / source).is_dir():
            skip = shutil.ignore_patterns("target")
            shutil.copytree(TOP / source, where / source, ignore=skip, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(TOP / source, where / source)
    if patch:
        words = ["patch", "-p1", "--fuzz=0", "-d", str(where), "-i", str(patch)]
        run(words, log=log, what=f"Applying {patch.name}, which has to follow the engine,")
    run(command("build"), log=log, what="Building the model", cwd=where / "model")
    return TARGET / "release/model"


def explore(program, scenario, log):
    """Runs one scenario. Returns what PASSED matches, or None, and what it says of a failure, or None."""
    words = ["timeout", str(LIMIT), str(program), scenario]
    before = log.stat().st_size
    status = run(words, log=log, what=f"Exploring {scenario}", check=False)
    output = log.read_bytes()[before:].decode(errors="replace")
    failed = FAILED.search(output)
    if status == 124:
        return None, f"it was not done after {LIMIT} s"
    if status == 0 and not failed:
        return PASSED.search(output), None
    return None, failed[1] if failed else tail(log, 1)


def scenarios(program):
    """All scenarios on the engine as it is: [(name, result)]."""
    log = log_file("model.log")
    results, found = [], []
    for line in (output_of([program, "--list"]) or "").splitlines():
        name, about = line.split(None, 1)
        passed, failed = explore(program, name, log)
        if passed:
            _, threads, bound, executions, seconds = passed.groups()
            say(f"  {name}: {int(executions):,} executions, preemption bound {bound}, {seconds} s ({about})")
            found.append(
                {
                    "scenario": name,
                    "threads": int(threads),
                    "bound": None if bound == "none" else int(bound),
                    "executions": int(executions),
                    "seconds": float(seconds),
                }
            )
        else:
            say(f"  {name}: FAILED ({about}): {failed}\n  The whole log: {log}")
        results.append(tap.verdict(name, passed))
    write_json(OUT / "model.json", found)
    return results or [("there are scenarios", tap.FAILED)]


def mutant(patch):
    """Whether the scenario that a mutant names finds it."""
    name = patch.stem
    log = log_file(f"model-{name}.log")
    expected = re.search(r"Found by: (.*)$", patch.read_text(), re.M)
    try:
        program = build(log, patch)
    except Failure as failure:
        say(f"  mutant {name}: FAILED: {failure}")
        return name, tap.FAILED
    for scenario in expected[1].split():
        _, message = explore(program, scenario, log)
        if message and "FAILED: " in log.read_text(errors="replace") and not message.startswith(NO_PROPERTY):
            say(f"  mutant {name}: killed by {scenario}: {message}")
            return name, tap.PASSED
        if message:
            say(f"  mutant {name}: {scenario} ended for another reason: {message}")
    say(f"  mutant {name}: FAILED: not found by {expected[1]}\n  The whole log: {log}")
    return name, tap.FAILED


@locked("model")
def checks():
    """All scenarios, and all mutants: [(name, result)]."""
    program = build(log_file("model-build.log"))
    results = scenarios(program)
    patches = sorted((TOP / "model/mutants").glob("*.patch"))
    return results + [(f"mutant {name}", result) for name, result in map(mutant, patches)]
