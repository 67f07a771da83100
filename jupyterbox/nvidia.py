"""What NVIDIA says of its GPUs and drivers: what drives which, and who serves which CUDA."""

from __future__ import annotations

import re
from typing import Literal

Flavour = Literal["open", "proprietary"]

MAXWELL = 0x1340
"""The first GPU that a branch of today drives; those before it have none that builds any more."""

TURING = 0x1E02
"""The first GPU that the open modules drive: the list in open-gpu-kernel-modules starts here."""

BLACKWELL = 0x2900
"""From here on only the open modules do; the list's last one before it is 28F8, an Ada."""

GRACE = (0x2342, 0x2348)
"""Hoppers on one board with a Grace, GH200 of 96 and of 144 GB: the open modules alone drive them.

The ids are those in the README of open-gpu-kernel-modules.
"""

CUDA = {
    375: (8, 0),
    384: (9, 0),
    390: (9, 1),
    396: (9, 2),
    410: (10, 0),
    418: (10, 1),
    440: (10, 2),
    450: (11, 0),
    455: (11, 1),
    460: (11, 2),
    465: (11, 3),
    470: (11, 4),
    495: (11, 5),
    510: (11, 6),
    515: (11, 7),
    520: (11, 8),
    525: (12, 0),
    530: (12, 1),
    535: (12, 2),
    545: (12, 3),
    550: (12, 4),
    555: (12, 5),
    560: (12, 6),
    565: (12, 7),
    570: (12, 8),
    575: (12, 9),
    580: (13, 0),
    590: (13, 1),
    595: (13, 2),
    610: (13, 3),
}
"""The driver branch that each CUDA came with: the highest that it and what follows it serve.

"CUDA Toolkit and Corresponding Driver Versions" in NVIDIA's CUDA Toolkit Release Notes,
docs.nvidia.com/cuda/cuda-toolkit-release-notes; 12.7, of which there was no toolkit, and the
newest ones as nvidia-smi of these drivers says.
"""

MINOR = (11, 0)
"""From here on a driver runs every minor version of the CUDA that it serves.

docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""

WITHOUT_OLD = (13, 0)
"""Its libraries have no code for GPUs before Turing any more, as its release notes say."""

Version = tuple[int, int]


def flavours(device: str) -> list[Flavour]:
    """The flavours of the kernel module that drive a GPU, the recommended one first.

    None drives one from before Maxwell, which may be there for a display all the same.

    Args:
        device: its PCI id, `10de:2504`; they have grown with every generation.
    """
    match = re.fullmatch(r"10de:([0-9a-f]{4})", device)
    number = int(match[1], 16) if match else TURING
    if number < MAXWELL:
        return []
    if number < TURING:
        return ["proprietary"]
    return ["open"] if number >= BLACKWELL or number in GRACE else ["open", "proprietary"]


def branch(driver: str) -> int:
    """The branch of a driver, which is what its version starts with."""
    return int(driver.partition(".")[0])


def highest_cuda(driver: str) -> Version | None:
    """The highest CUDA that a driver is known to serve; `None` for one from before all these."""
    return max((cuda for first, cuda in CUDA.items() if first <= branch(driver)), default=None)


def parsed(cuda: str) -> Version | None:
    """A CUDA version, of which only the first two numbers count; `None` for what is none."""
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})\b", cuda)
    return (int(match[1]), int(match[2])) if match else None


def dotted(cuda: Version) -> str:
    """A CUDA version as people write it."""
    return f"{cuda[0]}.{cuda[1]}"


def serves(driver: str, cuda: Version) -> tuple[bool | None, str]:
    """Whether a driver runs what was built with a CUDA, and why.

    Args:
        driver: its version.
        cuda: the CUDA's.

    Returns:
        `None` for a driver and a CUDA that are both newer than what is known here.
    """
    highest = highest_cuda(driver)
    if highest and cuda <= highest:
        return True, f"driver {driver} serves CUDA {dotted(highest)} and what came before it"
    if highest and cuda[0] == highest[0] and cuda >= MINOR:
        why = f"driver {driver} serves CUDA {dotted(highest)}, and {dotted(cuda)} but for code "
        return True, why + "that is compiled for the GPU when it runs"
    first = _first_branch(cuda)
    if first is None and branch(driver) > max(CUDA):
        return None, f"which CUDA driver {driver} serves is not known here"
    needed = f"{first} or newer" if first else f"newer than {max(CUDA)}"
    return False, f"CUDA {dotted(cuda)} needs a driver {needed}, and {driver} is installed"


def _first_branch(cuda: Version) -> int | None:
    """The oldest branch that runs a CUDA."""
    if cuda >= MINOR:
        return min((first for first, known in CUDA.items() if known[0] == cuda[0]), default=None)
    return min((first for first, known in CUDA.items() if known >= cuda), default=None)
