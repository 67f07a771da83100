"""The graphics processors of a box, from the kernel's files: nothing is asked of a driver."""

import glob
import os
import re

from reading import Unreadable, read_text

DEVICES = "/sys/bus/pci/devices"
MODULES = "/sys/module"
NVIDIA = "/proc/driver/nvidia/gpus"
VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
# Display controllers, and what computes without one; servers have displays of other vendors.
CLASSES = ("0x03", "0x12")


def gpus(devices=DEVICES, modules=MODULES, nvidia=NVIDIA):
    """Those of the vendors whose can compute, in the order of their addresses."""
    found = []
    for device in sorted(glob.glob(f"{glob.escape(devices)}/*")):
        vendor = VENDORS.get(line(f"{device}/vendor"))
        if vendor is None or not (line(f"{device}/class") or "").startswith(CLASSES):
            continue
        address = os.path.basename(device)
        driver = bound(device)
        found.append(
            {
                "address": address,
                "vendor": vendor,
                "model": model(f"{nvidia}/{address}/information"),
                "id": f"{line(f'{device}/vendor')[2:]}:{(line(f'{device}/device') or '')[2:]}",
                "driver": driver,
                "driver_version": driver and line(f"{modules}/{driver}/version"),
            }
        )
    return found


def bound(device):
    """The driver that a device is bound to; None for none."""
    try:
        return os.path.basename(os.readlink(f"{device}/driver"))
    except OSError:
        return None


def model(path):
    """What NVIDIA's driver calls a GPU; None where it does not run."""
    try:
        found = re.search(r"^Model:\s*(\S.*)", read_text(path), re.MULTILINE)
    except Unreadable:
        return None
    return found[1].strip() if found else None


def line(path):
    """The first line of a file of the kernel's; None for none."""
    try:
        return read_text(path).partition("\n")[0].strip() or None
    except Unreadable:
        return None
