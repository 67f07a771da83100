"""What systemd says of units, asked for all of them at once and not for longer than it may take."""

import os
import subprocess
from datetime import datetime, timezone

TIMEOUT = 5  # seconds; systemd answers in hundredths of one


def show(names, fields):
    """Some properties of some units; a name may be a pattern, which stands for units in memory.

    Args:
        names: of units; one that systemd does not know has a LoadState of `not-found`.
        fields: names of properties.

    Returns:
        The properties by unit; they are empty where there is no systemd or it does not answer.
    """
    nothing = dict.fromkeys(fields, "")
    shown = {name: nothing for name in names if "*" not in name}
    command = ["systemctl", "show", "-p", ",".join(["Id", *fields]), "--", *names]
    for block in said(command).split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in properties:
            shown[properties["Id"]] = {**nothing, **properties}
    return shown


def said(command, timeout=TIMEOUT):
    """What a command prints; nothing where it cannot be run or takes too long."""
    try:
        return subprocess.run(
            command,
            # It then writes times in UTC.
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def moment(shown):
    """A time as systemd writes it, `Mon 2026-11-23 16:21:52 UTC`, in ISO 8601; None for none."""
    words = shown.split()
    try:
        # A fraction of what strptime takes, which has to be imported.
        found = datetime.fromisoformat(" ".join(words[1:3]))
    except ValueError:
        return None
    return found.replace(tzinfo=timezone.utc).isoformat() if words[3:] == ["UTC"] else None


def seconds(moment):
    """The same as seconds since the epoch."""
    return datetime.fromisoformat(moment).timestamp()


def number(shown):
    """A number that systemd has written; 0 for none."""
    return int(shown) if shown.isdecimal() and len(shown) < 20 else 0


def state_of(properties):
    """A unit's state as `systemctl status` has it, `active (running)`; why there is none else."""
    if properties["LoadState"] != "loaded":
        return properties["LoadState"] or "unknown"
    return f"{properties['ActiveState']} ({properties['SubState']})"


def running_release(pid):
    """The release whose program a process runs; `current` may have moved on since it started."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            # The hub's Python is the system's, under the name that its venv has for it.
            called = os.fsdecode(file.read().split(b"\0")[0])
    except OSError:
        return None
    for path in (program.split("/"), called.split("/")):
        if "releases" in path[:-1]:
            return path[path.index("releases") + 1]
    return None
