"""Print the hub's state as JSON: its releases, the secrets it has, its units, what they read.

Arguments: root, state_dir, reads (a map of unit name to the paths that it reads when it starts).
"""

import glob
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def read_json(path):
    """A file's content; None for what is no JSON."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def releases(root):
    """The complete ones: id, and the digest of the proxy that each brings."""
    found = {}
    for path in glob.glob(f"{root}/releases/*/release.json"):
        content = read_json(path)
        if isinstance(content, dict):
            found[Path(path).parent.name] = {"proxy": content.get("proxy")}
    return found


def current(root):
    """The release that the link names."""
    link = Path(root, "current")
    return Path(os.path.realpath(link)).name if link.is_symlink() else None


def changed_at(path):
    """When what a unit reads there was last changed, in seconds; a directory with its files."""
    times = []
    for entry in [path, *glob.glob(f"{path}/*")]:
        try:
            # Not the mtime, which `cp -p` and `mv` bring along from elsewhere.
            times.append(os.lstat(entry).st_ctime)
        except OSError:
            continue
    return max(times, default=0.0)


def digest(path):
    """A file's sha256; None for what is no file."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def unit(name, reads):
    """A unit: is it there, enabled, active; and which of the things it reads are newer than it."""
    fields = "LoadState,UnitFileState,ActiveState,NeedDaemonReload,MainPID"
    try:
        output = subprocess.run(
            ["systemctl", "show", "-p", fields, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout
    except FileNotFoundError:
        # No systemd: preflight says so.
        output = ""
    shown = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    pid = int(shown.get("MainPID") or 0)
    started = started_at(pid)
    # A start is known to a hundredth of a second, rounded down.
    horizon = float("inf") if started is None else started + 0.05
    return {
        "exists": shown.get("LoadState") == "loaded",
        "enabled": shown.get("UnitFileState") == "enabled",
        "active": shown.get("ActiveState") == "active",
        "reload": shown.get("NeedDaemonReload") == "yes",
        "runs_from": running_release(pid),
        "newer": [path for path in reads if changed_at(path) > horizon],
    }


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


def running_release(pid):
    """The release whose program a process runs; `current` may have moved on since it started."""
    try:
        program = os.readlink(f"/proc/{pid}/exe").split("/")
    except OSError:
        return None
    return program[program.index("releases") + 1] if "releases" in program else None


def state(root, state_dir, reads):
    """Everything that the deploy decides on."""
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "current": current(root),
        "releases": releases(root),
        "secrets": [
            name
            for name in ("proxy.env", "cookie_secret")
            if Path(state_dir, name).exists() and not os.stat(Path(state_dir, name)).st_mode & 0o77
        ],
        "units": {name: unit(name, paths) for name, paths in reads.items()},
        "files": {path: digest(path) for paths in reads.values() for path in paths},
    }


if __name__ == "__main__":
    print(json.dumps(state(**json.loads(sys.argv[1]))))
