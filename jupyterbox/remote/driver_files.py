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
