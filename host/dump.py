# SPDX-License-Identifier: GPL-2.0
"""make drgn: what the script for drgn says of the memory of a guest in which loads wait."""

import json
import re
import socket
import sys
import tempfile
from pathlib import Path

from . import runs, tap, tools, vm
from .util import log_file, run, say

SCRIPT = "tools/module/drgn_dedup.py"


def dump(monitor, target):
    """Has QEMU write the memory of its guest to a file."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        answers = connection.makefile("r")
        answers.readline()
        arguments = {"paging": False, "protocol": f"file:{target}"}
        for request in ({"execute": "qmp_capabilities"}, {"execute": "dump-guest-memory", "arguments": arguments}):
            connection.sendall(json.dumps(request).encode() + b"\n")
            while "return" not in (answer := json.loads(answers.readline())):
                if "error" in answer:
                    say(f"  {answer['error']['desc']}")
                    return


def results(kernel, smp, count):
    """Whether all that wait are seen."""
    drgn = tools.by_pip("drgn")
    log = log_file("drgn.txt")
    with tempfile.TemporaryDirectory() as scratch:
        monitor, core = Path(scratch, "monitor"), Path(scratch, "vmcore")

        def follow(line):
            if line == "@waiting":
                say("  Writing the memory of the guest to a file")
                dump(monitor, core)
            return line == "@waiting"

        result = vm.run(
            kernel,
            "waiting",
            smp=smp,
            append=[f"n={count}"],
            memory="1536M",
            follow=follow,
            extra=("-qmp", f"unix:{monitor},server=on,wait=off", "-device", "vmcoreinfo"),
        )
        say(f"$ drgn -c vmcore -s {kernel.vmlinux} {SCRIPT}")
        run(
            [sys.executable, drgn, "-q", "-c", core, "-s", kernel.vmlinux, SCRIPT],
            log=log,
            what="drgn",
            check=False,
            env={"PYTHONPATH": str(drgn.parents[1])},
        )
    text = Path(log).read_text()
    for line in text.splitlines()[1:6]:
        say(f"  {line}")
    leaders = re.findall(r": insmod\[\d+\] loads test_dedup;", text)
    waiters = re.findall(r"^    insmod\[\d+\] waits for it$", text, re.M)
    found = [
        tap.verdict("the load is shown, by its leader", len(leaders) == 1),
        tap.verdict("so are all that wait for it", len(waiters) == count - 1),
        tap.verdict("nothing else is in flight", re.search(r"^1 in flight$", text, re.M)),
    ]
    return runs.finish(kernel, smp, "drgn", result, found)
