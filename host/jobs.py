# SPDX-License-Identifier: GPL-2.0
"""Jobs that share this machine: as many at a time as it has cores and memory for."""

import os
import queue
import re
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path

from . import tap
from .util import QUIET, Failure, kept, say

OVER = ("done", "broken", "impossible")


class Job:
    """A part of a long run."""

    def __init__(self, name, work, *, seconds, after=(), cores=1, memory=0, nice=0):
        self.name = name
        # Returns results, as tap.py has them; or None if it only makes what others need.
        self.work = work
        # About how long it takes by itself on two cores; what starts first goes by this, and nothing else.
        self.seconds = seconds
        # The jobs that must have come to their end before.
        self.after = after
        # How many cores it keeps busy most of the time, and how many MB of memory it may take.
        self.cores = cores
        self.memory = memory
        # How willing it is to let others go first. Guests have clocks, and are not. What is more willing than all
        # others, and keeps no core busy, fills the gaps.
        self.nice = nice
        # What it has said, what came of it, and how long it took.
        self.said, self.results, self.took = [], None, 0.0
        self.began = None
        # Or running, done, broken: it has no end; impossible: one before it is broken.
        self.state = "waiting"

    def run(self, done):
        """In a thread of its own."""
        # Of this thread, and what it starts.
        os.nice(self.nice)
        state = "broken"
        with kept() as self.said:
            try:
                self.results = self.work()
                state = "done"
            except Failure as failure:
                say(str(failure))
                self.results = [(str(failure).strip().partition("\n")[0], tap.FAILED)]
            except BaseException as error:
                say(traceback.format_exc())
                self.results = [(f"{type(error).__name__}: {error}", tap.FAILED)]
        self.took = time.monotonic() - self.began
        done.put((self, state))


class Room:
    """The cores and the memory of this machine."""

    def __init__(self):
        self.cores = len(os.sched_getaffinity(0))
        self.memory = int(re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.M)[1]) // 1024

    def for_(self, job, running):
        """Whether there is room for one more. One alone always has room."""
        if not running:
            return True
        cores = sum(min(other.cores, self.cores) for other in [job, *running])
        memory = sum(other.memory for other in [job, *running])
        return cores <= self.cores and (memory <= self.memory or not job.memory)


class Screen:
    """Tells the user how far it is: one line that changes, or on no terminal a line every two minutes."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.began = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty() and not QUIET

    def text(self):
        over = sum(job.state in OVER for job in self.jobs)
        names = [job.name for job in self.jobs if job.state == "running"]
        return f"{minutes(time.monotonic() - self.began)}, {over} of {len(self.jobs)} done, now: {'; '.join(names)}"

    def show(self):
        if self.terminal:
            print(
                f"\r\033[K{self.text()[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True
            )
        elif time.monotonic() - self.shown >= 120:
            self.shown = time.monotonic()
            say(self.text())

    def clear(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def ended(self, job):
        """All that a job has said, at once."""
        self.shown = time.monotonic()
        result = "done" if job.results is None else tap.counted(job.results)
        self.clear()
        say(f"\n[{minutes(self.shown - self.began)}] {job.name}: {result}, in {minutes(job.took)}")
        for text in job.said:
            say(text)


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def urgency(job, jobs):
    """How long it takes from the begin of a job to the end of the last that needs it."""
    return job.seconds + max((urgency(other, jobs) for other in jobs if job in other.after), default=0)


def run(jobs, tally):
    """Runs them all, and reports in their order. Returns those that could not run, since another one has failed."""
    screen, done = Screen(jobs), queue.SimpleQueue()
    room = Room()
    by_urgency = sorted(jobs, key=lambda job: -urgency(job, jobs))
    unreported = list(jobs)
    while True:
        for job in by_urgency:
            if job.state == "waiting" and any(other.state in ("broken", "impossible") for other in job.after):
                job.state = "impossible"
            running = [other for other in jobs if other.state == "running"]
            if job.state == "waiting" and all(other.state == "done" for other in job.after) and room.for_(job, running):
                job.state, job.began = "running", time.monotonic()
                threading.Thread(target=job.run, args=(done,), daemon=True).start()
        while unreported and unreported[0].state in OVER:
            job = unreported.pop(0)
            if job.results is not None:
                screen.clear()
                tally.report(job.name, job.results)
        if not unreported:
            return [job for job in jobs if job.state == "impossible"]
        screen.show()
        try:
            job, job.state = done.get(timeout=1)
        except queue.Empty:
            continue
        screen.ended(job)
