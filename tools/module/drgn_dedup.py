#!/usr/bin/env drgn
# SPDX-License-Identifier: GPL-2.0
"""Shows the loads of modules, and requests for them, that are in flight, and the tasks that wait for each.

Of the running kernel, or of a memory dump, with a vmlinux that has debug information:

    drgn drgn_dedup.py
    drgn -c vmcore -s vmlinux drgn_dedup.py

A load has the name of its module here once the loader has read that. drgn cannot look into enums of Rust, in which
the name of a file, or of what is requested, is.
"""

from drgn import Object, TypeKind, offsetof, sizeof
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.pid import find_task


def unwrap(value, *names):
    """What is in a value of Rust, by the names of members, and below all wrappers that hold but one thing."""
    for name in names:
        value = value.member_(name)
    while value.type_.kind in (TypeKind.STRUCT, TypeKind.UNION):
        members = [member.name for member in value.type_.members if member.name and not is_nothing(member)]
        if len(members) != 1 and "value" not in members:
            break
        value = value.member_("value" if "value" in members else members[0])
    return value


def is_nothing(member):
    """Whether a member has no size, as PhantomData and ()."""
    try:
        return sizeof(member.type) == 0
    except ValueError:
        return True


def parameter(type_):
    """The type that a generic one is for."""
    return type_.template_parameters[0].argument


def flights(state):
    """All flights of the table."""
    buckets = state.buckets
    first = unwrap(buckets, "ptr")
    for index in range(buckets.len):
        heads = first[index].flights
        flight = parameter(heads.type_)
        link = head = heads.first
        while link:
            address = link.value_() - offsetof(flight, "links")
            yield Object(link.prog_, flight, address=address)
            link = link.next
            if link == head:
                break


def described(prog, pid):
    """A task, for people."""
    task = find_task(prog, pid)
    return f"{task.comm.string_().decode(errors='replace')}[{pid}]" if task else f"?[{pid}]"


def waiters(prog, flight):
    """The tasks that sleep until a flight ends."""
    completion = Object(prog, "struct completion", address=flight.completion.address_of_().value_())
    head = completion.wait.task_list.address_of_()
    for entry in list_for_each_entry("struct swait_queue", head, "task_list"):
        yield described(prog, entry.task.pid.value_())


def name_of(flight):
    """The name of the module, if it is known."""
    module = flight.key.module
    # As SetOnce has it: 2 is a value that is there.
    if unwrap(module, "init").value_() != 2:
        return "a module whose name is not known yet"
    return bytes(unwrap(module, "value").value_()).split(b"\0")[0].decode(errors="replace")


def show(prog):
    """Prints a line for each flight, and one for each of its waiters."""
    table = unwrap_table(prog)
    if table is None:
        print("Loads are not de-duplicated: there is no table.")
        return
    found = list(flights(table))
    for flight in found:
        leader = described(prog, flight.node.task.pid.value_())
        waits_for = unwrap(flight, "node", "waits_for").value_()
        waiting = f", which waits for the flight {waits_for}" if waits_for else ""
        print(
            f"flight {flight.node.id.value_()}: {leader} loads {name_of(flight)}{waiting}; "
            f"{unwrap(flight, 'followers').value_()} followers"
        )
        for waiter in waiters(prog, flight):
            print(f"    {waiter} waits for it")
    print(f"{len(found)} in flight")


def unwrap_table(prog):
    """What the table lock guards, or None if there is no table."""
    once = prog["dedup::TABLE"]
    if unwrap(once, "init").value_() != 2:
        return None
    table = Object(prog, parameter(once.type_), address=once.member_("value").address_of_().value_())
    return unwrap(table, "state")[0].data.value


show(prog)  # noqa: F821 (drgn sets it)
