"""What verifying a box makes of its GPUs; the rest of it is seen on a real box (tests/box).

The hub and its user are stood in for, and so is aiohttp, which only the hub's own Python has.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jupyterbox.nvidia import MAXWELL
from tests.unit.remote import module

driver_files = module("driver_files")
GT_710, RTX_3060 = "10de:128b", "10de:2504"
CUDA = '{"code": 0, "version": 13000, "devices": 1}'


class Session:
    """A browser of nobody's."""

    def __init__(self, **_: Any) -> None:
        pass

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class User:
    """Whoever logs in, and has one kernel, which says so of CUDA."""

    def __init__(self, *_: Any) -> None:
        pass

    async def done(self, *_: Any) -> tuple[str, bool]:
        return "", True

    log_in = start_server = stop_server = done

    async def kernelspecs(self) -> dict[str, Any]:
        return {"python3": {"language": "python"}}

    async def run(self, kernel: str, code: str) -> str:
        return CUDA


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    aiohttp, yarl = ModuleType("aiohttp"), ModuleType("yarl")
    for name in ("CookieJar", "ClientTimeout", "ClientSession"):
        setattr(aiohttp, name, Session)
    aiohttp.ClientError = OSError  # type: ignore[attr-defined]
    yarl.URL = str  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aiohttp", aiohttp)
    monkeypatch.setitem(sys.modules, "yarl", yarl)
    found = module("verify")
    monkeypatch.setattr(found, "User", User)
    monkeypatch.setattr(found, "check_kernel", User.done)
    yield found
    sys.modules.pop("verify")


def box(monkeypatch: pytest.MonkeyPatch, installed: bool, *gpus: tuple[str, str | None]) -> None:
    """Have the box these GPUs, each with the driver that it is bound to; made up, all of it."""
    found = [
        {"vendor": "NVIDIA", "address": f"0000:0{slot}:00.0", "id": device, "driver": driver}
        for slot, (device, driver) in enumerate(gpus)
    ]
    monkeypatch.setattr(driver_files, "gpus", lambda: found)
    monkeypatch.setattr(driver_files, "loaded", lambda: None)
    monkeypatch.setattr(driver_files, "userspace", lambda: "580.178.04" if installed else None)


def rows(verify: Any, capsys: pytest.CaptureFixture[str], driver: str) -> dict[str, str]:
    """The rows about GPUs: what each is of, and whether it is good."""
    table = verify.Table()
    asyncio.run(verify.check_hub("", "", Path("/dev/fd"), 1, driver, "", table))
    found = re.findall(r"^(ok|FAIL) +((?:GPU|CUDA in) \S+)", capsys.readouterr().out, re.MULTILINE)
    return {what: good for good, what in found}


WORKS = (RTX_3060, "nvidia")


@pytest.mark.parametrize(
    ("gpus", "found"),
    [
        ([WORKS], {}),
        ([(RTX_3060, None)], {"GPU 0000:00:00.0": "FAIL"}),
        ([(RTX_3060, "nouveau")], {"GPU 0000:00:00.0": "FAIL"}),
        ([WORKS, (RTX_3060, None)], {"GPU 0000:01:00.0": "FAIL"}),
        # For a display: the driver's state is healthy, too.
        ([WORKS, (GT_710, None)], {}),
        ([WORKS, (RTX_3060, "nouveau")], {}),
        ([WORKS, (RTX_3060, "vfio-pci")], {}),
    ],
)
@pytest.mark.parametrize("driver", ["declared", "found"])
def test_a_gpu_that_no_driver_drives_is_a_failure(
    verify: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    driver: str,
    gpus: list[tuple[str, str | None]],
    found: dict[str, str],
) -> None:
    box(monkeypatch, driver == "found", *gpus)
    assert rows(verify, capsys, driver) == {**found, "CUDA in python3": "ok"}


@pytest.mark.parametrize(
    ("driver", "installed", "gpus"),
    [
        ("found", False, [(RTX_3060, "nouveau")]),
        ("ignored", True, [(RTX_3060, None)]),
        ("declared", True, [(RTX_3060, "vfio-pci")]),
        ("declared", True, []),
    ],
)
def test_where_no_gpu_shall_compute_none_is_tried(
    verify: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    driver: str,
    installed: bool,
    gpus: list[tuple[str, str | None]],
) -> None:
    box(monkeypatch, installed, *gpus)
    assert rows(verify, capsys, driver) == {}


def test_what_is_too_old_is_so_on_the_box() -> None:
    assert driver_files.MAXWELL == MAXWELL
