# SPDX-License-Identifier: GPL-2.0
"""What the stock kernel does, and what this series does, from the same kselftests."""

import re
from concurrent.futures import ThreadPoolExecutor

from . import tap, vm
from .table import markdown
from .util import OUT, say, tell, write_json

# The tests that must fail with the kernel's own code, since it does not give the guarantees of the guide.
OTHER_FAILS = {
    "dedup_02_key": (
        "key.other_arguments_while_the_first_load_fails",
        "key.other_arguments_while_the_first_load_succeeds",
        "key.other_flags",
        "key.file_rewritten_in_place",
        "key.file_rewritten_within_a_second",
    ),
    "dedup_04_own_rights": (
        "own_rights.denied_caller_while_a_flight_is_up",
        "own_rights.many_of_both_at_once",
        "own_rights.leader_denied_when_its_turn_comes",
    ),
    "dedup_05_signals": ("signals.restarted_after_the_handler", "signals.debugger"),
    "dedup_06_private_end": (
        "private_end.killed_leader",
        "private_end.killed_leader_whose_wait_is_interruptible",
        "private_end.interrupted_leader",
        "private_end.restarted_leader",
        "private_end.interrupted_while_it_waits_for_symbols",
        "private_end.init_lacks_the_rights_of_the_followers",
        "private_end.init_is_in_another_root_folder",
        "private_end.init_is_among_other_mounts",
    ),
    "dedup_07_dead_leader": (
        "dead_leader.with_followers",
        "dead_leader.alone",
        "dead_leader.by_init_module",
        "dead_leader.with_symbols_that_others_need",
    ),
    "dedup_08_recursion": (
        "recursion.same_call",
        "recursion.other_arguments",
        "recursion.copy_of_the_file",
        "recursion.init_module",
        "recursion.helper_forks",
        "recursion.helper_forks_three_times",
        "recursion.two_modules",
        "recursion.three_modules",
        "recursion.symbols",
        "recursion.same_request",
        "recursion.same_request_by_a_child",
        "recursion.request_that_somebody_else_makes",
    ),
    "dedup_11_late": ("late.reads_nothing",),
    "dedup_12_requests": (
        "requests.one_helper_that_succeeds",
        "requests.one_helper_that_fails",
        "requests.other_names_are_not_delayed",
        "requests.modprobe_of_a_module_that_requests_itself",
    ),
    "dedup_12_requests_slow": ("requests.many_for_a_slow_name",),
    "dedup_15_init_module": ("copies.one_copy_for_all", "copies.late"),
    "dedup_16_no_older_answer": ("no_older_answer.after_init_has_failed",),
    "dedup_18_still_allowed": ("still_allowed.modules_are_disabled_meanwhile",),
}
# And those that must not: nobody may be worse off with ours.
OTHER_PASSES = {
    "dedup_01_one_load": ("one_load.storm_of_255_processes",),
    "dedup_11_late": (
        "late.after_the_file_was_rewritten_within_a_second",
        "late.after_another_image_was_mounted",
    ),
    "dedup_12_requests": (
        "requests.failure_is_for_who_asked_before",
        "requests.module_is_removed_meanwhile",
        "requests.helper_is_killed",
        "requests.loader_is_alone",
        "requests.helper_is_alone",
        "requests.helper_is_alone_after_exec",
        "requests.child_of_a_helper_is_alone",
        "requests.orphan_of_a_helper_is_alone",
        "requests.daemon_of_a_helper_is_alone",
        "requests.wrapper_with_a_pipe",
        "requests.wrapper_with_a_pipe_from_an_orphan",
        "requests.wrapper_with_children",
        "requests.wrapper_without_children",
        "requests.no_memory_for_the_leader",
    ),
    "dedup_12_requests_slow": (
        "requests.late_one_waits_for_a_place_by_itself",
        "requests.second_helper_succeeds",
        "requests.second_helper_fails",
        "requests.recursion_with_a_pipe",
        "requests.recursion_with_a_pipe_from_an_orphan",
        "requests.recursion_with_children",
        "requests.recursion_without_children",
        "requests.too_many_names",
    ),
    "dedup_15_init_module": (
        "copies.wrong_version",
        "copies.late_after_a_file",
        "copies.while_a_file_is_loaded",
        "copies.while_a_file_comes_later",
    ),
}
PROGRAMS = sorted({*OTHER_FAILS, *OTHER_PASSES, "dedup_09_no_memory"})
# Seconds until a test of that code counts as hanging: many do.
OTHER_LIMIT = 10
HANGS = f"hangs (killed after {OTHER_LIMIT} s)"
# How many guests at the same time, and how many CPUs each has.
AT_ONCE, SMP = 3, 8
# What the harness says last.
OVER = re.compile(r"# (PASSED|FAILED): \d+ / \d+ tests passed")

# The guarantees of Documentation/admin-guide/module-dedup.rst, in a word or two.
GUARANTEES = {
    1: "one load",
    2: "key",
    4: "own rights",
    5: "signals",
    6: "private end",
    7: "dead leader",
    8: "recursion",
    9: "no memory",
    11: "late duplicates",
    12: "requests",
    15: "copies",
    16: "no older answer",
    18: "still allowed",
}


class Seen:
    """What the tests of a kernel said: results, and cases in words, by (program, test)."""

    def __init__(self):
        self.results, self.cases, self.hung = {}, {}, set()

    def read(self, output):
        program, case = None, None
        for line in output.splitlines():
            line = re.sub(r"^(# )*#?\s*", "", line)
            if match := re.match(r"selftests: module: (\w+)$", line):
                program = match[1]
            elif match := re.match(r"RUN +\S+", line):
                case = None
            elif match := re.match(r"saw: (.+?): (.+)$", line):
                case = match.groups()
            elif match := re.match(r"(\w+): Test terminated by timeout", line):
                self.hung.add((program, match[1]))
            elif match := re.match(r"(ok|not ok) \d+ (\w+\.(\w+))( # SKIP)?", line):
                key = (program, match[2])
                self.results[key] = tap.SKIPPED if match[4] else tap.PASSED if match[1] == "ok" else tap.FAILED
                if (program, match[3]) in self.hung:
                    self.hung.add(key)
                if case:
                    self.cases[key] = case
        return self

    def give_up(self, program):
        """The guest hung as a whole, and with it the tests that it has said nothing of."""
        for test in OTHER_FAILS.get(program, ()):
            if (program, test) not in self.results:
                self.results[program, test] = tap.FAILED
                self.hung.add((program, test))

    def text(self, key):
        if key in self.hung:
            return HANGS
        if key in self.cases:
            return self.cases[key][1]
        return {tap.PASSED: "right", tap.FAILED: "wrong", tap.SKIPPED: "not tested"}.get(
            self.results.get(key), "not run"
        )


def other(kernel, code):
    """Runs the tests on the kernel's own code: one boot for each program, since some leave it in ruins.

    That is the stock kernel, or the C code in ours (code is "c"), with our parameter hidden from the tests.
    """
    seen = Seen()
    accel = vm.prepare(kernel)
    # The one that hangs most comes first; most of the time is spent on waiting for that.
    programs = sorted(PROGRAMS, key=lambda program: -len(OTHER_FAILS.get(program, ())))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = pool.map(lambda program: other_program(kernel, code, program, accel), programs)
        for program, result in zip(programs, results, strict=True):
            seen.read(result.output)
            if result.killed:
                seen.give_up(program)
            elif not OVER.search(result.output):
                say(f"  {result.problem() or f'{program} ended, and did not say how its tests went.'}")
            say(f"  {program}: {result.seconds:.0f} s, TAP: {result.output_file}")
    return seen


def other_program(kernel, code, program, accel):
    append = [f"tests={program}", f"limit={OTHER_LIMIT}"]
    if code == "c":
        append += ["module.dedup=c", "hidden=1"]
    # Some tests leave CPUs and processes behind that nothing can stop; what they saw is all there by then.
    name = f"compare-{code}-{program}"
    return vm.start(kernel, "kselftest", smp=SMP, append=append, limit=600, accel=accel, name=name, follow=OVER.search)


def table(seen, ours, title):
    """The cases that tests put into words, as rows: (guarantee, case, the code of that title, ours)."""
    rows = [("guarantee", "case", title, "with MODULE_DEDUP")]
    for key in ours.results:
        guarantee = re.match(r"dedup_(\d+)", key[0])
        if not guarantee or key not in ours.cases:
            continue
        number = int(guarantee[1])
        name = f"{number} {GUARANTEES.get(number, '')}".strip()
        rows.append((name, ours.cases[key][0], seen.text(key), ours.text(key)))
    return rows


def show(rows, code):
    """Shows the table as a list; and writes it as Markdown."""
    previous = None
    for guarantee, case, before, after in rows[1:]:
        if guarantee != previous:
            tell(f"\nGuarantee {guarantee}")
        previous = guarantee
        tell(f"  {case}\n    {rows[0][2]}: {before}\n    {rows[0][3]}: {after}")
    tell()
    target = OUT / f"compare-{code}.md"
    target.write_text(markdown(rows))
    write_json(target.with_suffix(".json"), rows)
    say(f"The same as Markdown: {target}")


def run(kernel, code, output):
    """Compares what the tests wrote on our kernel with what they do on the stock kernel, or with its C code in ours."""
    title = f"Linux {kernel.release}" if code == "stock" else "module.dedup=c"
    say(f"Running the kselftests with {title}")
    seen = other(kernel, code)
    ours = Seen().read(output)
    show(table(seen, ours, title), code)
    return verdicts(seen, ours, code)


def verdicts(seen, ours, code):
    """[(name, result)]: ours right in all, the other code wrong, or right as well, where the guarantees say so."""
    results = []
    for verb, right, programs in (("fails", tap.FAILED, OTHER_FAILS), ("passes", tap.PASSED, OTHER_PASSES)):
        for program, tests in programs.items():
            for test in tests:
                key = (program, test)
                results.append(tap.verdict(f"{code} {verb} {program}: {test}", seen.results.get(key) == right))
                results.append(tap.verdict(f"series passes {program}: {test}", ours.results.get(key) == tap.PASSED))
    return results
