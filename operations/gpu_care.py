"""What keeps a driver working: nothing beside it, nothing that splits it, all of it loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand

from facts.driver_evidence import PREBUILT, together
from facts.driver_setup import (
    BLACKLIST,
    GUARD,
    PERSISTENCE,
    UVM,
    UVM_NODE,
    DriverSetup,
    Persistenced,
    Setup,
)
from facts.gpu import Driver, NvidiaDriver
from jupyterbox.driver_choice import Unavailable
from jupyterbox.driver_packages import DKMS, held_with, switches
from jupyterbox.program import Commands
from jupyterbox.settings import Gpu
from operations.asking import ask
from operations.gpu_archive import written
from operations.gpu_plan import NOT_OURS, due, system_of
from operations.journal import noting
from operations.packages import OURS

DRIVERS = ["nvidia-", "libnvidia-", "libcuda", "cuda-drivers", "firmware-nvidia"]
DRIVERS += ["xserver-xorg-video-nvidia"]
KERNELS = ["linux-modules", "linux-objects", "linux-signatures", "linux-image", "linux-headers"]
KERNELS += ["linux-generic"]
"""What unattended-upgrades leaves alone: names that start so."""

# On Debian, the module alone makes no device node.
LOAD_UVM = (
    "modprobe nvidia_uvm && "
    "{ command -v nvidia-modprobe >/dev/null && nvidia-modprobe -c 0 -u || :; }"
)
NODE = (
    f'{OURS}\nACTION=="add", SUBSYSTEM=="module", KERNEL=="nvidia_uvm", '
    'TEST=="/usr/bin/nvidia-modprobe", RUN+="/usr/bin/nvidia-modprobe -c 0 -u"\n'
)

UNIT = "nvidia-persistenced.service"
WANTED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
FABRIC_UNIT = "nvidia-fabricmanager.service"
BLACKLISTED = f"""\
{OURS}
blacklist nouveau
blacklist nova_core
blacklist nova_drm
options nouveau modeset=0
"""


@operation()
def alone() -> Commands:
    """Keep nouveau and nova_core off a GPU that they drive now; a reboot takes them off it."""
    found = ask(NvidiaDriver)
    if found["state"] != "foreign_driver" and found["kind"] not in ("nouveau", "nova_core"):
        host.noop("no other driver is in the way")
        return
    setup = ask(DriverSetup)
    commands = list(written(BLACKLIST, BLACKLISTED, setup))
    yield from commands
    if commands or setup["stale"]:
        # It is the image in /boot that would load them.
        yield "update-initramfs -u -k all"
    else:
        host.noop("nouveau and nova_core are blacklisted: the next boot is without them")


@operation()
def guarded() -> Commands:
    """Hold all that must only move at once, and keep unattended-upgrades from it.

    `apt upgrade` and `dist-upgrade` split module and libraries, or bring a kernel without a module,
    unless driver, modules and, where modules are made for one kernel each, kernels are held.
    """
    found = ask(NvidiaDriver)
    if found["state"] in ("no_hardware", "passthrough") or found["flags"]["source"] == "runfile":
        host.noop("there is no driver of a package's to guard")
        return
    setup = ask(DriverSetup)
    commands = [*written(GUARD, blacklist(found, setup), setup)]
    broken = found["flags"]["next_boot_broken"]
    if broken:
        # Held, they would stay as they do not fit.
        host.noop("nothing is held anew: the kernel that boots next has no module that fits")
    else:
        commands += holds(found, setup)
    yield from commands
    if not commands and not broken:
        host.noop("module and libraries are guarded")


def prebuilt(found: Driver, setup: Setup) -> bool:
    """Whether modules are made for one kernel each, or will be."""
    names = [package["name"] for package in found["evidence"]["packages"]]
    if any(DKMS.fullmatch(name) for name in names):
        return False
    return setup["os"] == "ubuntu" or any(PREBUILT.fullmatch(name) for name in names)


def blacklist(found: Driver, setup: Setup) -> str:
    """What unattended-upgrades leaves alone, as a file of apt's."""
    names = [*DRIVERS, *(KERNELS if prebuilt(found, setup) else [])]
    lines = "\n".join(f'  "{name}";' for name in names)
    return (
        "// Written by Jupyterbox: these move together alone, and with a reboot; see\n"
        "// docs/settings.md.\n"
        f"Unattended-Upgrade::Package-Blacklist {{\n{lines}\n}};\n"
    )


def holds(found: Driver, setup: Setup) -> Iterator[str | PyinfraCommand]:
    """Hold what is not held yet."""
    held = {p["name"]: p["held"] for p in together(found["evidence"]["packages"])}
    if any(PREBUILT.fullmatch(name) for name in held):
        names = held_with(system_of(setup), setup["linux"])
        held |= {name: setup["linux"][name] for name in names}
    free = sorted(name for name, is_held in held.items() if not is_held)
    if free:
        yield noting("hold", *free)
        yield f"apt-mark hold {' '.join(free)}"


@operation()
def uvm() -> Commands:
    """Have what CUDA needs there before the first notebook starts: a notebook can do nothing of it.

    That is the module for it with its device node, and between NVSwitches their daemon.
    """
    found = ask(NvidiaDriver)
    if found["state"] in ("no_hardware", "passthrough"):
        host.noop(found["cure"])
        return
    setup = ask(DriverSetup)
    commands: list[str | PyinfraCommand] = [*written(UVM_NODE, NODE, setup)]
    commands += written(UVM, f"{OURS}\nnvidia-uvm\n", setup)
    if found["state"] == "healthy" and found["flags"]["uvm_missing"]:
        commands.append(LOAD_UVM)
    commands += fabric(found, setup)
    yield from commands
    if not commands:
        host.noop("what CUDA needs is started at boot")


def fabric(found: Driver, setup: Setup) -> Iterator[str]:
    """Have the fabric manager started at boot, and now where the driver is in order."""
    daemon = setup["fabric"]
    if not daemon["there"] or not switches(found["evidence"]):
        return
    if not daemon["wanted"]:
        yield f"systemctl enable {FABRIC_UNIT}"
    if found["state"] == "healthy" and not daemon["runs"]:
        yield f"systemctl start {FABRIC_UNIT}"


@operation()
def persistence(gpu: Gpu) -> Commands:
    """Have the daemon keep the GPU initialized; Ubuntu's is told not to.

    It starts with the box, and now where the driver is in order. What was told so before, and shall
    not any more, is as its package has it.

    + gpu: the driver that is declared, whose packages bring the daemon
    """
    found = ask(NvidiaDriver)
    if found["state"] in NOT_OURS:
        host.noop(found["cure"])
        return
    setup = ask(DriverSetup)
    if gpu.persistence and not setup["persistenced"]["command"] and comes(gpu, found, setup):
        # Planned before there is anything to see of it.
        setup["persistenced"]["command"] = f"/usr/bin/{UNIT.removesuffix('.service')}"
    commands = list(kept(found, setup) if gpu.persistence else released(found, setup))
    yield from commands
    if not commands:
        host.noop("the GPU is kept initialized as it is declared, as far as there is a daemon")


def comes(gpu: Gpu, found: Driver, setup: Setup) -> bool:
    """Whether the run that is planned installs the driver before this."""
    try:
        return not host.state.is_executing and due(gpu, found, setup) is not None
    except Unavailable:
        return False


def kept(found: Driver, setup: Setup) -> Iterator[str | PyinfraCommand]:
    """Have the daemon, where there is one, keep the GPU initialized."""
    daemon = setup["persistenced"]
    if not daemon["command"]:
        return
    commands = list(written(PERSISTENCE, drop_in(daemon), setup))
    if not daemon["wanted"]:
        commands.append(noting("file", WANTED))
        commands.append(f"systemctl add-wants multi-user.target {UNIT}")
    yield from commands
    if found["state"] == "healthy" and (
        commands or "--persistence-mode" not in (daemon["runs"] or "")
    ):
        yield f"systemctl daemon-reload && systemctl restart {UNIT}"


def released(found: Driver, setup: Setup) -> Iterator[str | PyinfraCommand]:
    """Take back what an earlier deploy told the daemon."""
    if PERSISTENCE not in setup["files"]:
        return
    yield f"rm -f {WANTED}"
    if found["state"] == "healthy":
        # The drop-in last: while it is there, the next run goes on with this.
        yield (f"rm {PERSISTENCE} && systemctl daemon-reload && systemctl try-restart {UNIT}")
    else:
        yield f"rm {PERSISTENCE} && systemctl daemon-reload"


def drop_in(daemon: Persistenced) -> str:
    """The daemon's own command, with persistence; udev shall not stop it."""
    command = re.sub(r" --(no-)?persistence-mode", "", daemon["command"] or "")
    return (
        f"{OURS}\n[Unit]\nStopWhenUnneeded=no\n\n"
        f"[Service]\nExecStart=\nExecStart={command} --persistence-mode\n"
    )
