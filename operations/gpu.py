"""NVIDIA's driver: installed in one step, kept whole, and loaded."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import FunctionCommand, PyinfraCommand

from facts.driver_setup import DriverSetup, Setup
from facts.gpu import Driver, NvidiaDriver
from jupyterbox.driver_packages import (
    Choice,
    Transaction,
    Unavailable,
    branch_of,
    choose,
    transaction,
)
from jupyterbox.driver_states import FOREIGN, gpus
from jupyterbox.nvidia import Flavour
from jupyterbox.program import Commands, showing_progress
from jupyterbox.settings import Box, Gpu
from operations import gpu_archive, gpu_care
from operations.gpu_archive import system_of
from operations.gpu_reload import LOAD, reload
from operations.packages import READY
from operations.refusing import refuse

NOT_OURS = ("no_hardware", "passthrough")
"""States of boxes that get no driver."""

SOURCES = {"distribution": ("ubuntu", "debian"), "cuda": ("cuda",)}
"""What the fact calls the sources of the settings."""

APT = (
    "export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l; "
    "apt='apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef "
    "-o Dpkg::Options::=--force-confold --no-install-recommends --allow-change-held-packages "
    "--allow-downgrades install'; "
)

MAKE_LOG = "/var/log/jupyterbox-nvidia-make.log"

# Half configured, it would be in the way of everything that apt does on the box from then on.
REMOVE = (
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -y -qq "
    "-o DPkg::Lock::Timeout=300 --allow-change-held-packages remove {module} >/dev/null 2>&1"
)
UNBUILT = (
    "case $(dpkg-query -W -f '${{db:Status-Status}}' {module} 2>/dev/null) in "
    "half-configured | unpacked) cat /var/lib/dkms/nvidia*/*/build/make.log >{log} 2>/dev/null; "
    f"grep -m 3 -h 'error:' {{log}} >&2; {REMOVE}; "
    "echo '{module} was not installed: does it build for every kernel? See {log}.' >&2 ;; esac; "
    "exit 1"
)

# What an earlier run left like that; READY would build it, and fail, thirty times.
CLEARED = (
    "for module in $(dpkg-query -W -f '${db:Status-Status} ${Package}\\n' 'nvidia-*dkms*' "
    "2>/dev/null | sed -nE '/-no-dkms/d; s/^(half-configured|unpacked) //p'); do "
    f"{REMOVE.format(module='$module')}; done; :"
)


@deploy("GPU")
def install(box: Box) -> None:
    """The driver that is declared, guarded against upgrades that would split it; or nothing."""
    gpu = box.gpu
    if gpu is None or gpu.ignore:
        return
    if gpu.remove_ppa:
        gpu_archive.ppa_removed(name="Take the PPA graphics-drivers off the box")
    gpu_archive.declared(
        name="Let apt have the driver, of its branch alone",
        source=gpu.source,
        branch=gpu.branch,
        mirrors=box.mirrors,
    )
    gpu_care.alone(name="Keep other drivers off the GPU")
    driver(
        name=f"Install driver {gpu.branch}",
        branch=gpu.branch,
        flavour=gpu.flavour,
        source=gpu.source,
        remove_ppa=gpu.remove_ppa,
    )
    gpu_care.guarded(name="Guard module and libraries against being upgraded apart")
    reload(name="Reload the driver, if another one runs", later=True)
    gpu_care.uvm(name="Load the module for CUDA at boot")
    if gpu.persistence:
        gpu_care.persistence(name="Keep the GPU initialized")


@operation()
def driver(
    branch: str = "580",
    flavour: Flavour | None = None,
    source: str | None = None,
    remove_ppa: bool = False,
) -> Commands:
    """Install the packages of a driver in one step, and load it where nothing else has the GPU.

    + branch: what its version starts with
    + flavour: `open` or `proprietary`; by default what the GPUs need
    + source: `distribution` or `cuda`; by default the distribution
    + remove_ppa: replace one that is from the PPA graphics-drivers
    """
    gpu = Gpu.model_validate(
        {"branch": branch, "flavour": flavour, "source": source, "remove_ppa": remove_ppa}
    )
    found = host.get_fact(NvidiaDriver)
    if found["state"] in NOT_OURS:
        host.noop(found["cure"])
        return
    try:
        setup = host.get_fact(DriverSetup)
        wanted = planned(gpu, found, setup)
    except Unavailable as error:
        yield from refuse([f"{error}."])
        return
    installs = must_install(gpu, found, wanted, setup["headers"])
    if installs:
        yield from installation(wanted)
        found = host.get_fact(NvidiaDriver)
    if may_load(found):
        yield LOAD
    elif not installs:
        host.noop(f"driver {found['evidence']['userspace']} is installed ({found['state']})")


def planned(gpu: Gpu, found: Driver, setup: Setup) -> Transaction:
    """What apt shall do for a declared driver.

    Raises:
        Unavailable: it cannot be had for this box.
    """
    system, evidence = system_of(setup), found["evidence"]
    choice: Choice = choose(gpu.branch, gpu.flavour, gpu.source, system, evidence)
    return transaction(choice, system, evidence)


def must_install(gpu: Gpu, found: Driver, wanted: Transaction, headers: bool) -> bool:
    """Whether packages must be installed for a declared driver.

    One that is there in its branch stays as somebody installed it, unless what is missing of its
    packages is why it does not work.
    """
    evidence, flags = found["evidence"], found["flags"]
    version = evidence["userspace"]
    if found["state"] == "no_driver" or version is None or branch_of(version) != gpu.branch:
        return True
    names = {package["name"] for package in evidence["packages"]}
    there = {*wanted.packages} <= names
    installed = evidence["flavour_on_disk"] or evidence["flavour"]
    other = gpu.flavour is not None and installed not in (None, gpu.flavour)
    # Once they are there alone, only the module that runs is of another flavour, until a reboot.
    if (found["kind"] == "wrong_flavour" or other) and (wanted.without or not there):
        return True
    if found["kind"] == "not_built":
        # Once more, it would not build either.
        return False
    if there:
        return found["kind"] == "no_headers" and headers
    broken = found["state"] == "module_missing" or flags["next_boot_broken"] is True
    return broken or found["kind"] in ("neither_cures", "secure_boot") or elsewhere(gpu, found)


def elsewhere(gpu: Gpu, found: Driver) -> bool:
    """Whether the driver that is there is of another source than declared."""
    source = found["flags"]["source"]
    if gpu.source is None:
        return source == "ppa" and gpu.remove_ppa
    return source is not None and source not in SOURCES[gpu.source]


def installation(wanted: Transaction) -> Iterator[str | PyinfraCommand]:
    """Have apt do it, once nobody else is at it."""
    yield CLEARED
    yield READY
    if wanted.first:
        yield step(wanted.first)
        yield step(wanted, UNBUILT.format(module=wanted.packages[0], log=MAKE_LOG))
    else:
        yield step(wanted)


def step(wanted: Transaction, failed: str = "exit 1") -> FunctionCommand:
    """The command for one transaction: apt is first asked which of the optional packages fit.

    + failed: what to do where it fails
    """
    names = " ".join([*wanted.packages, *(f"{name}-" for name in wanted.without)])
    fit = "".join(
        f'$apt -qq -s {names} $fit {name} >/dev/null 2>&1 && fit="$fit {name}"; '
        for name in wanted.optional
    )
    return showing_progress(f"{APT}fit=; {fit}$apt {names} $fit || {{ {failed}; }}")


def may_load(found: Driver) -> bool:
    """Whether the driver is there, not loaded, and nothing speaks against that."""
    free = all(device["driver"] not in FOREIGN for device in gpus(found["evidence"]))
    return found["state"] == "not_loaded" and found["kind"] is None and free
