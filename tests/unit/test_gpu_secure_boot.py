"""Secure Boot and a driver that DKMS builds: who is refused before anything changes, who is not."""

from __future__ import annotations

from typing import Any

import pytest

from facts.gpu import NvidiaDriver
from jupyterbox.settings import Gpu
from operations import gpu
from tests.unit.engine import fact, run
from tests.unit.gpu_says import KERNELS, driver, setup
from tests.unit.nvidia_box import said
from tests.unit.test_gpu_operations import LOAD, problems

ON = said("mokutil-sb-state/enabled.txt")
MOK = "/var/lib/dkms/mok.pub"
ENROLLED = f"{MOK}\n{said('mokutil-test-key/enrolled.txt')}"
PENDING = f"{MOK}\n{MOK} is already in the enrollment request\n"
NO_KEY = f"{MOK}\nNo such file\n"
SERIAL = "61:E0:9A:71:83:7C:41:FB:A6:77:8B:3D:CF:C4:88:D1:93:87:1D:15"
MODULE = f"license: NVIDIA\nsigner: DKMS module signing key\nsig_key: {SERIAL}\n"
DEBIANS = [f"ii {name} 550.163.01-2" for name in ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1")]


def installed(enrolled: str) -> dict[Any, Any]:
    """Debian's driver as a deploy leaves it, not loaded yet."""
    return driver(
        "trixie",
        modules={KERNELS["trixie"]: "550.163.01"},
        libraries="550.163.01",
        packages=DEBIANS,
        module=MODULE,
        secureboot=ON,
        enrolled=enrolled,
        dkmskey=ENROLLED,
    )


@pytest.mark.parametrize("key", [PENDING, NO_KEY])
def test_a_box_that_would_refuse_the_module_is_told_before_it_is_installed(key: str) -> None:
    bare = driver("trixie", secureboot=ON, dkmskey=key)
    [refused] = problems(Gpu(branch="550"), bare, setup("trixie"))
    assert refused.startswith("Secure Boot would refuse the driver's module: ")
    assert f"{MOK}, is not enrolled. Enroll it" in refused


@pytest.mark.parametrize(
    ("secureboot", "key"),
    [(ON, ENROLLED), (ON, MOK), (ON, ""), ("SecureBoot disabled", NO_KEY), ("", NO_KEY)],
)
def test_a_box_that_takes_the_module_or_may_is_deployed_to(secureboot: str, key: str) -> None:
    bare = driver("trixie", secureboot=secureboot, dkmskey=key)
    assert problems(Gpu(branch="550"), bare, setup("trixie")) == []


def test_ubuntus_own_modules_need_no_key() -> None:
    assert problems(Gpu(), driver(secureboot=ON, dkmskey=NO_KEY), setup()) == []
    [refused] = problems(Gpu(source="cuda"), driver(secureboot=ON, dkmskey=NO_KEY), setup())
    assert refused.startswith("Secure Boot would refuse")


def test_a_module_whose_key_is_enrolled_is_loaded_by_the_next_deploy() -> None:
    trusted = installed(f"        Serial Number:\n            {SERIAL.lower()}")
    assert problems(Gpu(branch="550"), trusted, setup("trixie")) == []
    assert run(gpu.driver, branch="550", says={**trusted, **setup("trixie")}) == [LOAD]


def test_where_nobody_can_tell_modprobe_does() -> None:
    unknown = installed("")
    assert problems(Gpu(branch="550"), unknown, setup("trixie")) == []
    assert run(gpu.driver, branch="550", says={**unknown, **setup("trixie")}) == [LOAD]


def test_a_module_whose_key_is_not_enrolled_is_neither_loaded_nor_installed_again() -> None:
    untrusted = installed("MokListRT is empty")
    assert fact(NvidiaDriver, untrusted)["kind"] == "secure_boot"
    [refused] = problems(Gpu(branch="550"), untrusted, setup("trixie"))
    assert "Secure Boot refuses what DKMS module signing key has signed" in refused
    assert f"`mokutil --import {MOK}`" in refused
    assert run(gpu.driver, branch="550", says={**untrusted, **setup("trixie")}) == []
