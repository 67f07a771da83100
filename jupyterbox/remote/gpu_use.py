"""Print what NVIDIA's GPUs do as JSON: memory, load, MIG, and who computes on them.

nvidia-smi is asked only while a module is loaded that the libraries belong to: else it would load
one, or say no more than that they differ.
"""

import os
import pwd
import re
import shutil
import time

from answering import answer
from cgroups import content
from driver_files import loaded, nvidia_gpus, userspace
from reading import Unreadable, read_text
from smi import (
    LIST,
    REPORT,
    TABLE,
    TIMEOUT,
    address_of,
    ask_smi,
    gpu_of,
    instances_of,
    lost_by,
    parts_of,
    rows_of,
)

INFORMATION = "/proc/driver/nvidia/gpus/{}/information"
CONFIG = "/sys/bus/pci/devices/{}/config"
UUID = re.compile(r"^GPU UUID:\s*(GPU-[0-9a-f-]+)", re.MULTILINE)
SERVER = re.compile(r"/(jupyter-[^/]+-singleuser\.service)(?:/|$)", re.MULTILINE)


def state():
    """Every GPU that the driver drives, and what nvidia-smi said besides; None if nothing."""
    gpus = {
        gpu["address"]: before_asking(gpu) for gpu in nvidia_gpus() if gpu["driver"] == "nvidia"
    }
    reason = why_not(gpus)
    said = [] if reason else ask(gpus)
    return {
        "gpus": [{"address": address, **gpu} for address, gpu in sorted(gpus.items())],
        "not_asked": reason,
        "said": said,
    }


def before_asking(gpu):
    """What files tell of a GPU; one that has fallen off the bus reads as nothing but ones."""
    try:
        uuid = UUID.search(read_text(INFORMATION.format(gpu["address"])))
    except Unreadable:
        uuid = None
    return {
        **gpu_of({}),
        "uuid": uuid and uuid[1],
        "model": gpu["model"],
        "lost": config(gpu["address"]) == b"\xff\xff",
    }


def config(address):
    """What the configuration of a PCI device starts with: its vendor."""
    try:
        with open(CONFIG.format(address), "rb") as file:
            return file.read(2)
    except OSError:
        return b""


def why_not(gpus):
    """Why nvidia-smi is not asked, as a part of a sentence; None where it is."""
    module, libraries = loaded(), userspace()
    if not gpus:
        return "NVIDIA's driver drives no GPU here"
    if module is None or libraries != module:
        return f"module {module or '(none)'} is loaded, and the libraries are {libraries or 'none'}"
    if not shutil.which("nvidia-smi"):
        return "nvidia-smi is not installed"
    return next((f"process {pid}, an earlier nvidia-smi, hangs" for pid in hanging()), None)


def hanging(proc="/proc"):
    """The processes of nvidia-smi that have waited for the driver longer than one may."""
    now, ticks = time.clock_gettime(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK")
    for pid in filter(str.isdigit, os.listdir(proc)):
        name, _, fields = content(f"{proc}/{pid}/stat").partition("(")[2].rpartition(")")
        if name == "nvidia-smi" and fields.startswith(" D "):
            age = now - int(fields.split()[19]) / ticks
            if age > TIMEOUT:
                yield pid


def ask(gpus):
    """Put into some GPUs what nvidia-smi says of them; what it says besides, None if nothing."""
    table, report = ask_smi(TABLE, REPORT)
    if table is None:
        return None
    rows, others = rows_of(table)
    answered = {address_of(row.get("pci.bus_id", "")): gpu_of(row) for row in rows}
    answered.pop(None, None)
    lost = lost_by(others) | {address for address, gpu in gpus.items() if gpu["lost"]}
    if answered:
        lost |= gpus.keys() - answered.keys()
    parts = parts_of(report or "")
    for address, gpu in answered.items():
        gpus[address] = {**gpu, **parts.get(address, {})}
        for process in gpus[address]["processes"]:
            process.update(holder(process["pid"]))
    for address in lost & gpus.keys():
        gpus[address]["lost"] = True
    if any(gpu["instances"] for gpu in gpus.values()):
        name_instances(gpus.values())
    return others


def name_instances(gpus):
    """Give MIG's instances the names that the list has for them."""
    names = instances_of(ask_smi(LIST)[0] or "")
    for gpu in gpus:
        for instance in gpu["instances"]:
            instance.update(names.get(gpu["uuid"], {}).get(instance["index"], {}))


def holder(pid, proc="/proc"):
    """Whose process it is, and the unit of the notebook server that it belongs to."""
    user = None
    try:
        uid = os.stat(f"{proc}/{pid}").st_uid
        user = str(uid)
        user = pwd.getpwuid(uid).pw_name
    except (OSError, KeyError):
        pass
    server = SERVER.search(content(f"{proc}/{pid}/cgroup"))
    return {"user": user, "server": server and server[1]}


if __name__ == "__main__":
    answer(state())
