"""The box's time: since when it is up, and whether its clock is right."""

import os
import time
from datetime import datetime, timezone

SYNCHRONIZED = "/run/systemd/timesync/synchronized"


def iso(seconds):
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def uptime(stat="/proc/1/stat"):
    """For how many seconds it is up: a container is so since its own first process started."""
    try:
        with open(stat) as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        # Processes of others may be hidden.
        ticks = 0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def is_synchronized(stamp=SYNCHRONIZED):
    """Whether systemd-timesyncd has set the clock; None where it does not run."""
    if not os.path.isdir(os.path.dirname(stamp)):
        return None
    return os.path.exists(stamp)
