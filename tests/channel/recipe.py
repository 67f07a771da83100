"""What the channel holds and for which machine: the choices, without the making."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from .common import ChannelError

HERE = Path(__file__).parent
CHANNEL = "conda-forge"
# The address that packages of an installed Miniforge carry in their records.
CHANNEL_HOME = "https://conda.anaconda.org/conda-forge"
INSTALLER_DIR = "installer"

PYTHON_MINOR = "3.11"
PYTHON_TAG = "py311"
ABI_TAG = "cp311"
# The Debian release whose python3 is PYTHON_MINOR. Its glibc (2.36) is the oldest that a box has.
DEBIAN_SUITE = "bookworm"
DEBIAN_MIRROR = "http://deb.debian.org/debian"

# What real conda the stand-in speaks like: the one that tests/recorded/conda was recorded from.
CONDA_VERSION = "26.7.1"

# One date for every file and record: the same inputs then make the same bytes.
TIMESTAMP = 1_760_000_000


@dataclass(frozen=True)
class Machine:
    """One kind of machine by the names that conda, Debian, uv and the compilers give it."""

    conda: str
    debian: str
    uv: str
    arch: str
    triplet: str

    @property
    def wheel_platform(self) -> str:
        """The platform name for `uv --python-platform`."""
        return f"{self.uv}-manylinux_2_28"


_MACHINES = {
    "x86_64": Machine("linux-64", "amd64", "x86_64", "x86_64", "x86_64-linux-gnu"),
    "aarch64": Machine("linux-aarch64", "arm64", "aarch64", "aarch64", "aarch64-linux-gnu"),
}


def this_machine() -> Machine:
    """The kind of machine this is: boxes on it have the same.

    Raises:
        ChannelError: neither x86_64 nor aarch64.
    """
    try:
        return _MACHINES[platform.machine()]
    except KeyError:
        raise ChannelError(
            f"the local channel can be built on {' and '.join(_MACHINES)} only,"
            f" this machine is {platform.machine()}."
        ) from None


def _hash(files: list[Path], *words: str) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for file in sorted(files):
        digest.update(str(file.relative_to(HERE)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _sources() -> list[Path]:
    found = (file for file in HERE.rglob("*") if file.is_file())
    return [file for file in found if "__pycache__" not in file.parts]


def key(machine: Machine) -> str:
    """What the whole result is known by: changes with anything that the build reads."""
    return _hash(_sources(), machine.conda)


def packages_key(machine: Machine) -> str:
    """What the channel's packages are known by: changes to the stand-in leave them as they are."""
    apart = {"__main__.py", "build.py", "installer.py", "server.py", "base.txt"}
    sources = [
        file
        for file in _sources()
        if "standin" not in file.relative_to(HERE).parts and file.name not in apart
    ]
    return _hash(sources, machine.conda)
