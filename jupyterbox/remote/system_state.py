"""Print what a person asks first of a box: system, load, memory, disks, GPUs, what it waits for.

What nobody can tell is null, and `skipped` says why. Nothing is written, and nobody waits long.
"""

import os
import re
import shlex
import time

from answering import answer
from clock import is_synchronized, iso, uptime
from disks import disks
from dpkg import Packages
from gpus import gpus
from reading import Unreadable, read_text
from reboot import reasons
from security_updates import updates
from units import moment, said

OS_RELEASE = "/etc/os-release"
MEMINFO = "/proc/meminfo"
ROOT_SLICE = "-.slice"
# Those in memory that have failed; one that is named is shown in any case: systemd has answered.
FAILED = ["systemctl", "show", "--state=failed", "-p", "Id,Result,StateChangeTimestamp", "--"]
GB = 1 << 10  # of MB
PATIENCE = 600  # seconds, for the clock to be set


def state():
    """Everything, and what is wrong."""
    up, memory, failed, clock = uptime(), memory_state(), failed_units(), is_synchronized()
    found, skipped, problems = disks()
    packages = installed()
    reboot = reasons(packages)
    software, reason, outdated = updates(packages)
    if reason:
        skipped["updates"] = reason
    if failed is None:
        skipped["failed_units"] = "systemd does not answer"
    problems += memory_problems(memory)
    problems += unit_problems(failed or [])
    problems += clock_problems(clock, up)
    problems += reboot_problems(reboot)
    return {
        **machine(up),
        "memory": memory,
        "disks": found,
        "gpus": gpus(),
        "reboot_pending": reboot,
        "failed_units": failed,
        "updates": software,
        "clock_synchronized": clock,
        "skipped": skipped,
        "problems": problems + outdated,
    }


def machine(up):
    """What the box is, since when, and what it does.

    Args:
        up: for how many seconds it is up.
    """
    kernel = os.uname()
    return {
        "os": os_release(),
        "hostname": kernel.nodename,
        "kernel": kernel.release,
        "architecture": kernel.machine,
        "virtualization": virtualization(),
        "booted_at": iso(time.time() - up),
        "uptime_seconds": int(up),
        "cores": os.cpu_count() or 0,
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def os_release(path=OS_RELEASE):
    """The system's id, version and name, as os-release(5) has them."""
    try:
        pairs = dict(re.findall(r"^([A-Z_]+)=(.*)$", read_text(path), re.MULTILINE))
    except Unreadable:
        pairs = {}
    keys = {"id": "ID", "version": "VERSION_ID", "name": "PRETTY_NAME"}
    return {key: pairs.get(name, "").strip().strip("\"'") for key, name in keys.items()}


def virtualization():
    """What the box is a guest or a container of, by systemd's name for it; None where nobody says.

    `none` is what systemd calls a machine that is one.
    """
    return said(["systemd-detect-virt"]).strip() or None


def memory_state(path=MEMINFO):
    """How much there is, and how much programs can still have."""
    try:
        kilobytes = dict(re.findall(r"^(\w+): +([0-9]+) kB$", read_text(path), re.MULTILINE))
    except Unreadable:
        kilobytes = {}
    keys = {
        "total_mb": "MemTotal",
        "available_mb": "MemAvailable",
        "swap_mb": "SwapTotal",
        "swap_free_mb": "SwapFree",
    }
    return {key: int(kilobytes.get(name, 0)) >> 10 for key, name in keys.items()}


def failed_units():
    """The units that have failed, and when; None where systemd does not answer."""
    found = {}
    for block in said([*FAILED, ROOT_SLICE, "*"]).split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in shown:
            found[shown["Id"]] = {
                "unit": shown["Id"],
                "since": moment(shown.get("StateChangeTimestamp", "")),
                "result": shown.get("Result", ""),
            }
    answered = found.pop(ROOT_SLICE, None)
    return [found[name] for name in sorted(found)] if answered else None


def installed():
    """The packages; None where nobody can tell."""
    try:
        return Packages()
    except Unreadable:
        return None


def memory_problems(memory):
    """Whether programs get none any more: neither memory nor swap is left."""
    available, swap = memory["available_mb"], memory["swap_free_mb"]
    if available < min(memory["total_mb"] * 0.05, 1 * GB) and swap <= memory["swap_mb"] * 0.1:
        yield {
            "problem": f"Memory is exhausted: {available} MB of {memory['total_mb']} MB are "
            f"available, and {swap} MB of swap.",
            "cure": "`systemd-cgtop --order=memory` shows who uses it.",
        }


def unit_problems(failed):
    """The units that have failed."""
    for unit in failed:
        name = shlex.quote(unit["unit"])
        yield {
            "problem": f"{unit['unit']} has failed ({unit['result'] or 'no result'}).",
            "cure": f"`systemctl status {name}` says why; once that is mended, "
            f"`sudo systemctl reset-failed {name}` or a start clears it.",
        }


def clock_problems(synchronized, up):
    """Whether nobody has set the clock since the box is up."""
    if synchronized is False and up > PATIENCE:
        yield {
            "problem": "The clock is not synchronized: no time server has answered.",
            "cure": "`timedatectl timesync-status` names the server; another is set as `NTP=` in "
            "/etc/systemd/timesyncd.conf.",
        }


def reboot_problems(reasons):
    """Whether a reboot is pending."""
    if reasons:
        yield {
            "problem": f"A reboot is pending: {'; '.join(reasons)}.",
            "cure": "`sudo systemctl reboot` when nobody computes: it ends all servers of users.",
        }


if __name__ == "__main__":
    answer(state())
