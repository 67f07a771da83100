"""The driver's module replaced by the one that its libraries fit, without a reboot."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from facts.device_holders import DeviceHolders, Holder
from facts.gpu import NvidiaDriver
from jupyterbox.program import Commands
from operations import gpu_care
from operations.refusing import refuse

SERVICES = [
    f"{name}.service"
    for name in ("nvidia-persistenced", "nvidia-dcgm", "dcgm", "nvidia-fabricmanager")
]
"""What holds the GPU on nobody's behalf: stopped while the driver is reloaded."""

LOAD = f"modprobe nvidia && {gpu_care.LOAD_UVM}"

RELOAD = """\
for module in nvidia_uvm nvidia_drm nvidia_modeset nvidia_peermem nvidia; do
  [ ! -d /sys/module/$module ] || modprobe -r $module || exit 1
done"""


@operation()
def reload() -> Commands:
    """Bring module and libraries together without a reboot, where nothing holds the GPU.

    Refuses where something does, and says what.
    """
    found = host.get_fact(NvidiaDriver)
    if found["kind"] != "reload_cures":
        host.noop(f"no reload is needed, or none would help: {found['cure']}")
        return
    holding = others(host.get_fact(DeviceHolders))
    if holding:
        yield from refuse([in_use(holding)])
        return
    services = " ".join(SERVICES)
    yield f"systemctl stop {services} 2>/dev/null; :"
    yield RELOAD
    yield LOAD
    # Those of them alone that start at boot: the others were somebody's to start.
    yield f"systemctl start $(systemctl list-unit-files --state=enabled {services} --no-legend "
    "| cut -d' ' -f1); :"
    found = host.get_fact(NvidiaDriver)
    if found["state"] != "healthy":
        yield from refuse([p["problem"] for p in found["problems"]])


def others(holders: list[Holder]) -> list[Holder]:
    """Those that are not stopped with a reload."""
    return [holder for holder in holders if holder["unit"] not in SERVICES]


def in_use(holders: list[Holder]) -> str:
    """What is in the way of a reload, and what to do."""
    shown = [
        f"process {holder['pid']} ({holder['name']}) of {holder['user'] or 'nobody known'}"
        + (f" in {holder['server']}" if holder["server"] else "")
        for holder in holders[:5]
    ]
    more = f", and {len(holders) - len(shown)} more" if holders[5:] else ""
    return (
        f"the GPU is held by {', '.join(shown)}{more}: stop that, or plan a reboot "
        "(tasks/reboot.py)."
    )
