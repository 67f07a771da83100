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

from facts.gpu import Driver, NvidiaDriver
from facts.hub import Activity, HubActivity
from jupyterbox.driver_states import kernel
from jupyterbox.program import Commands
from jupyterbox.status import environment_of
from operations.refusing import refuse

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
REBOOT = "(sleep 1; systemctl reboot) </dev/null >/dev/null 2>&1 &"
REBOOT_TIMEOUT = 900  # seconds; a server with much memory tests it for minutes
ANSWER_TIMEOUT = 10  # seconds


@operation(is_idempotent=False)
def rebooted(force: bool = False) -> Commands:
    """Reboot, and wait until the box is back; refused while somebody's kernel runs.

    + force: whatever runs, and even if the driver does not survive it
    """
    problems = [] if force else list(objections())
    if problems:
        yield from refuse([*problems, "`--data force=yes` reboots it all the same."])
        return
    before = host.get_fact(Command, command=BOOT_ID)
    yield REBOOT
    yield FunctionCommand(wait_for_boot, (before,), {})


def objections() -> Iterator[str]:
    """Why the box is better not rebooted now."""
    if host.name == "@local":
        yield "pyinfra runs on it: nobody would be left to wait for it."
    yield from at_work(host.get_fact(HubActivity))
    yield from broken_by_reboot(host.get_fact(NvidiaDriver))


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
    following = kernel(driver["evidence"], "next")
    if driver["flags"]["next_boot_broken"] and following:
        release, libraries = following["release"], driver["evidence"]["userspace"]
        module = f"module {following['module']}" if following["module"] else "no module"
        yield (
            f"kernel {release}, which boots next, has {module} of NVIDIA's driver, and the "
            f"libraries are {libraries}: install module {libraries} for that kernel first."
        )


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
