"""Print the hub's state as JSON: its releases, the secrets it has, its units, what they read.

Arguments: root, state_dir, secrets (files in there), configuration (a file and the directory of
those that are read after it), reads (a map of unit name to the paths that it reads when it starts;
the hub's own reads the configuration), others (paths of further files that a deploy writes), keep
(how many releases stay on the box, for who asks what goes; else None), wanted (the release that is
about to be current; None for the one that is).
"""

import hashlib
import json
import os
import stat
import sys
import time

from answering import answer, need_root
from by_hand import hub_by_hand
from hub_configuration import broken, not_recognized, sources
from hub_mark import noted
from hub_releases import current, listed, releases
from journal import errors
from old_releases import by_use, history, surplus
from reading import Unreadable, read
from units import moment, number, running_release, seconds, show, state_of

FIELDS = ["LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "NRestarts"]
FIELDS += ["NeedDaemonReload", "MainPID", "StateChangeTimestamp"]
CHANGING = ("activating", "deactivating", "reloading")
SETTLED = 60  # seconds; a unit that ends whenever it is started does not run for so long


def changed_at(path):
    """When what a unit reads there was last changed, in seconds; a directory with its files."""
    times = []
    for entry in [path, *(os.path.join(path, name) for name in listed(path))]:
        try:
            # Not the mtime, which `cp -p` and `mv` bring along from elsewhere.
            times.append(os.lstat(entry).st_ctime)
        except OSError:
            continue
    return max(times, default=0.0)


def digests(paths):
    """The sha256 of those paths that are files."""
    found = {}
    for path in paths:
        try:
            found[path] = hashlib.sha256(read(path)).hexdigest()
        except Unreadable:
            continue
    return found


def unit(name, reads, properties):
    """A unit: is it there, enabled, active; and which of the things it reads are newer than it."""
    pid = number(properties["MainPID"])
    started = started_at(pid)
    # A start is known to a hundredth of a second, rounded down.
    horizon = float("inf") if started is None else started + 0.05
    failing, said = failure(name, properties)
    return {
        "exists": properties["LoadState"] == "loaded",
        "enabled": properties["UnitFileState"] == "enabled",
        "active": properties["ActiveState"] == "active",
        "state": state_of(properties),
        "since": moment(properties["StateChangeTimestamp"]),
        "result": properties["Result"],
        "restarts": number(properties["NRestarts"]),
        "failing": failing,
        "errors": said,
        "reload": properties["NeedDaemonReload"] == "yes",
        "runs_from": running_release(pid),
        "newer": [path for path in reads if changed_at(path) > horizon],
    }


def failure(name, properties):
    """Whether a unit that is there does not run or keeps ending, and what it says about that."""
    if properties["LoadState"] != "loaded":
        return False, []
    changing = properties["ActiveState"] in CHANGING
    again = number(properties["NRestarts"]) > 0
    if properties["ActiveState"] == "active":
        # A hub is active before it has read its configuration.
        said = errors(name, starting=True) if again and is_young(properties) else []
        return bool(said), said
    by_itself = again or properties["Result"] != "success"
    if changing and not by_itself:
        return False, []
    return True, errors(name, starting=changing) if by_itself else []


def is_young(properties):
    """Whether a unit has come to its state lately."""
    since = moment(properties["StateChangeTimestamp"])
    return since is not None and time.time() - seconds(since) < SETTLED


def started_at(pid):
    """When a process started, in seconds since the epoch, to a hundredth.

    Boot time from the kernel's clock: containers are shown a made-up /proc/uptime.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def open_mode(path):
    """A path's mode where it lets in others than root; None where it does not, or is not there."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
    return f"{mode:o}" if mode & 0o77 else None


def configuration_errors(configuration, name, unit):
    """What is wrong with the configuration of the hub, whose unit is so."""
    found = sources(*configuration)
    if not unit["exists"] and not os.path.lexists(configuration[0]):
        # No hub is there that misses it.
        del found[configuration[0]]
    problems = list(broken(found))
    if unit["active"] and unit["since"] and not unit["failing"]:
        problems += not_recognized(found, name, seconds(unit["since"]))
    return problems


def state(root, state_dir, secrets, configuration, reads, others=(), keep=None, wanted=None):
    """Everything that the deploy decides on, and what people ask."""
    complete, unusable = releases(root)
    directory, linked = os.path.join(root, "releases"), current(root)
    left = [name for name in history(directory) if name in complete and name != linked]
    mark = noted(directory, linked)
    # A way back that was interrupted leads where it was going.
    previous = linked if mark and mark.target == linked else (left[-1] if left else None)
    shown = show(list(reads), FIELDS)
    units = {name: unit(name, paths, shown[name]) for name, paths in reads.items()}
    [hub] = [name for name, paths in reads.items() if configuration[0] in paths]
    open_modes = {path: open_mode(path) for path in [state_dir, *secrets, *configuration]}
    closed = [path for path in secrets if os.path.exists(path) and not open_modes[path]]
    read_by_units = {path: None for paths in reads.values() for path in paths}
    [unit_file] = [path for path in reads[hub] if path.endswith(f"/{hub}")]
    by_hand = hub_by_hand(root, unit_file)
    return {
        **({"by_hand": by_hand} if by_hand else {}),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "current": linked,
        "previous": previous,
        "switching": mark.before if mark else None,
        "releases": {
            name: complete[name] for name in by_use(directory, linked) if name in complete
        },
        "surplus": [] if keep is None else surplus(directory, wanted or linked, keep),
        "broken": unusable,
        "secrets": [os.path.basename(path) for path in closed],
        "open": {path: mode for path, mode in open_modes.items() if mode},
        "units": units,
        # Not of a secret: whoever can guess it could see from this that it was the right one.
        "files": digests(path for path in [*read_by_units, *others] if path not in secrets),
        "configuration": configuration_errors(configuration, hub, units[hub]),
    }


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    # On a box without a hub there is nothing that is root's.
    if any(os.path.lexists(arguments[key]) for key in ("root", "state_dir")):
        need_root("The hub's state")
    answer(state(**arguments))
