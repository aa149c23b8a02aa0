# SPDX-License-Identifier: GPL-2.0
"""Tests of what is read from traces, with a report of trace-cmd of a real boot, of which some lines were kept."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from . import picture
from .util import TOP, Failure

TEXT = (TOP / "host/test_picture.report").read_text()
# Of one in which processes asked for the same modules at once, and helpers took longer than they waited.
REQUESTS = (TOP / "host/test_picture_requests.report").read_text()
# What a kernel without the series would have traced.
STOCK = "".join(line for line in TEXT.splitlines(keepends=True) if "module_dedup_" not in line)


def named(reader, name):
    return next(flight for flight in reader.flights if flight.name == name)


class Picture(unittest.TestCase):
    def test_flights(self):
        reader = picture.read(TEXT)
        loads = [flight.name for flight in reader.flights if flight.what == "load"]
        self.assertEqual(loads, ["x_tables", "xfs", "psmouse", "gf128mul", "irqbypass", "kvm-amd"])
        self.assertEqual([flight.name for flight in reader.flights if flight.what == "request"], ["bpf_preload"])

    def test_followers(self):
        reader = picture.read(TEXT)
        followers = {flight.name: len(flight.followers) for flight in reader.flights if flight.followers}
        self.assertEqual(followers, {"psmouse": 1, "gf128mul": 7, "irqbypass": 7, "kvm-amd": 7})
        self.assertIn("22 calls followed, the longest for 30.9 s (kvm-amd)", picture.summary(reader))
        self.assertAlmostEqual(named(reader, "gf128mul").longest_follower(), 6.19, 2)

    def test_ends(self):
        reader = picture.read(TEXT)
        self.assertEqual(picture.note(named(reader, "x_tables")), "systemd[1], 1.02 s")
        self.assertEqual(picture.note(named(reader, "xfs")), "systemd-modules[147], 218 s, ENOMEM")
        self.assertEqual(picture.note(named(reader, "bpf_preload")), "systemd[1], 2.21 s, status 1")
        self.assertIn("not over after 30.9 s", picture.note(named(reader, "kvm-amd")))

    def test_causes(self):
        reader = picture.read(REQUESTS)
        causes = [(one.name, one.parent.name, one.parent.leader) for one in reader.flights if one.parent]
        nat = [("nf_nat", "iptable_nat", 273), ("iptable_nat", "iptable_nat", 273)]
        self.assertEqual(causes, [("veth", "rtnl-link-veth", 274), *nat])
        follows = [(request.leader, flight.name) for request, flight, _ in reader.follows]
        self.assertEqual(follows, [(267, "veth"), (279, "veth")])

    def test_given_up(self):
        reader = picture.read(REQUESTS)
        notes = [picture.note(flight) for flight in reader.flights if flight.name == "rtnl-link-veth"]
        self.assertEqual(notes[0], "ip[274], end not traced, 3 followed, up to 5.1 s")
        self.assertEqual(notes[3], "ip[271], end not traced")
        veth = named(reader, "veth")
        self.assertEqual([one.until for one in reader.flights if one.untraced][:3], [veth.until] * 3)

    def test_order(self):
        drawn, left = picture.rows(picture.read(TEXT), 3)
        self.assertEqual([flight.name for _, flight in drawn], ["kvm-amd", "psmouse", "gf128mul"])
        self.assertEqual(len(left), 4)
        self.assertIn("4 more are left out: nobody waited for one of them longer than 4.3 s", picture.rest(left))

    def test_stock(self):
        reader = picture.read(STOCK)
        loads = [flight.name for flight in reader.flights if flight.what == "load"]
        self.assertEqual(loads, ["x_tables", "xfs", "psmouse", "gf128mul", "irqbypass", "kvm_amd"])
        self.assertEqual(picture.note(named(reader, "xfs")), "systemd-modules[147], 34.6 s, ENOMEM")
        self.assertEqual(picture.note(named(reader, "bpf_preload")), "systemd[1], end not traced")

    def test_late_duplicate(self):
        text = "(udev-worker)-7 [000] {}: module_dedup_{}: load a.ko leader=7 result={} followers=0 waited_ns=0\n"
        reader = picture.read(text.format("1.0", "lead", 0) + text.format("1.5", "done", -17))
        self.assertIn("0 loads, 0 requests, 1 late duplicate, 0 calls followed", picture.summary(reader))

    def test_lost(self):
        text = "CPU: {}\nentries: 0\noverrun: {}\ncommit overrun: 0\ndropped events: 2\nread events: 9\n"
        with mock.patch.object(picture, "report", return_value=text.format(0, 40) + text.format(1, 0)):
            self.assertEqual(picture.lost(None), "44 events are not in the trace: its buffers were too small")


class Wrong(unittest.TestCase):
    def fails(self, says, trace):
        with self.assertRaisesRegex(Failure, says):
            picture.panel(trace)

    def test_no_file(self):
        self.fails("There is no file /nowhere/trace.dat", Path("/nowhere/trace.dat"))

    def test_no_trace(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"no trace")
            file.flush()
            self.fails("cannot be read as a trace.dat", Path(file.name))

    def test_nothing(self):
        for events, says in (("", "it is one without this series"), ("module_dedup:module_dedup_lead", "no load of a")):
            said = {"-t": "cpus=8\n", "-E": events}
            with mock.patch.object(picture, "report", lambda _, option, said=said: said[option]):
                self.fails(says, Path("trace.dat"))

    def test_part(self):
        with mock.patch.object(picture, "report", return_value=""):
            self.fails("perhaps a part of the file is missing", Path("trace.dat"))
