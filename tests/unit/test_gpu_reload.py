"""A reload of the driver: what it does, what is in its way, and how it ends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from facts.gpu import NvidiaDriver
from jupyterbox.program import program
from operations import gpu_reload
from tests.unit.engine import fact, plan, run
from tests.unit.gpu_says import driver, holders, works

ADA: dict[str, Any] = {
    "pid": 4937,
    "name": "python",
    "user": "ada",
    "server": "jupyter-ada-singleuser.service",
    "unit": "jupyter-ada-singleuser.service",
}
DAEMON: dict[str, Any] = {
    "pid": 411,
    "name": "nvidia-persistenced",
    "user": "root",
    "server": None,
    "unit": "nvidia-persistenced.service",
}
MISMATCH = works(loaded="580.173.02")
CONSOLE = "the console, which is on NVIDIA's frame buffer"


def test_a_reload_brings_module_and_libraries_together() -> None:
    # Nothing changes on a box that is not there: how it ends is told there, and fails here.
    says = {**MISMATCH, **holders(DAEMON)}
    assert fact(NvidiaDriver, says)["kind"] == "reload_cures"
    reloaded, failed = run(gpu_reload.reload, says=says, planning=False)
    undo = "/run/jupyterbox-gpu-reload"
    assert reloaded == ("detached: reload_driver", {"services": gpu_reload.SERVICES, "undo": undo})
    assert "Module 580.173.02 is loaded" in failed[0]
    assert plan(gpu_reload.reload, says=says)


def test_systemd_takes_the_program_as_it_is() -> None:
    # It would put variables into it.
    bits = program("reload_driver", services=gpu_reload.SERVICES, undo=gpu_reload.UNDO).bits
    assert not any(re.search(r"\$[{$]", getattr(bit, "obj", bit)) for bit in bits)


def refusal(says: dict[Any, Any]) -> str:
    """Why a box is not reloaded, while planning."""
    with pytest.raises(OperationError) as caught:
        plan(gpu_reload.reload, says={**MISMATCH, **says})
    return str(caught.value).removeprefix("@fake/box is not ready:\n  - ")


def test_a_reload_is_refused_while_somebody_computes() -> None:
    assert refusal(holders(DAEMON, ADA)) == (
        "the GPU is held by process 4937 (python) of ada in jupyter-ada-singleuser.service: stop "
        "that, or plan a reboot (tasks/reboot.py)."
    )


def test_a_reload_is_refused_where_the_kernel_holds_the_module() -> None:
    assert refusal(holders(DAEMON, kernel=["the module gdrdrv"])) == (
        "the GPU is held by the module gdrdrv: plan a reboot (tasks/reboot.py)."
    )
    assert refusal(holders(ADA, kernel=["the module gdrdrv", CONSOLE])) == (
        "the GPU is held by process 4937 (python) of ada in jupyter-ada-singleuser.service, the "
        f"module gdrdrv and {CONSOLE}: plan a reboot (tasks/reboot.py)."
    )


def test_a_deploy_leaves_to_a_reboot_what_the_kernel_holds() -> None:
    says = {**MISMATCH, **holders(DAEMON, kernel=[CONSOLE])}
    assert run(gpu_reload.reload, later=True, says=says) == []
    assert plan(gpu_reload.reload, later=True, says={**MISMATCH, **holders(DAEMON)})
    with pytest.raises(OperationError, match="process 4937"):
        plan(gpu_reload.reload, later=True, says={**MISMATCH, **holders(ADA, kernel=[CONSOLE])})


def test_of_many_only_the_first_are_named() -> None:
    many: Any = [{**ADA, "pid": pid, "user": None, "server": None} for pid in range(7)]
    said = gpu_reload.in_use({"processes": many, "kernel": []})
    assert "process 4 (python) of nobody known and 2 more: stop" in said


@pytest.mark.parametrize(
    "says",
    [
        works(),
        driver(gpus=[]),
        works(loaded="580.173.02", modules={"6.8.0-999-generic": "580.178.04"}),
        works(loaded="580.173.02", modules={}),
    ],
    ids=["healthy", "no hardware", "a reboot alone cures", "neither cures"],
)
def test_no_reload_where_it_does_not_cure(says: dict[Any, Any]) -> None:
    assert fact(NvidiaDriver, says)["kind"] != "reload_cures"
    assert run(gpu_reload.reload, says=says) == []
