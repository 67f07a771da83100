"""Print who has NVIDIA's devices open as JSON: which processes, whose, and in which unit."""

import glob
import os
import re

from answering import answer, need_root
from cgroups import content
from gpu_use import holder

UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?:/|$)", re.MULTILINE)


def holders(proc="/proc", devices="/dev/nvidia"):
    """The processes that hold one of the devices, in the order of their ids."""
    pids = sorted(int(pid) for pid in os.listdir(proc) if pid.isdigit())
    return [described(pid, proc) for pid in pids if holds(pid, proc, devices)]


def holds(pid, proc, devices):
    """Whether a process has a device open; one that ends meanwhile has none."""
    for file in glob.iglob(f"{proc}/{pid}/fd/*"):
        try:
            if os.readlink(file).startswith(devices):
                return True
        except OSError:
            continue
    return False


def described(pid, proc):
    """A process, whose it is, and the innermost unit that it belongs to."""
    units = UNIT.findall(content(f"{proc}/{pid}/cgroup"))
    return {
        "pid": pid,
        "name": content(f"{proc}/{pid}/comm").strip(),
        **holder(pid, proc),
        "unit": units[-1] if units else None,
    }


if __name__ == "__main__":
    need_root("who has NVIDIA's devices open")
    answer(holders())
