"""What of the GPU's driver is in the way of a deploy, before anything on the box has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pyinfra import host

from facts.cuda_repository import CudaVersions
from facts.device_holders import DeviceHolders
from facts.driver_setup import CUDA_KEYRING, DriverSetup, Setup
from facts.gpu import Driver, NvidiaDriver
from jupyterbox.driver_choice import Unavailable
from jupyterbox.driver_packages import Transaction
from jupyterbox.settings import Box, Gpu
from operations.asking import ask
from operations.conda import certificates
from operations.gpu_archive import repository
from operations.gpu_plan import NOT_OURS, UNFIT, Reason, due, replaces
from operations.gpu_reload import in_use, others

FINE = (*NOT_OURS, "healthy", "no_driver")
"""States in which a box without a declared driver is deployed to: it is as good as it was."""

MENDED = ("no_driver", "module_missing", "foreign_driver", "not_loaded", "healthy")
"""States that a declared driver gets a box out of, if need be with a reboot after the deploy."""

IGNORE = "To deploy all the same, set Box(gpu=Gpu(ignore=True))."


class Found(NamedTuple):
    """The driver of a box, and its packages where one is declared."""

    driver: Driver | None
    setup: Setup | None


def look(box: Box) -> Found:
    """Ask the box; a box whose GPU is ignored is not asked."""
    if box.gpu and box.gpu.ignore:
        return Found(None, None)
    driver = ask(NvidiaDriver)
    if box.gpu is None or driver["state"] in NOT_OURS:
        return Found(driver, None)
    setup = ask(DriverSetup)
    if box.gpu.source == "cuda" and not setup["cuda"]:
        # apt does not have the repository yet.
        url = repository(setup, box.mirrors)
        setup["cuda"] = host.get_fact(CudaVersions, url=url, ca=certificates(box))
    return Found(driver, setup)


def problems(box: Box, found: Found) -> Iterator[str]:
    """Why the deploy would leave the box with GPUs that no notebook can use."""
    driver = found.driver
    if driver is None:
        return
    if box.gpu is not None and found.setup is not None:
        yield from declared(box.gpu, driver, found.setup)
    elif driver["state"] not in FINE:
        yield broken(driver)


def broken(driver: Driver) -> str:
    """What is wrong with a driver, and its cure."""
    wrong = driver["problems"][0]["problem"]
    return f"the GPU's driver is broken ({driver['state']}): {wrong} {driver['cure']} {IGNORE}"


def declared(gpu: Gpu, driver: Driver, setup: Setup) -> Iterator[str]:
    """What is in the way of a declared driver."""
    repositories = driver["evidence"]["repositories"]
    if not gpu.remove_ppa and any(found["archive"] == "ppa" for found in repositories):
        yield (
            "apt has the PPA graphics-drivers, which replaces the distribution's driver: set "
            "Gpu(remove_ppa=True), or take it out of apt's sources."
        )
    try:
        installs = due(gpu, driver, setup)
    except Unavailable as error:
        yield f"{error}."
        return
    if installs and driver["flags"]["source"] == "runfile":
        yield (
            "the driver is from NVIDIA's .run installer, which packages cannot replace: run "
            "`nvidia-uninstall` on the box."
        )
    elif installs and refused(driver, installs[1]):
        yield (
            "Secure Boot would refuse the driver's module: the key that DKMS signs it with, "
            f"{driver['evidence']['dkms_key']['certificate']}, is not enrolled. Enroll it (Secure "
            "Boot, in docs/operating.md), or switch Secure Boot off; Ubuntu's own driver needs "
            "no key."
        )
    elif driver["kind"] == "reload_cures" or (installs and not_later(driver, installs[0])):
        yield from held()
    elif not mends(driver, installs is not None):
        yield broken(driver)


def refused(driver: Driver, wanted: Transaction) -> bool:
    """Whether Secure Boot is known to refuse the module that DKMS would build."""
    return wanted.first is not None and driver["evidence"]["dkms_key"]["enrolled"] is False


def not_later(driver: Driver, why: Reason) -> bool:
    """Whether packages replace something at once that somebody may compute with.

    What would break with the next boot alone is mended as soon as nobody does.
    """
    return replaces(driver) and not (why == "split" and driver["state"] == "healthy")


def held() -> Iterator[str]:
    """Whoever has the GPU would find it gone, or its libraries changed under it.

    What of the kernel itself holds it goes with a reboot, after the deploy.
    """
    found = host.get_fact(DeviceHolders)
    if others(found):
        yield in_use(found)


def mends(driver: Driver, installs: bool) -> bool:
    """Whether the deploy, perhaps with a reboot after it, gets a driver into order."""
    if driver["kind"] in ("reboot_cures", "wrong_flavour"):
        # A deploy of another branch or flavour, or beside a new kernel, leaves a box like that.
        return True
    if driver["state"] == "module_missing" and not installs:
        return driver["flags"]["next_boot_broken"] is False
    if driver["kind"] in UNFIT:
        return installs
    return driver["state"] in MENDED


def urls(box: Box, found: Found) -> dict[str, str]:
    """Where NVIDIA's repository is, if it is about to be added, and what says so."""
    if box.gpu is None or found.setup is None or box.gpu.source != "cuda":
        return {}
    if CUDA_KEYRING in found.setup["files"]:
        return {}
    return {f"{repository(found.setup, box.mirrors)}/InRelease": "Mirrors.cuda"}
