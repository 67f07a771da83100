"""NVIDIA's driver: installed in one step, kept whole, and loaded."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy, operation

from facts.device_holders import DeviceHolders
from facts.driver_setup import DriverSetup
from facts.gpu import Driver, NvidiaDriver
from jupyterbox.driver_choice import Unavailable
from jupyterbox.driver_packages import Transaction
from jupyterbox.driver_states import FOREIGN, gpus
from jupyterbox.nvidia import Flavour
from jupyterbox.program import Commands
from jupyterbox.settings import Box, Gpu
from operations import gpu_archive, gpu_care
from operations.asking import ask
from operations.gpu_apt import installation, preparation
from operations.gpu_plan import NOT_OURS, due, replaces
from operations.gpu_reload import LOAD, in_use, others, reload
from operations.journal import noting
from operations.refusing import refuse


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
    reload(name="Reload the driver, if another one runs", later=True, gpu=gpu)
    gpu_care.uvm(name="Start at boot what CUDA needs")
    gpu_care.persistence(
        name="Keep the GPU initialized" if gpu.persistence else "Let the GPU rest", gpu=gpu
    )


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
    found = ask(NvidiaDriver)
    if found["state"] in NOT_OURS:
        host.noop(found["cure"])
        return
    setup = ask(DriverSetup)
    try:
        installs = due(gpu, found, setup)
    except Unavailable as error:
        yield from refuse([f"{error}."])
        return
    if installs:
        why, wanted = installs
        if held := in_use_by_others(found):
            if why == "split" and found["state"] == "healthy":
                host.noop(f"the next boot breaks the driver; it is mended later: {held}")
            else:
                yield from refuse([held])
            return
        yield from installed(wanted, found)
        found = host.get_fact(NvidiaDriver)
    left = list(gpu_archive.left(source, found, setup))
    yield from left
    if may_load(found):
        yield LOAD
    elif not installs and not left:
        host.noop(f"driver {found['evidence']['userspace']} is installed ({found['state']})")


def installed(wanted: Transaction, found: Driver) -> Commands:
    """Install packages, unless somebody has begun to compute while apt got ready.

    + wanted: the packages
    + found: the driver that is there before
    """
    names = {package["name"] for package in found["evidence"]["packages"]}
    yield noting("package", *(name for name in wanted.packages if name not in names))
    yield from preparation(wanted)
    if held := in_use_by_others(found):
        yield from refuse([held])
        return
    yield installation(wanted)


def may_load(found: Driver) -> bool:
    """Whether the driver is there, not loaded, and nothing speaks against that."""
    evidence = found["evidence"]
    free = all(device["driver"] not in FOREIGN for device in gpus(evidence))
    fits = evidence["on_disk"] is not None and evidence["on_disk"] == evidence["userspace"]
    return found["state"] == "not_loaded" and found["kind"] is None and free and fits


def in_use_by_others(found: Driver) -> str:
    """Who computes with what is loaded, in a sentence; nothing where nobody does."""
    if not replaces(found):
        return ""
    held = host.get_fact(DeviceHolders)
    return in_use(held) if others(held) else ""
