"""Why a box waits for a reboot: what asked for one, and the kernels that are installed."""

import os
import re

from dpkg import rank
from reading import Unreadable, entries, read_text

REQUIRED = "/run/reboot-required"
CONTAINER = "/run/systemd/container"
BOOT = "/boot"
# `6.12.48+deb13-cloud-amd64` is the version and the flavour.
KERNEL = re.compile(r"([0-9].*?)-([a-z].*)")
BUILT = re.compile(r"\bDebian (\S+) \(")


def reasons(installed, required=REQUIRED, container=CONTAINER, boot=BOOT):
    """Why a reboot is pending, a sentence each.

    Args:
        installed: dpkg's packages; None where nobody can tell.
        required: the file by which packages ask for one.
        container: is there in a container, whose kernel is its host's.
        boot: where kernels lie.
    """
    found = []
    if os.path.exists(required):
        found.append(f"{asked_by(required)} asked for it")
    if not os.path.exists(container):
        system = os.uname()
        found += newer_kernel(system.release, boot) or newer_build(
            system.release, system.version, installed
        )
    return found


def asked_by(required):
    """Which packages asked for a reboot."""
    try:
        names = read_text(f"{required}.pkgs").split()
    except Unreadable:
        names = []
    return ", ".join(dict.fromkeys(names)) or "a package"


def newer_kernel(running, boot):
    """The newest kernel that is installed, of the flavour that runs, if that is another one."""
    now = KERNEL.fullmatch(running)
    try:
        names = entries(boot)
    except Unreadable:
        names = []
    found = [KERNEL.fullmatch(name.partition("vmlinuz-")[2]) for name in names]
    same = [kernel for kernel in found if kernel and now and kernel[2] == now[2]]
    newest = max(same, key=lambda kernel: rank(kernel[1]), default=now)
    if newest is None or rank(newest[1]) <= rank(now[1]):
        return []
    return [f"kernel {newest[0]} is installed, {running} runs"]


def newer_build(running, version, installed):
    """A newer build of the kernel that runs: Debian may give it the same name."""
    built = BUILT.search(version)
    name = f"linux-image-{running}"
    there = installed and installed.versions.get((name, installed.native))
    if not built or not there or rank(there) <= rank(built[1]):
        return []
    return [f"{name} {there} is installed, {built[1]} runs"]
