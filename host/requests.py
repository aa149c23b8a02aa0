# SPDX-License-Identifier: GPL-2.0
"""What many processes cost that make the kernel request the same modules at once: helpers, and time."""

import json

from . import boot, protocol, vm
from .settings import asked
from .table import publish
from .util import OUT, Failure, say

JSON = OUT / "requests.json"
PROCESSES = 64
ROUNDS = 3
# The ways in which requests are joined, by the side whose kernel can do that: vm/root/requests sets them.
MODES = {"stock": ("stock",), "off": ("off",), "ours": ("on", "loads", "c")}
NAMES = {
    "stock": "stock",
    "c": "this series, module.dedup=c",
    "off": "this series, module.dedup=off",
    "loads": "this series, dedup_requests=N",
    "on": "this series",
}
WORKLOADS = {
    "legacy": "iptables-legacy-restore of the same rules, in a network namespace of its own",
    "nft": "iptables-nft-restore of the same rules, in a network namespace of its own",
    "squashfs": "mount -o loop of a squashfs image of its own",
    "container": "in a mount and a network namespace of its own: an overlay, a pair of veth, iptables-nft-restore",
}
SHOWN = {
    "succeeded": "processes that succeeded",
    "helpers": "helpers that the kernel ran",
    "modprobes": "the same, and programs' modprobes",
    "led": "Requests led",
    "joined": "Requests joined",
    "not_joinable": "Requests not joinable",
    "ms": "time until all were done, ms",
}


def words(side, processes, rounds):
    """What vm/root/requests is told on the kernel command line."""
    # Each namespace and table would be a line on an emulated serial port.
    return [f"n={processes}", f"modes={','.join(MODES[side])}", f"rounds={rounds}", "audit=0"]


def rounds_of(output):
    """The rounds that a guest has told of, as dictionaries; without the first, which warms up."""
    found = []
    for words in protocol.records(output, "requests"):
        record = {key: int(text) if text.isdigit() else text for key, text in words.items()}
        record["ms"] = round(record.pop("us") / 1000)
        if record["round"]:
            found.append(record)
    return found


def table(done):
    """A column for each mode that was measured, and some rows for each workload."""
    modes = [mode for mode in NAMES if any(record["mode"] == mode for record in done["rounds"])]
    rows = [("workload", "", *(NAMES[mode] for mode in modes))]
    for workload in WORKLOADS:
        some = [one for one in done["rounds"] if one["workload"] == workload]
        first = workload
        for key, name in SHOWN.items():
            cells = [boot.middle([record for record in some if record["mode"] == mode], key) for mode in modes]
            if any(cell != "-" for cell in cells):
                rows.append((first, name, *cells))
                first = ""
    return rows


def notes(done):
    """What is to be said wherever the table is shown."""
    times = "on emulated CPUs" if done["accel"] == "tcg" else "with KVM"
    rounds = max(record["round"] for record in done["rounds"])
    what = "".join(f"- {name}: {text}\n" for name, text in WORKLOADS.items())
    return (
        f"{done['processes']} processes begin at once, and none of the modules is loaded. Each process does this:\n\n"
        f"{what}\nLinux {done['kernel']}, Debian {done['suite']}, {done['cpus']} CPUs, modules as {done['form']}, "
        f"{times}; median (least-most) of {rounds} rounds. Times can be compared within one table only."
    )


def kept(done):
    """Rounds of other sides that an earlier run has left, if that was of the same kernel and in the same way."""
    if not JSON.is_file():
        return []
    before = json.loads(JSON.read_text())
    if any(before[key] != done[key] for key in done if key != "rounds"):
        return []
    now = {record["side"] for record in done["rounds"]}
    return [record for record in before["rounds"] if record["side"] not in now]


def measure(kernel, side, smp):
    """Boots a kernel, and shows what came of it; beside what is known of other sides."""
    processes, rounds = asked().n or PROCESSES, asked().rounds or ROUNDS
    result = boot.boot(
        kernel,
        f"requests-{side}",
        smp=smp,
        side=side,
        limit=7200,
        report="requests",
        words=words(side, processes, rounds),
    )
    done = {
        "kernel": kernel.release,
        "accel": vm.accel_or_tcg(),
        "cpus": smp,
        "suite": asked().suite,
        "form": boot.packing(),
        "processes": processes,
        "rounds": [{"side": side, **record} for record in rounds_of(result.output)],
    }
    result.check()
    if not done["rounds"]:
        raise Failure(f"Nothing was measured ({result.output_file}).")
    done["rounds"] += kept(done)
    publish(JSON, done, table(done), notes(done))
    say(f"\nAll rounds: {JSON}, as Markdown: {JSON.with_suffix('.md')}\nThe kernel log: {result.log_file}")
