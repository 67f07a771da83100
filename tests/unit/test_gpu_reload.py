"""A reload of the driver: what it does, what is in its way, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from facts.gpu import NvidiaDriver
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
MODULES = ["nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia_peermem", "nvidia"]


def test_a_reload_brings_module_and_libraries_together() -> None:
    # Nothing changes on a box that is not there: how it ends is told there, and fails here.
    says = {**MISMATCH, **holders(DAEMON)}
    assert fact(NvidiaDriver, says)["kind"] == "reload_cures"
    stop, unload, load, start, failed = run(gpu_reload.reload, says=says, planning=False)
    assert stop.startswith("systemctl stop nvidia-persistenced.service")
    assert unload.partition("; do")[0] == f"for module in {' '.join(MODULES)}"
    assert load == gpu_reload.LOAD
    assert start.startswith("systemctl start $(systemctl list-unit-files --state=enabled")
    assert "Module 580.173.02 is loaded" in failed[0]
    assert plan(gpu_reload.reload, says=says)


def test_a_reload_is_refused_while_somebody_computes() -> None:
    with pytest.raises(OperationError) as caught:
        plan(gpu_reload.reload, says={**MISMATCH, **holders(DAEMON, ADA)})
    assert str(caught.value) == (
        "@fake/box is not ready:\n  - the GPU is held by process 4937 (python) of ada in "
        "jupyter-ada-singleuser.service: stop that, or plan a reboot (tasks/reboot.py)."
    )


def test_of_many_only_the_first_are_named() -> None:
    many = [{**ADA, "pid": pid, "user": None, "server": None} for pid in range(7)]
    assert "process 4 (python) of nobody known, and 2 more: stop" in gpu_reload.in_use(many)  # type: ignore[arg-type]


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
