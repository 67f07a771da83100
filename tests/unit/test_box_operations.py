"""Rebooting a box: refused while somebody works there, and waited for until it is back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from paramiko import SSHException
from pyinfra.api.exceptions import OperationError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from facts.gpu import NvidiaDriver
from jupyterbox.settings import Box, Gpu
from operations import box as box_operations
from operations.box import BOOT_ID, REBOOT, boot_id, rebooted, wait_for_boot
from tests.unit.engine import programs, recorded, run
from tests.unit.gpu_says import (
    DRIVER,
    KERNELS,
    RTX_3060,
    RTX_5090,
    becoming,
    driver,
    holders,
    works,
)
from tests.unit.nvidia_box import KERNEL, NvidiaBox

NEXT = "6.8.0-151-generic"
IDLE = json.loads(recorded("hub/activity-bare"))
USED = json.loads(recorded("hub/activity-used"))


def says(activity: Any = IDLE, probe: str = "") -> dict[Any, Any]:
    """A box whose hub is used so, and whose files say so of its driver."""
    return {**programs(hub_activity=activity), BOOT_ID: "one", DRIVER: probe}


def refusal(said: dict[Any, Any]) -> str:
    """What a box says that is not rebooted."""
    with pytest.raises(OperationError) as error:
        run(rebooted, says=said)
    return str(error.value)


def test_a_box_on_which_nobody_works_reboots() -> None:
    command, waiting = run_until_waiting(says())
    assert command == REBOOT
    assert waiting == "one"


def run_until_waiting(
    said: dict[Any, Any], passes: bool = True, **arguments: Any
) -> tuple[Any, ...]:
    """The commands of a reboot that nobody waits for: the last one is the boot that was before.

    + passes: whether the driver works after it
    """
    ended: list[str] = []

    def wait(state: State, host: Host, before: str) -> bool:
        ended.append(before)
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_operations, "wait_for_boot", wait)
        patch.setattr("tests.unit.engine.show", lambda command: command)
        if not passes:
            patch.setattr(box_operations, "DRIVER_TIMEOUT", -1)
        first, _, *failed = run(rebooted, says=said, **arguments)
        assert bool(failed) is not passes
    return first.get_raw_value(), *ended


def test_whose_kernels_run_is_told_and_nothing_changes() -> None:
    said = refusal(says(USED))
    [server] = USED["servers"]
    assert f"- {server['user']} runs kernels: 1 of anaconda3, 1 of python3" in said
    assert "--data force=yes" in said


def test_a_server_without_a_kernel_is_nobody_at_work() -> None:
    [server] = USED["servers"]
    run_until_waiting(says({**USED, "servers": [{**server, "kernels": []}]}))


def test_whoever_forces_it_is_not_asked() -> None:
    run_until_waiting({BOOT_ID: "one"}, force=True)


def test_it_is_asked_again_when_it_happens() -> None:
    # Without planning, a failing command is all that there is.
    said = {**says(USED), "is not ready": {"success": False}, "runs kernels": {"success": False}}
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(rebooted, says=said, planning=False)


@pytest.mark.parametrize(
    ("module", "has"), [("", "no module"), ("580.173.02", "module 580.173.02")]
)
def test_a_driver_that_the_next_kernel_breaks_is_told_with_its_cure(
    tmp_path: Path, module: str, has: str
) -> None:
    box = NvidiaBox(tmp_path)
    box.device("0000:07:00.0", "2504")
    box.load("580.178.04")
    box.libraries("580.178.04")
    box.module("580.178.04", KERNEL)
    probe = "\n".join(box.output(NvidiaDriver().command()))
    run_until_waiting(says(probe=probe))
    box.kernel(NEXT)
    if module:
        box.module(module, NEXT)
    probe = "\n".join(box.output(NvidiaDriver().command()))
    said = refusal(says(probe=probe))
    assert f"- The next boot breaks the driver: kernel {NEXT} has {has}, and the libraries" in said
    assert f"Install module 580.178.04 for kernel {NEXT} before the box reboots." in said


OPEN: dict[str, Any] = {"libraries": "580.178.04", "modules": {KERNELS["noble"]: "580.178.04"}}
BREAKS = driver(gpus=[(RTX_5090, "nvidia")], loaded="580.178.04", module="license: NVIDIA", **OPEN)
"""The open module runs, and the proprietary one is on disk, which does not drive the GPU."""


def test_a_flavour_that_the_next_boot_breaks_is_told_as_the_fact_tells_it() -> None:
    said = refusal({**says(), **BREAKS, **holders()})
    assert (
        "- The next boot breaks the driver: the proprietary module is on disk, which drives none "
        "of its GPUs. Install the open flavour again before the box reboots." in said
    )
    # Of a box whose GPUs are ignored, nothing is asked.
    run_until_waiting({**says(), **BREAKS}, box=Box(gpu=Gpu(ignore=True)))


ADA: dict[str, Any] = {
    "pid": 4937,
    "name": "python",
    "user": "ada",
    "server": None,
    "unit": "session-3.scope",
}


def test_whoever_computes_outside_of_a_kernel_is_told() -> None:
    said = refusal({**says(), **works(), **holders(ADA)})
    assert "- the GPU is held by process 4937 (python) of ada." in said
    daemon = {**ADA, "unit": "nvidia-persistenced.service"}
    run_until_waiting({**says(), **works(), **holders(daemon, kernel=["the console"])})
    # Nobody computes with what is not loaded.
    nothing = works(loaded="", gpus=[(RTX_3060, "")])
    run_until_waiting({**says(), **nothing, **holders(ADA)}, passes=False)


@pytest.mark.parametrize("gpu", [None, Gpu()])
def test_a_driver_that_does_not_work_after_the_reboot_fails_it(
    monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None
) -> None:
    passing(monkeypatch)
    broken = works(loaded="580.173.02")
    failed = after_a_reboot({**says(), **works(), **holders()}, broken, gpu)
    assert "driver does not work (mismatch): Module 580.173.02 is loaded" in failed
    assert "Reload the module" in failed
    # One that was never there is only missed where it is declared.
    assert bool(after_a_reboot({**says(), **driver()}, driver(), gpu)) == bool(gpu)
    assert after_a_reboot({**says(), **works(), **holders()}, works(), gpu) == ""
    assert after_a_reboot({**says(), **broken, **holders()}, broken, Gpu(ignore=True)) == ""


def after_a_reboot(before: dict[Any, Any], after: dict[Any, Any], gpu: Gpu | None) -> str:
    """What fails a box that is another one once it is back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_operations, "wait_for_boot", lambda state, host, before: True)
        patch.setattr("tests.unit.engine.show", lambda command: command)
        found = run(rebooted, box=Box(gpu=gpu), says=becoming(before, "systemctl reboot", after))
    return "".join(command.get_raw_value() for command in found[2:])


class Machine:
    """A box that is away for a while, and what it says whenever it is asked which boot it is."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers: Iterator[str | Exception | None] = iter(answers)
        self.connected = True
        self.connector_data: dict[str, Any] = {"sudo_askpass_path__x": "/x/program", "other": 1}
        self.said: list[str] = []

    def connect(self, show_errors: bool) -> None:
        assert not show_errors
        self.connected = True

    def disconnect(self) -> None:
        # pyinfra would try to remove it over the connection that is gone, and forget it.
        assert not self.connector_data["sudo_askpass_path__x"]
        self.connected = False

    def run_shell_command(self, command: str, _timeout: int) -> tuple[bool, Any]:
        assert command == BOOT_ID
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer is not None, SimpleNamespace(stdout=answer or "")

    def log_styled(self, said: str, **_: str) -> None:
        self.said.append(said)


def test_a_box_is_back_when_it_is_another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    machine = Machine("one\n", TimeoutError(), SSHException(), EOFError(), None, "two\n")
    assert wait_for_boot(cast(State, None), cast(Host, machine), "one")
    assert [*machine.answers] == []
    assert machine.connector_data == {"sudo_askpass_path__x": "/x/program", "other": 1}


def test_a_box_that_cannot_be_connected_to_has_no_boot() -> None:
    machine = Machine()
    machine.connected = False
    machine.connect = lambda show_errors: None  # type: ignore[method-assign]
    assert boot_id(cast(Host, machine)) is None


def passing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass as often as somebody waits."""
    now = [0.0]
    monkeypatch.setattr("time.sleep", lambda seconds: now.append(now[-1] + 100))
    monkeypatch.setattr("time.monotonic", lambda: now[-1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "It did not come back within 900 s."),
        (
            "one\n",
            "It was told to reboot, and runs as before: `systemctl list-jobs` and `systemd-inhibit "
            "--list` say what it waits for; it did not reboot within 900 s.",
        ),
    ],
)
def test_a_box_that_does_not_come_back_is_given_up(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, said: str
) -> None:
    passing(monkeypatch)
    machine = Machine(*[answer] * 20)
    assert not wait_for_boot(cast(State, None), cast(Host, machine), "one")
    assert machine.said == [said]


def test_a_run_whose_box_does_not_come_back_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    passing(monkeypatch)
    monkeypatch.setattr(box_operations, "boot_id", lambda host: None)
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(rebooted, says=says(), planning=False)
