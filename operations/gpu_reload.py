"""The driver's module replaced by the one that its libraries fit, without a reboot."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from facts.device_holders import DeviceHolders, Held, Holder
from facts.driver_setup import DriverSetup
from facts.gpu import Driver, NvidiaDriver
from jupyterbox.driver_choice import branch_of
from jupyterbox.program import Commands, program
from jupyterbox.settings import Gpu
from operations import gpu_care
from operations.asking import ask
from operations.gpu_plan import other_flavour, replaces
from operations.refusing import refuse

SERVICES = [
    f"{name}.service"
    for name in ("nvidia-persistenced", "nvidia-dcgm", "dcgm", "nvidia-fabricmanager")
]
"""What holds the GPU on nobody's behalf: stopped while the driver is reloaded."""

LOAD = f"modprobe nvidia && {gpu_care.LOAD_UVM}"

UNIT = "jupyterbox-gpu-reload"
UNDO = f"/run/{UNIT}"

# In a unit of its own it outlives the connection, and is not started twice at a time; should it be
# killed, systemd puts back what it took, and starts it anew.
DETACHED = (
    f"! systemctl is-active -q {UNIT} || {{ echo 'A reload of the driver is under way: see "
    f"`journalctl -u {UNIT}`.' >&2; exit 1; }}; "
    f"systemd-run --quiet --wait --pipe --collect --unit={UNIT} "
    "--description='reload of the GPU driver' -p Restart=on-abnormal -p TimeoutStopSec=15min "
    f"""-p 'ExecStopPost=-/bin/sh -c "[ ! -e {UNDO} ] || exec /bin/sh {UNDO}"'"""
)


@operation()
def reload(later: bool = False, gpu: Gpu | None = None) -> Commands:
    """Bring module and libraries together without a reboot, where nothing holds the GPU.

    Refuses where something does, and says what. What it stops, it starts again, whatever happens.

    + later: leave it to a reboot where it is the kernel itself that holds the module, or where the
      driver works as it is
    + gpu: the driver that is declared, where this run installs it before
    """
    found = ask(NvidiaDriver)
    if gpu and replaces(found) and gpu_care.comes(gpu, found, ask(DriverSetup)):
        # Planned before there is anything to see of it.
        found["kind"] = "reload_cures" if another(gpu, found) else found["kind"]
    if found["kind"] not in ("reload_cures", "other_flavour"):
        host.noop(f"no reload is needed, or none would help: {found['cure']}")
        return
    held = host.get_fact(DeviceHolders)
    holds = others(held) or held["kernel"]
    if later and holds and (found["state"] == "healthy" or not others(held)):
        host.noop(in_use(held))
        return
    if holds:
        yield from refuse([in_use(held)])
        return
    yield StringCommand(DETACHED, program("reload_driver", services=SERVICES, undo=UNDO))
    found = host.get_fact(NvidiaDriver)
    if found["state"] != "healthy":
        yield from refuse([p["problem"] for p in found["problems"]])


def another(gpu: Gpu, found: Driver) -> bool:
    """Whether a declared driver is another than the one that is there."""
    version = found["evidence"]["userspace"]
    other = version is not None and branch_of(version) != gpu.branch
    return other or found["kind"] == "wrong_flavour" or other_flavour(gpu, found)


def others(held: Held) -> list[Holder]:
    """Those processes that are not stopped with a reload."""
    return [holder for holder in held["processes"] if holder["unit"] not in SERVICES]


def in_use(held: Held) -> str:
    """What is in the way of a reload, and what to do."""
    cure = "plan a reboot" if held["kernel"] else "stop that, or plan a reboot"
    return f"the GPU is held by {named(held, held['kernel'])}: {cure} (tasks/reboot.py)."


def named(held: Held, besides: Iterable[str] = ()) -> str:
    """The processes that hold the GPU, and what else does, as a part of a sentence."""
    processes = others(held)
    shown = [
        f"process {holder['pid']} ({holder['name']}) of {holder['user'] or 'nobody known'}"
        + (f" in {holder['server']}" if holder["server"] else "")
        for holder in processes[:5]
    ]
    if processes[5:]:
        shown.append(f"{len(processes) - 5} more")
    *before, last = [*shown, *besides]
    return f"{', '.join(before)} and {last}" if before else last
