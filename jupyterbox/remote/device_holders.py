"""Print who has NVIDIA's devices open as JSON, and what in the kernel itself holds its modules."""

import glob
import os
import re

from answering import answer, need_root
from cgroups import content
from gpu_use import holder

UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?:/|$)", re.MULTILINE)
MODULES = ("nvidia_drm", "nvidia_modeset", "nvidia_peermem", "nvidia_uvm", "nvidia")
"""What is unloaded, each before those that it stands on."""


def held(root=""):
    """The processes that hold a device, in the order of their ids, and what else is in the way."""
    nodes = other_nodes(root)
    opened = {pid: by(pid, f"{root}/proc", nodes) for pid in pids(f"{root}/proc")}
    return {
        "processes": [described(pid, f"{root}/proc") for pid, found in opened.items() if found],
        "kernel": list(in_kernel(set().union(*opened.values()), root)),
    }


def pids(proc):
    """The processes that there are."""
    return sorted(int(pid) for pid in os.listdir(proc) if pid.isdigit())


def by(pid, proc, nodes):
    """The modules whose devices a process has open; one that ends meanwhile has none."""
    found = set()
    for file in glob.iglob(f"{proc}/{pid}/fd/*"):
        try:
            found.add(module_of(os.readlink(file), nodes))
        except OSError:
            continue
    return found - {None}


def module_of(path, nodes):
    """The module that a device is of; None for one that is not NVIDIA's."""
    if not path.startswith("/dev/nvidia"):
        return nodes.get(path)
    kind = re.match("/dev/nvidia-(uvm|modeset)", path)
    return f"nvidia_{kind[1]}" if kind else "nvidia"


def other_nodes(root=""):
    """The modules of those devices of NVIDIA's whose names do not tell that they are."""
    found = {}
    for device in glob.iglob(f"{root}/sys/class/drm/*"):
        if os.path.basename(os.path.realpath(f"{device}/device/driver")) == "nvidia":
            found[f"/dev/dri/{os.path.basename(device)}"] = "nvidia_drm"
    for device in glob.iglob(f"{root}/sys/class/i2c-dev/*"):
        if content(f"{device}/name").startswith("NVIDIA"):
            found[f"/dev/{os.path.basename(device)}"] = "nvidia"
    for number in frame_buffers(root):
        found[f"/dev/fb{number}"] = "nvidia_drm"
    return found


def frame_buffers(root=""):
    """The numbers of NVIDIA's frame buffers."""
    rows = (line.split(maxsplit=1) for line in content(f"{root}/proc/fb").splitlines())
    return [row[0] for row in rows if len(row) == 2 and row[1].startswith("nvidia")]


def in_kernel(opened, root=""):
    """What of the kernel a module cannot be unloaded under, a noun each.

    Args:
        opened: the modules whose references may be those of processes.
    """
    if on_console(root):
        yield "the console, which is on NVIDIA's frame buffer"
    for module in MODULES:
        users = folder(f"{root}/sys/module/{module}/holders")
        yield from (f"the module {user}" for user in users if user not in MODULES)
        references = content(f"{root}/sys/module/{module}/refcnt").strip()
        # An open device is a reference, too; how many files stand for one, nobody can tell.
        if references.isdigit() and int(references) > len(users) and module not in opened:
            yield f"something in the kernel that uses the module {module}"


def on_console(root=""):
    """Whether the text console is drawn on a GPU: it would be gone, and may not let go."""
    consoles = glob.iglob(f"{root}/sys/class/vtconsole/*")
    drawn = any(
        "frame buffer" in content(f"{console}/name") and content(f"{console}/bind").strip() == "1"
        for console in consoles
    )
    # The console is on the first one.
    return drawn and "0" in frame_buffers(root)


def folder(path):
    """The names in a folder; none where it is not there."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


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
    need_root("Who has NVIDIA's devices open")
    answer(held())
