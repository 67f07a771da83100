"""Print who uses the hub as JSON: its users, their servers, and what these use of the box.

Arguments: root and state_dir (the hub's), database, units (a pattern for those that servers run
in), cgroups (where control groups are mounted). Nothing is looked for in users' homes.
"""

import json
import os
import re
import sys
import time

from answering import answer, need_root
from cgroups import cpu, memory, processes, words
from hub_database import people
from reading import Unreadable
from units import moment, seconds, show, state_of

FIELDS = ["LoadState", "ActiveState", "SubState", "Result", "StateChangeTimestamp", "ControlGroup"]
RUNNING = ("active", "activating", "deactivating", "reloading")
STARTING = 60  # seconds; the hub notes a server before its unit is there
SAMPLE = 0.2  # seconds
LONGEST = 4096  # characters of a path
CONNECTION_FILE = re.compile(r"(?:^|[/=])(kernel-[^/=]*\.json)$")

NOTHING = {
    "memory_mb": None,
    "peak_mb": None,
    "memory_from": None,
    "cpu_seconds": None,
    "cpu_percent": None,
    "cpu_from": None,
    "processes": 0,
    "kernels": [],
}


def servers(known, pattern):
    """The servers that the hub believes in, and those units that run without its knowledge.

    Args:
        known: every server that the hub has or had; None where nobody can say.
        pattern: of units.
    """
    believed = [server for server in known or [] if server["running"]]
    shown = show([pattern, *(server["unit"] for server in believed)], FIELDS)
    found = [server_in(shown[s["unit"]], s["unit"], s, True) for s in believed]
    earlier = {server["unit"]: server for server in known or []}
    for unit in sorted(shown.keys() - {server["unit"] for server in believed}):
        if shown[unit]["ActiveState"] in RUNNING:
            of = {"user": user_of(unit), "name": "", **earlier.get(unit, {})}
            found.append(server_in(shown[unit], unit, of, None if known is None else False))
    return found


def server_in(properties, unit, server, known):
    """A server and its unit; the hub knows it, or not, or (None) nobody can say."""
    state, started = state_of(properties), server.get("started")
    if state == "not-found" and started and time.time() - seconds(started) < STARTING:
        state = "starting"
    return {
        "user": server["user"],
        "name": server["name"],
        "unit": unit,
        "known": known,
        "state": state,
        "result": properties["Result"],
        "since": moment(properties["StateChangeTimestamp"]) or started,
        "last_activity": server.get("last_activity"),
        "group": properties["ControlGroup"],
    }


def user_of(unit):
    """Whose unit it is, by its name."""
    return re.sub(r"^jupyter-(.*)-singleuser\.service$", r"\1", unit)


def measured(found, root):
    """Some servers with what each uses; one sample of CPU time is taken for all of them."""
    groups = {server["group"]: [] for server in found if server["group"]}
    for group in groups:
        groups[group] = processes(root, group)
    before = {group: timed(root, group, pids) for group, pids in groups.items()}
    held = {group: holding(root, group, pids) for group, pids in groups.items()}
    if groups:
        time.sleep(SAMPLE)
    for server in found:
        group = server.pop("group")
        used = {**NOTHING}
        if group in groups:
            used = {**held[group], **spent(before[group], timed(root, group, groups[group]))}
        yield {**server, **used}


def timed(root, group, pids):
    """When it was measured, and what `cpu` says then."""
    return time.monotonic(), *cpu(root, group, pids)


def spent(before, after):
    """CPU time in all, and lately as a percentage of one core."""
    (then, had, source), (now, has, still) = before, after
    if still != source or has < had:
        # It has ended meanwhile.
        return {"cpu_seconds": round(had, 2), "cpu_percent": 0.0, "cpu_from": source}
    percent = round(100 * (has - had) / (now - then), 1)
    return {"cpu_seconds": round(has, 2), "cpu_percent": percent, "cpu_from": source}


def holding(root, group, pids):
    """Its memory, its processes, and where each of its kernels runs from."""
    now, peak, source = memory(root, group, pids)
    return {
        "memory_mb": now >> 20,
        "peak_mb": None if peak is None else peak >> 20,
        "memory_from": source,
        "processes": len(pids),
        "kernels": kernels(pids),
    }


def kernels(pids):
    """The prefixes that the kernels among some processes run from."""
    found = {}
    for pid in pids:
        called = words(pid)
        for argument in called[1:]:
            if match := CONNECTION_FILE.search(argument[-LONGEST:]):
                # A kernel's own children are called as it is; whoever started it came before.
                found[match[1]] = prefix(called[0], pid)
    return sorted(found.values())


def prefix(called, pid):
    """The environment that a program lies in, told from its name alone: homes may hang."""
    try:
        program = called if called.startswith("/") else os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
    # R's program lies deeper.
    return program.rpartition("/bin/")[0].removesuffix("/lib/R")


def activity(database, units, cgroups):
    """Everything about users and servers."""
    users, known, unreadable = {}, None, None
    try:
        users, known = people(database)
    except Unreadable as reason:
        unreadable = str(reason)
    found = list(measured(servers(known, units), cgroups))
    return {"users": users, "servers": found, "unreadable": unreadable}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    found = {"users": {}, "servers": [], "unreadable": None}
    # A box without a hub has nothing to hide.
    if any([os.path.lexists(arguments.pop(key)) for key in ("root", "state_dir")]):
        need_root("Who uses the hub")
        found = activity(**arguments)
    answer(found)
