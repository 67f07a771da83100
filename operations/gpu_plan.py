"""Whether packages of the driver must be installed on a box, and which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from facts.driver_setup import CUDA_SOURCES, Setup
from facts.gpu import Driver
from jupyterbox.driver_choice import Choice, System, Unavailable, branch_of, choose
from jupyterbox.driver_packages import Transaction, lacks_fabric_manager, numbers, transaction
from jupyterbox.settings import Gpu

NOT_OURS = ("no_hardware", "passthrough")
"""States of boxes that get no driver."""

SOURCES = {"distribution": ("ubuntu", "debian"), "cuda": ("cuda",)}
"""What the fact calls the sources of the settings."""

UNFIT = ("neither_cures", "secure_boot", "split")
"""Kinds of drivers whose module is not one to load."""

Reason = Literal["other", "split"]
"""Another driver shall be there, or what is there does not fit together."""


def system_of(setup: Setup) -> System:
    """What decides over package names."""
    kinds = (name.partition("linux-image-")[2] for name in setup["linux"])
    return System(
        setup["os"],
        setup["version"],
        setup["codename"],
        setup["architecture"],
        kernels=tuple(sorted(filter(None, kinds))),
        candidates=setup["candidates"],
        modules=setup["modules"],
        linux=tuple(setup["linux"]),
        cuda=tuple(setup["cuda"]),
        headers=tuple(setup["headers"]),
    )


def due(gpu: Gpu, found: Driver, setup: Setup) -> tuple[Reason, Transaction] | None:
    """Why packages must be installed for a declared driver, and what apt shall do; else `None`.

    A driver that works in what is declared stays, whether or not its archive still has it.

    Raises:
        Unavailable: something must be installed, and cannot be had for this box.
    """
    stays = as_declared(gpu, found, setup)
    if stays and found["flags"]["next_boot_broken"] is not True:
        return None
    try:
        wanted = planned(gpu, found, setup)
    except Unavailable:
        if stays:
            # What the next boot breaks, apt cannot mend; the fact tells of it.
            return None
        raise
    why = must_install(gpu, found, wanted, setup)
    return (why, wanted) if why else None


def as_declared(gpu: Gpu, found: Driver, setup: Setup) -> bool:
    """Whether the driver that is there is the declared one, and no package of it is missing.

    That it is not loaded, or waits for a reload or a reboot, is nothing that apt could help.
    """
    evidence, kind = found["evidence"], found["kind"]
    if found["state"] == "no_driver" or branch_of(evidence["userspace"] or "") != gpu.branch:
        return False
    if found["state"] == "module_missing" and kind not in ("reboot_cures", "not_built"):
        return False
    return (
        kind not in ("wrong_flavour", *UNFIT)
        and not other_flavour(gpu, found)
        and not returns(gpu, found, setup)
        and not elsewhere(gpu, found, setup)
        and not lacks_fabric_manager(evidence)
    )


def other_flavour(gpu: Gpu, found: Driver) -> bool:
    """Whether the flavour that is installed is not the declared one."""
    installed = found["evidence"]["flavour_on_disk"] or found["evidence"]["flavour"]
    return gpu.flavour is not None and installed not in (None, gpu.flavour)


def replaces(found: Driver) -> bool:
    """Whether packages would replace what is loaded, and what somebody may compute with."""
    return found["evidence"]["loaded"] is not None and found["state"] != "bus_lost"


def planned(gpu: Gpu, found: Driver, setup: Setup) -> Transaction:
    """What apt shall do for a declared driver.

    Raises:
        Unavailable: it cannot be had for this box.
    """
    system, evidence = system_of(setup), found["evidence"]
    choice: Choice = choose(gpu.branch, gpu.flavour, gpu.source, system, evidence)
    wanted = transaction(choice, system, evidence)
    if choice.source == "distribution" and setup["os"] == "debian" and of_cuda(found, setup):
        # Its packages have the names of NVIDIA's, and lower versions.
        return replace(wanted, over=setup["codename"])
    return wanted


def must_install(gpu: Gpu, found: Driver, wanted: Transaction, setup: Setup) -> Reason | None:
    """Why packages must be installed for a declared driver; `None` where they need not be.

    One that is there in its branch stays as somebody installed it, unless what is missing of its
    packages is why it does not work.
    """
    evidence, flags = found["evidence"], found["flags"]
    version = evidence["userspace"]
    if found["state"] == "no_driver" or version is None or branch_of(version) != gpu.branch:
        return "other"
    names = {package["name"] for package in evidence["packages"]}
    there = {*wanted.packages} <= names
    # Once they are there alone, only the module that runs is of another flavour, until a reboot.
    if (found["kind"] == "wrong_flavour" or other_flavour(gpu, found)) and (
        wanted.without or not there
    ):
        return "other"
    if returns(gpu, found, setup) or (not there and elsewhere(gpu, found, setup)):
        return "other"
    if found["kind"] == "not_built":
        # Once more, it would not build either.
        return None
    missing = found["state"] == "module_missing" and found["kind"] != "reboot_cures"
    broken = missing or found["kind"] == "split" or flags["next_boot_broken"] is True
    if there:
        return "split" if broken and mendable(found, wanted, setup) else None
    if found["kind"] in UNFIT or lacks_fabric_manager(evidence):
        return "other"
    return "split" if broken else None


def mendable(found: Driver, wanted: Transaction, setup: Setup) -> bool:
    """Whether apt has what a driver lacks of which every package is installed.

    Where modules are made for one kernel each, that is the package for the kernel that runs or
    boots next, or a newer version of all; else the headers that DKMS builds with.
    """
    if wanted.first:
        return bool(setup["headers"])
    there = {package["name"]: package["version"] for package in found["evidence"]["packages"]}
    has: Mapping[str, str] = {**setup["modules"], **setup["candidates"]}
    if any(name in has and name not in there for name in wanted.optional):
        return True
    return any(numbers(has[name]) > numbers(there[name]) for name in wanted.packages if name in has)


def of_cuda(found: Driver, setup: Setup) -> bool:
    """Whether the driver that is there is of NVIDIA's repository, which apt has."""
    versions = {package["version"] for package in found["evidence"]["packages"]}
    return bool(versions & {*setup["cuda"]})


def returns(gpu: Gpu, found: Driver, setup: Setup) -> bool:
    """Whether the driver came from the repository that we added, which is declared no more."""
    leaves = gpu.source == "distribution" or CUDA_SOURCES in setup["files"]
    return gpu.source != "cuda" and leaves and of_cuda(found, setup)


def elsewhere(gpu: Gpu, found: Driver, setup: Setup) -> bool:
    """Whether the driver that is there is of another source than declared."""
    source = found["flags"]["source"]
    if gpu.source is None:
        return source == "ppa" and gpu.remove_ppa
    if of_cuda(found, setup):
        return gpu.source != "cuda"
    if source == "cuda" and setup["cuda"]:
        # Its repository is there, and what is installed is not in it: unless that has left it.
        return gpu.source == "cuda" and gpu.branch in {branch_of(v) for v in setup["cuda"]}
    return source is not None and source not in SOURCES[gpu.source]
