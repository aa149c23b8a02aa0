# SPDX-License-Identifier: GPL-2.0
"""What a trace of a boot shows of loads and requests: read by trace-cmd, drawn by bench/plot_flights.py.

On a kernel with the series each flight has a begin, followers and an end. A kernel without it shows only when a load
has read and linked the module, when init ran, and when the module was live; and who requested what.
"""

import errno
import functools
import re
import subprocess

from . import tools
from .image import MODDEDUP
from .settings import environment
from .util import OUT, Failure, imported, write_json

# What a trace must have: first what shows the loads, then what shows which process a request has started.
EVENTS = (
    "module_dedup:*",
    "module:*",
    "initcall:*",
    "workqueue:workqueue_queue_work",
    "workqueue:workqueue_execute_start",
    "sched:sched_process_fork",
)
# How many flights are drawn.
ROWS = 45
# In its work the kernel starts the helper of a request.
HELPER_WORK = "call_usermodehelper_exec_work"


@functools.cache
def moddedup():
    """The command, which knows how the lines of a trace are written; loaded when a trace is read."""
    return imported(MODDEDUP)


class Flight:
    """A load, or a request. Times are in seconds, and None if the trace does not show them."""

    def __init__(self, what, name, leader):
        self.what, self.leader = what, leader
        self.name = re.sub(r"\.ko(\.\w+)?$", "", name)
        self.comm = self.begin = None
        # When the module was read and linked; when its init began and ended; when the flight was over.
        self.linked = self.init = self.inited = self.end = None
        # Its end, or the last that is known of it; and whether there is no event that would tell its end.
        self.until, self.untraced = None, False
        self.result = None
        # How long the leader had stood in line before.
        self.in_line = 0
        # Each follower: [when it joined, when it went on, its pid].
        self.followers = []
        # Whether it is a request of which perhaps no event tells the end: its followers have lost patience, or its
        # leader has followed one before, and the helper of that may have answered this one, too.
        self.given_up = False
        # The flight that has caused this one.
        self.parent = None

    def longest_follower(self):
        return max(((end or self.until) - begin for begin, end, _ in self.followers), default=0)

    def longest(self):
        """The longest wait for it: by a follower, in line, or by who has made a request."""
        own = self.until - self.begin if self.what == "request" else 0
        return max(self.longest_follower(), self.in_line, own)


class Reader:
    """Takes events in the order of their time, and finds the flights."""

    def __init__(self):
        self.flights = []
        self.series = False
        self.last = 0
        # Flights by what, name and leader; open loads and requests by the task that leads them.
        self.known, self.loads, self.requests = {}, {}, {}
        # Which request a work is for, which one a worker is at work for, and whose helper a process is.
        self.works, self.workers, self.helpers = {}, {}, {}
        # Who has lost patience with a flight: (name, task).
        self.impatient = set()
        # The helpers that follow a flight: (request, flight, when).
        self.follows = []

    def take(self, comm, pid, time, event, text):
        self.last = time
        handler = getattr(self, event, None)
        if event.startswith("module_dedup_"):
            self.dedup(comm, pid, time, event.removeprefix("module_dedup_"), text)
        elif event.startswith(("module_", "initcall_", "workqueue_", "sched_")) and handler:
            handler(comm, pid, time, text)

    def begin(self, what, name, leader):
        flight = Flight(what, name, leader)
        self.flights.append(flight)
        return flight

    def lead(self, flight, comm, time):
        """A task has begun to lead a flight."""
        flight.comm, flight.begin = comm, time
        if flight.what == "load":
            flight.parent = self.helpers.get(flight.leader)
            self.loads[flight.leader] = flight
        else:
            flight.parent = self.loads.get(flight.leader)
            self.requests[flight.leader] = flight

    def dedup(self, comm, pid, time, event, text):
        found = moddedup().TEXT.fullmatch(text.strip())
        if not found:
            return
        self.series = True
        what, name, leader, result, _, waited = found.groups()
        leader, result, waited = int(leader), int(result), int(waited) / 1e9
        key = what, name, leader
        flight = self.known.get(key)
        if event == "lead":
            # A follower may be seen first: its leader says that it leads when others can follow already.
            if not flight or flight.begin is not None:
                flight = self.known[key] = self.begin(what, name, leader)
            flight.in_line = waited
            flight.given_up = (name, pid) in self.impatient
            self.lead(flight, comm, time)
        elif event == "join":
            if not flight or flight.end is not None:
                flight = self.known[key] = self.begin(what, name, leader)
            flight.followers.append([time, None, pid])
            if pid in self.helpers:
                self.follows.append((self.helpers[pid], flight, time))
        elif flight and self.leave(flight, pid, time):
            if event == "retry" and what == "request":
                flight.given_up = True
                self.impatient.add((name, pid))
        elif flight and event == "done" and flight.end is None:
            flight.end, flight.result = time, result
            self.over(flight)

    @staticmethod
    def leave(flight, pid, time):
        """A follower goes on, if it is one. It may do so a moment before or after the flight is said to be over."""
        for follower in flight.followers:
            if follower[1:] == [None, pid]:
                follower[1] = time
                return True
        return False

    def over(self, flight):
        for tasks in (self.loads, self.requests):
            if tasks.get(flight.leader) is flight:
                del tasks[flight.leader]

    def module_load(self, comm, pid, time, text):
        flight = self.loads.get(pid)
        if not flight:
            flight = self.begin("load", text.split()[0], pid)
            self.lead(flight, comm, time)
        flight.linked = time

    def module_request(self, comm, pid, time, text):
        if not self.series:
            flight = self.begin("request", text.split()[0], pid)
            self.lead(flight, comm, time)

    def module_put(self, comm, pid, time, text):
        if "call_site=do_init_module" in text:
            self.live(pid, time)

    def module_free(self, comm, pid, time, text):
        self.live(pid, time)

    def live(self, pid, time):
        flight = self.loads.get(pid)
        if flight and not self.series:
            flight.end = time
            self.over(flight)

    def initcall_start(self, comm, pid, time, text):
        flight = self.loads.get(pid)
        if flight and flight.linked and not flight.init:
            flight.init = time

    def initcall_finish(self, comm, pid, time, text):
        flight = self.loads.get(pid)
        if flight and flight.init and not flight.inited:
            flight.inited = time
            if not self.series:
                flight.result = int(text.rpartition("ret=")[2])

    def workqueue_queue_work(self, comm, pid, time, text):
        if HELPER_WORK in text and pid in self.requests:
            self.works[re.search(r"work struct=(\S+)", text)[1]] = self.requests[pid]

    def workqueue_execute_start(self, comm, pid, time, text):
        if HELPER_WORK in text:
            self.workers[pid] = self.works.pop(re.search(r"work struct (\S+?):", text)[1], None)

    def sched_process_fork(self, comm, pid, time, text):
        request = self.workers.pop(pid, None)
        if request:
            self.helpers[int(text.rpartition("child_pid=")[2])] = request


def trace_of(side):
    """Where the last boot of a side has left its trace."""
    return OUT / f"boot-{side}.dat"


def report(trace, *options):
    """What trace-cmd says of a trace."""
    if not trace.is_file():
        raise Failure(f"There is no file {trace} to draw.")
    command = ["trace-cmd", "report", *options, "-i", str(trace)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment({"LC_ALL": "C"}))
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise Failure(f"{trace} cannot be read as a trace.dat; trace-cmd report says: {why[-1].strip()}")
    return done.stdout


def read(text):
    """The flights that are in the lines of a report."""
    reader = Reader()
    for line in text.splitlines():
        found = moddedup().LINE.fullmatch(line)
        if found:
            comm, pid, time, event, rest = found.groups()
            reader.take(comm, int(pid), float(time), event, rest)
    for flight in reversed(reader.flights):
        # Its lead is not in the trace.
        if flight.begin is None:
            flight.begin = flight.followers[0][0]
        flight.untraced = flight.what == "request" and not flight.end and (flight.given_up or not reader.series)
        if flight.untraced:
            # It lasts at least as long as what it has caused, and what its helper follows.
            known = [one.until for one in reader.flights if one.parent is flight]
            known += [one.until for request, one, _ in reader.follows if request is flight]
            flight.until = max([flight.begin, *known])
        else:
            flight.until = flight.end or reader.last
    return reader


def system(trace, text):
    """The kernel that was traced, and on how many CPUs."""
    kernel = re.search(r"Linux \S+ (\S+)", report(trace, "--uname"))
    cpus = re.search(r"^cpus=(\d+)", text, re.M)
    return f"Linux {kernel[1] if kernel else '?'}, {cpus[1] if cpus else '?'} CPUs ({trace.name})"


def lost(trace):
    """What is missing in a trace, or None: its buffers were too small."""
    numbers = re.findall(r"^(?:overrun|commit overrun|dropped events): (\d+)", report(trace, "--stat"), re.M)
    events = sum(map(int, numbers))
    return f"{events} events are not in the trace: its buffers were too small" if events else None


def nothing(trace):
    """Why a trace shows nothing, and what to do."""
    known = "module_dedup_lead" in report(trace, "-E")
    why = "" if known else " Its kernel has no module_dedup events: it is one without this series."
    events = [event.removesuffix(":*") for event in EVENTS if known or "dedup" not in event]
    return f"{trace} shows no load of a module.{why} To record one: trace-cmd record -e {' -e '.join(events)} COMMAND"


def wait_text(seconds):
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def counted(number, word):
    return f"{number} {word}{'' if number == 1 else 's'}"


def is_late(flight):
    """Whether it was a call that came for a module that was live already."""
    return flight.result == -errno.EEXIST and not flight.linked


def summary(reader):
    """What is above the picture: how many of each, and the longest wait."""
    loads = [flight for flight in reader.flights if flight.what == "load"]
    late = sum(map(is_late, loads))
    words = [counted(len(loads) - late, "load"), counted(len(reader.flights) - len(loads), "request")]
    if not reader.series:
        return f"{', '.join(words)}; bars begin when a module is linked, and who waits is not traced"
    followers = sum(len(flight.followers) for flight in reader.flights)
    words += [counted(late, "late duplicate"), f"{counted(followers, 'call')} followed"]
    longest = max(reader.flights, key=Flight.longest_follower)
    if longest.followers:
        words.append(f"the longest for {wait_text(longest.longest_follower())} ({longest.name})")
    return ", ".join(words)


def note(flight):
    """What is said beside a bar."""
    words = [f"{flight.comm or '?'}[{flight.leader}]"]
    took = wait_text(flight.until - flight.begin)
    if flight.end:
        words.append(took)
    elif flight.untraced:
        words.append("end not traced")
    else:
        words.append(f"not over after {took}")
    if flight.in_line:
        words.append(f"stood in line {wait_text(flight.in_line)}")
    if flight.followers:
        words.append(f"{len(flight.followers)} followed, up to {wait_text(flight.longest_follower())}")
    if flight.result:
        # That of a request is the exit status of its helper, or an error.
        words.append(errno.errorcode.get(-flight.result, f"status {flight.result >> 8}"))
    return ", ".join(words)


def rows(reader, limit):
    """The flights that are drawn, [(depth, flight)], and those that are not.

    Each is followed by what it has caused, and those with the longest waits are the first.
    """
    caused = {}
    for flight in reader.flights:
        caused.setdefault(flight.parent, []).append(flight)

    def weight(flight):
        return max([(flight.longest(), flight.until - flight.begin), *map(weight, caused.get(flight, []))])

    def tree(flight, depth):
        yield depth, flight
        for one in caused.get(flight, []):
            yield from tree(one, depth + 1)

    drawn = []
    for flight in sorted(caused.get(None, []), key=weight, reverse=True):
        drawn += tree(flight, 0)
    return drawn[:limit], [flight for _, flight in drawn[limit:]]


def panel(trace, limit=ROWS):
    """One trace as the program that draws it wants it."""
    text = report(trace, "-t")
    if not text.strip():
        raise Failure(f"trace-cmd report finds nothing in {trace}: perhaps a part of the file is missing.")
    reader = read(text)
    if not reader.flights:
        raise Failure(nothing(trace))
    drawn, left = rows(reader, limit)
    number = {flight: row for row, (_, flight) in enumerate(drawn)}
    names = [
        {
            "name": flight.name,
            "depth": depth,
            "what": flight.what,
            "note": note(flight),
            "bad": bool(flight.result) and flight.result != -errno.EEXIST,
            "begin": flight.begin,
            "linked": flight.linked,
            "init": flight.init,
            "inited": flight.inited,
            "end": flight.until,
            "in_line": flight.in_line,
            "joins": [begin for begin, _, _ in flight.followers],
        }
        for depth, flight in drawn
    ]
    arrows = [[number[flight.parent], row, flight.begin] for flight, row in number.items() if flight.parent]
    for request, flight, time in reader.follows:
        if request in number and flight in number:
            arrows.append([number[request], number[flight], time])
    return {
        "title": f"{system(trace, text)}: {summary(reader)}",
        "rows": names,
        "arrows": arrows,
        "left": rest(left),
        "lost": lost(trace),
    }


def rest(flights):
    """Which flights are left out, or None."""
    if not flights:
        return None
    waits = max(map(Flight.longest, flights))
    took = max(flight.until - flight.begin for flight in flights)
    said = (
        f"nobody waited for one of them longer than {wait_text(waits)}"
        if waits
        else f"none took more than {wait_text(took)}"
    )
    return f"{len(flights)} more are left out: {said}"


def prepare():
    """Finds what reads and draws traces, or installs it."""
    tools.require({"trace-cmd": "trace-cmd"})
    tools.find_matplotlib()


def draw(traces, name):
    """Draws traces, one below the other, as out/NAME.svg."""
    data = OUT / f"{name}.json"
    write_json(data, {"panels": [panel(trace) for trace in traces]})
    tools.draw("plot_flights.py", data)
    return data.with_suffix(".svg")
