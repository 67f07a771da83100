"""What files tell of NVIDIA's driver, and which GPUs it drives: nothing is asked of it."""

import os
import re
import shutil

from gpus import gpus, line
from units import said

# These drivers keep a device for virtual machines.
PASSTHROUGH = {"vfio-pci", "pci-stub", "nvgrace-gpu-vfio-pci", "pciback"}
LOADED = "/sys/module/nvidia/version"
LIBRARY = re.compile(r"^\s*lib(nvidia-ml|cuda)\.so\.1 .*=> (.*)", re.MULTILINE)
VERSION = re.compile(r"\.so\.([0-9]{3}\.[0-9.]*[0-9])$")


# The first GPU that a driver of today drives; an older one may be there for a display.
MAXWELL = 0x1340


def for_cuda(driver):
    """The GPUs that notebooks shall compute on: none that virtual machines have.

    Args:
        driver: `ignored`, `declared`, or `found`: then one that is not installed is not missed.
    """
    if driver == "ignored" or (driver == "found" and not (loaded() or userspace())):
        return []
    return [gpu for gpu in nvidia_gpus() if gpu["driver"] not in PASSTHROUGH]


def undriven(gpus):
    """The GPUs that NVIDIA's driver does not drive, by their addresses, each with what does.

    Beside one that it drives, another driver's, or one that is too old, is as somebody wants it.
    """
    others = [gpu for gpu in gpus if gpu["driver"] != "nvidia"]
    if len(others) < len(gpus):
        others = [gpu for gpu in others if gpu["driver"] is None and not too_old(gpu["id"])]
    return {gpu["address"]: gpu["driver"] for gpu in others}


def too_old(device):
    """Whether no driver of today drives a GPU, told from its PCI id, `10de:2504`."""
    return int(device.partition(":")[2] or "ffff", 16) < MAXWELL


def nvidia_gpus():
    """Those of NVIDIA's that are on the PCI bus."""
    return [gpu for gpu in gpus() if gpu["vendor"] == "NVIDIA"]


def loaded():
    """The version of the module that runs; None where none does."""
    return line(LOADED)


def userspace():
    """The version of the libraries that programs load: NVML's, else CUDA's; None for none."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = dict(reversed(LIBRARY.findall(said([shutil.which("ldconfig", path=path) or "", "-p"]))))
    for name in ("nvidia-ml", "cuda"):
        version = VERSION.search(os.path.realpath(found.get(name, "")))
        if version:
            return version[1]
    return None
