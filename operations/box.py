"""The box as a whole: rebooting it when nobody minds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from paramiko import SSHException
from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.facts.server import Command

from facts.device_holders import DeviceHolders
from facts.gpu import Driver, NvidiaDriver, boot_problems
from facts.hub import Activity, HubActivity
from jupyterbox.program import Commands
from jupyterbox.settings import Box
from jupyterbox.status import environment_of
from operations.gpu_reload import named, others
from operations.refusing import refuse

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
REBOOT = "(sleep 1; systemctl reboot) </dev/null >/dev/null 2>&1 &"
REBOOT_TIMEOUT = 900  # seconds; a server with much memory tests it for minutes
ANSWER_TIMEOUT = 10  # seconds
DRIVER_TIMEOUT = 60  # seconds


@operation(is_idempotent=False)
def rebooted(force: bool = False, box: Box | None = None) -> Commands:
    """Reboot, and wait until the box is back; refused while somebody's kernel runs.

    Then NVIDIA's driver must work, unless the box's GPUs are ignored.

    + force: whatever runs, and even if the driver does not survive it
    + box: what it shall be
    """
    gpu = box.gpu if box else None
    ignored = gpu is not None and gpu.ignore
    problems = [] if force else list(objections(ignored))
    if problems:
        yield from refuse([*problems, "`--data force=yes` reboots it all the same."])
        return
    before = host.get_fact(Command, command=BOOT_ID)
    yield REBOOT
    yield FunctionCommand(wait_for_boot, (before,), {})
    if not ignored:
        yield from refuse_broken(declared=gpu is not None)


def objections(ignored: bool) -> Iterator[str]:
    """Why the box is better not rebooted now.

    + ignored: whether its GPUs are
    """
    if host.name == "@local":
        yield "pyinfra runs on it: nobody would be left to wait for it."
    yield from at_work(host.get_fact(HubActivity))
    if not ignored:
        driver = host.get_fact(NvidiaDriver)
        yield from at_gpus(driver)
        yield from broken_by_reboot(driver)


def at_work(activity: Activity) -> Iterator[str]:
    """Who runs what, a sentence each."""
    for server in activity["servers"]:
        of = Counter(environment_of(PurePosixPath(prefix)) or "?" for prefix in server["kernels"])
        kernels = ", ".join(f"{number} of {name}" for name, number in of.items())
        who = "/".join(filter(None, (server["user"], server["name"])))
        since = f", last active at {server['last_activity']}" if server["last_activity"] else ""
        if kernels:
            yield f"{who} runs kernels: {kernels}{since}."


def broken_by_reboot(driver: Driver) -> Iterator[str]:
    """What becomes of NVIDIA's driver in the kernel that boots next."""
    for found in boot_problems(driver["evidence"], driver["flags"]):
        yield f"{found['problem']} {found['cure']}"


def at_gpus(driver: Driver) -> Iterator[str]:
    """Who computes, in a kernel or outside of one: in a terminal, over SSH, in a container."""
    if driver["evidence"]["loaded"] is None:
        return
    held = host.get_fact(DeviceHolders)
    if others(held):
        yield f"the GPU is held by {named(held)}."


def refuse_broken(declared: bool) -> Commands:
    """Fail where NVIDIA's driver does not work; its module may come a while after sshd.

    + declared: whether there shall be one
    """
    works = ("no_hardware", "passthrough", "healthy", *(() if declared else ("no_driver",)))
    deadline = time.monotonic() + DRIVER_TIMEOUT
    while (found := host.get_fact(NvidiaDriver))["state"] not in works:
        if time.monotonic() > deadline:
            wrong = found["problems"][0]["problem"]
            said = f"the GPU's driver does not work ({found['state']}): {wrong} {found['cure']}"
            yield from refuse([said])
            return
        time.sleep(5)


def wait_for_boot(state: State, host: Host, before: str) -> bool:
    """Wait until the box answers after another boot.

    A container has the uptime of its host, which is what pyinfra's own `server.reboot` looks at.
    """
    deadline, now = time.monotonic() + REBOOT_TIMEOUT, None
    while time.monotonic() < deadline:
        now = boot_id(host)
        if now not in (None, before):
            return True
        time.sleep(1)
    did = (
        "It did not come back"
        if now is None
        else "It was told to reboot, and runs as before: `systemctl list-jobs` and "
        "`systemd-inhibit --list` say what it waits for; it did not reboot"
    )
    host.log_styled(f"{did} within {REBOOT_TIMEOUT} s.", fg="red")
    return False


def boot_id(host: Host) -> str | None:
    """What tells one boot from the next; `None` where the box does not answer."""
    host.connect(show_errors=False)
    if not host.connected:
        return None
    try:
        answered, output = host.run_shell_command(BOOT_ID, _timeout=ANSWER_TIMEOUT)
    except (OSError, EOFError, SSHException):
        answered = False
    if answered:
        return output.stdout.strip()
    # The program that sudo asks outlives a reboot: it is removed when the run ends.
    askpass = {key: host.connector_data[key] for key in host.connector_data if "askpass" in key}
    host.connector_data.update(dict.fromkeys(askpass))
    host.disconnect()
    host.connector_data.update(askpass)
    return None
