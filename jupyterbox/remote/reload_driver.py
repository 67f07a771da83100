"""Replace the module of NVIDIA's driver that runs by the one on disk; whatever happens, put back.

Arguments: services (units that hold the GPU on nobody's behalf) and undo (a file, which says how to
put back what was taken: systemd runs it should this program be killed).
"""

import json
import os
import shlex
import subprocess
import sys

from device_holders import MODULES, held
from units import show

ACTIVE = ("active", "activating", "reloading")
STOPPED_WITH = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"]
"""What systemd stops with a unit, and does not start with it again."""

# On Debian, the module for CUDA alone makes no device node.
NODE = "! command -v nvidia-modprobe >/dev/null || nvidia-modprobe -c 0 -u"


class NotReplaced(Exception):
    """Why the module that ran was not replaced, as a part of a sentence."""


def reload(services, undo, root=""):
    """Replace the module, if nothing is in the way.

    Returns:
        What went wrong, a sentence each.
    """
    said = []
    if os.path.exists(undo):
        # Whoever was to put it back was killed as well.
        said += put_back(undo)
    try:
        free(root, but=services)
        services = running(services)
        write(undo, putting_back(loaded(root), services, undo))
        take(services, root)
    except NotReplaced as reason:
        said.append(f"The driver was not replaced: {reason}.")
    if os.path.exists(undo):
        said += put_back(undo)
    return said


def free(root, but=()):
    """Look whether anything holds a module.

    Args:
        but: units that may.

    Raises:
        NotReplaced: something does.
    """
    found = held(root)
    names = [
        f"process {process['pid']} ({process['name']})"
        for process in found["processes"]
        if process["unit"] not in but
    ]
    if names := [*names, *found["kernel"]]:
        raise NotReplaced(f"{', '.join(names)} has taken hold of it meanwhile")


def loaded(root):
    """The modules that are loaded, each after those that it stands on."""
    return [name for name in reversed(MODULES) if os.path.isdir(f"{root}/sys/module/{name}")]


def running(services):
    """Which of some services run, with what is stopped with them."""
    found, new, asked = [], {*services}, set()
    while new:
        asked |= new
        shown = show(sorted(new), ["ActiveState", *STOPPED_WITH])
        alive = [unit for unit in shown if shown[unit]["ActiveState"] in ACTIVE]
        found += alive
        others = {
            other for unit in alive for key in STOPPED_WITH for other in shown[unit][key].split()
        }
        new = {unit for unit in others if unit.endswith(".service")} - asked
    return list(dict.fromkeys(found))


def putting_back(modules, services, undo):
    """A shell program that loads modules and starts services, those it can if not all."""
    wanted = dict.fromkeys(["nvidia", *modules, "nvidia_uvm"])
    tried = [f"modprobe {module}" for module in wanted]
    tried += [NODE, *(f"systemctl start {shlex.quote(service)}" for service in services)]
    lines = "".join(f"{{ {command}; }} || failed=1\n" for command in tried)
    return f"failed=0\n{lines}rm -f {shlex.quote(undo)}\nexit $failed\n"


def write(path, text):
    """Write a file that is there whole or not at all."""
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def take(services, root):
    """Stop services and unload the modules."""
    if services:
        must(["systemctl", "stop", *services])
    free(root)
    for module in MODULES:
        # One may have gone with another that stood on it.
        if os.path.isdir(f"{root}/sys/module/{module}"):
            must(["modprobe", "-r", module])


def must(command):
    """Run a command.

    Raises:
        NotReplaced: it failed.
    """
    done = ran(command)
    if done.returncode:
        raise NotReplaced(f"`{' '.join(command)}` failed: {last(done.stderr)}")


def put_back(undo):
    """Put back what was taken; what went wrong, a sentence each."""
    done = ran(["/bin/sh", undo])
    if not done.returncode:
        return []
    why = "; ".join(line for line in done.stderr.splitlines() if line.strip())
    return [f"Not all of it is back ({why[:500]}): plan a reboot (tasks/reboot.py)."]


def ran(command):
    """A command that has ended, with what it said."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def last(said):
    """The last line of what a command said, as the end of a sentence."""
    lines = said.split("\n") if said.strip() else ["it says nothing"]
    return [line for line in lines if line.strip()][-1].strip().rstrip(".")


if __name__ == "__main__":
    sys.exit("\n".join(reload(**json.loads(sys.argv[1]))) or 0)
