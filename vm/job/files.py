#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prints all that moddedup reads, each file after a line with its name, as soon as a request has a follower.

host/test_moddedup.py makes files of that again.
"""

import os
import re
import time

DEDUP = "/sys/kernel/debug/modules/dedup"
FILES = ("/proc/mounts", DEDUP, "/sys/kernel/debug/modules/stats", "/sys/module/module/parameters/dedup")
OF_TASKS = ("comm", "wchan", "stack", "stat", "cmdline")


def read(name):
    with open(name, errors="replace") as file:
        return file.read().replace("\0", " ")


def main():
    # Requests are not to begin before this runs: they follow each other for seconds only.
    print("== /ready", flush=True)
    while not re.search(r"^request\t\d+\t[1-9]", read(DEDUP), re.M):
        time.sleep(0.1)
    found = {name: read(name) for name in FILES}
    for task in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{task}/task/{task}"
        # A task may end meanwhile.
        if os.path.exists(folder) and "module" in read(f"{folder}/stack"):
            found.update({f"{folder}/{name}": read(f"{folder}/{name}") for name in OF_TASKS})
            for name in os.listdir(f"{folder}/fd"):
                found[f"{folder}/fd/{name} -> {os.readlink(f'{folder}/fd/{name}')}"] = ""
    for name, text in found.items():
        print(f"== {name}\n{text}", end="" if text.endswith("\n") else "\n")


main()
