# SPDX-License-Identifier: GPL-2.0
"""Tests of the jobs of a long run, and of what Ctrl-C does to them."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from . import tap
from .jobs import Job, run
from .util import TOP, Failure, say

# Two programs that each leave their number in a folder, and of which the second does not end when it is asked to.
INTERRUPTED = """
import sys
from host import __main__ as program, jobs, tap, util

folder = sys.argv[1]

def job(name, before):
    words = f"{before} echo $$ > {name}.new; mv {name}.new {name}; while :; do sleep 1; done"
    work = lambda: util.run(["sh", "-c", words], log=f"{folder}/log", what=name, cwd=folder)
    return jobs.Job(name, work, seconds=1, cores=0)

program.cmd_test = lambda: jobs.run([job("one", ""), job("two", "trap : TERM;")], tap.Tally())
sys.argv = ["host", "test"]
sys.exit(program.main())
"""


class Jobs(unittest.TestCase):
    def reported(self, jobs):
        """What jobs.run() returns, and what it prints."""
        out = io.StringIO()
        tally = tap.Tally()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as told:
            unrun = run(jobs, tally)
        return unrun, tally, out.getvalue(), told.getvalue()

    def test_reports_in_order_and_tells_in_one_piece(self):
        ready = threading.Event()

        def first():
            say("one of first")
            self.assertTrue(ready.wait(60))
            say("two of first")
            return [("a", tap.PASSED)]

        def second():
            say("second")
            ready.set()
            return [("b", tap.FAILED), ("c", tap.PASSED)]

        jobs = [Job("first", first, seconds=1, cores=0), Job("second", second, seconds=1, cores=0)]
        _, tally, out, told = self.reported(jobs)
        self.assertEqual(out, "ok: first: 1 passed, 0 failed\nnot ok: second: 1 passed, 1 failed\n    FAILED b\n")
        self.assertIn("one of first\ntwo of first\n", told)
        self.assertEqual(tally.summary(), "2 passed, 1 failed")

    def test_a_broken_job_hides_no_other(self):
        def broken():
            raise Failure("no network")

        one = Job("broken", broken, seconds=1)
        needs = Job("needs it", lambda: [("x", tap.PASSED)], seconds=1, after=(one,))
        later = Job("needs that", lambda: [("x", tap.PASSED)], seconds=1, after=(needs,))
        mistake = Job("mistake", lambda: {}["key"], seconds=1)
        other = Job("other", lambda: [("y", tap.PASSED)], seconds=1)
        failed = Job("failed", lambda: [("z", tap.FAILED)], seconds=1)
        after = Job("after failed", lambda: [("w", tap.PASSED)], seconds=1, after=(failed,))
        unrun, tally, _, told = self.reported([later, needs, one, mistake, other, failed, after])
        self.assertEqual(unrun, [later, needs])
        self.assertEqual(tally.failures, ["broken: no network", "mistake: KeyError: 'key'", "failed: z"])
        self.assertEqual(tally.summary(), "2 passed, 3 failed")
        self.assertIn("no network", told)
        self.assertIn("Traceback", told)

    def test_room(self):
        lock, now, most = threading.Lock(), set(), []

        def work(name):
            def busy():
                with lock:
                    now.add(name)
                    most.append(set(now))
                # Gives others the opportunity to be here, too.
                subprocess.run([sys.executable, "-c", ""], check=True)
                with lock:
                    now.remove(name)

            return busy

        everything = 1 << 40
        jobs = [Job(f"all {n}", work(f"all {n}"), seconds=1, cores=everything) for n in range(3)]
        jobs += [Job(f"much {n}", work(f"much {n}"), seconds=1, cores=0, memory=everything) for n in range(3)]
        jobs += [Job(f"little {n}", work(f"little {n}"), seconds=1, cores=0) for n in range(3)]
        self.reported(jobs)
        self.assertEqual(len(most), 9)
        for at_once in most:
            for kind in ("all", "much"):
                self.assertLessEqual(len([name for name in at_once if name.startswith(kind)]), 1)

    def test_the_longest_way_comes_first(self):
        order = []
        jobs = [Job(name, lambda name=name: order.append(name), seconds=1, cores=1 << 40) for name in "abc"]
        jobs.append(Job("d", lambda: order.append("d"), seconds=5, cores=1 << 40, after=(jobs[2],)))
        jobs[1].seconds = 3
        self.reported(jobs)
        self.assertEqual(order, ["c", "d", "b", "a"])


class Interrupted(unittest.TestCase):
    def test_ends_what_was_started(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number), tempfile.TemporaryDirectory() as scratch:
                process = subprocess.Popen(
                    [sys.executable, "-c", INTERRUPTED, scratch], cwd=TOP, stderr=subprocess.PIPE, text=True
                )
                names = [Path(scratch) / name for name in ("one", "two")]
                while process.poll() is None and not all(name.is_file() for name in names):
                    time.sleep(0.1)
                process.send_signal(number)
                _, told = process.communicate()
                self.assertEqual((process.returncode, told.splitlines()[-1:]), (130, ["Interrupted."]), told)
                for name in names:
                    self.assertRaises(ProcessLookupError, os.kill, int(name.read_text()), 0)


if __name__ == "__main__":
    unittest.main()
