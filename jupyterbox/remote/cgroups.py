"""What a unit's processes use: from its control group, or from /proc where that keeps no account.

A control group lies below each hierarchy that is mounted: version 2's one, version 1's one for each
controller, or some of both.
"""

import os
import re

MEMORY = (
    # Where, and the file beside it that has its peak.
    ("{root}{group}/memory.current", "memory.peak"),
    ("{root}/memory{group}/memory.usage_in_bytes", "memory.max_usage_in_bytes"),
)
CPU = (
    # Where, what its number stands behind, and how many of it are a second.
    ("{root}{group}/cpu.stat", "usage_usec ", 10**6),
    ("{root}/cpuacct{group}/cpuacct.usage", "", 10**9),
    ("{root}/cpu,cpuacct{group}/cpuacct.usage", "", 10**9),
    ("{root}/unified{group}/cpu.stat", "usage_usec ", 10**6),
)
PROCESSES = ("{root}{group}/cgroup.procs", "{root}/systemd{group}/cgroup.procs")
RESIDENT = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)
TICKS = os.sysconf("SC_CLK_TCK")  # a second


def content(path):
    """What the kernel says in one of its files; empty where it is not there."""
    try:
        with open(path, errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def processes(root, group):
    """The ids of the processes in a control group."""
    for template in PROCESSES:
        if found := content(template.format(root=root, group=group)).split():
            return [int(pid) for pid in found]
    return []


def memory(root, group, pids):
    """Bytes in use, the most that ever were or None, and the name of the file that says so.

    `processes` stands for their memory without what they have of files, which they may share.
    """
    for template, peak in MEMORY:
        path = template.format(root=root, group=group)
        found = content(path).strip()
        if found.isdecimal():
            most = content(os.path.join(os.path.dirname(path), peak)).strip()
            return int(found), int(most) if most.isdecimal() else None, os.path.basename(path)
    resident = (RESIDENT.findall(content(f"/proc/{pid}/status")) for pid in pids)
    return sum(int(kb) << 10 for found in resident for kb in found), None, "processes"


def cpu(root, group, pids):
    """Seconds of one core that were used, and the name of the file that says so.

    `processes` stands for those that run and for what they have waited for.
    """
    for template, before, unit in CPU:
        path = template.format(root=root, group=group)
        if found := re.search(rf"^{before}(\d+)$", content(path), re.MULTILINE):
            return int(found[1]) / unit, os.path.basename(path)
    ticks = 0
    for pid in pids:
        # The second field is a name, which may have spaces and parentheses.
        fields = content(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS, "processes"


def words(pid):
    """The words that a process was started with."""
    return content(f"/proc/{pid}/cmdline").split("\0")[:-1]
