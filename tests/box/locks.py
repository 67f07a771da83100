"""Locks of the hub that differ from this repository's in a package."""

from __future__ import annotations

import shutil
from pathlib import Path

from jupyterbox.settings import Hub

OLDER_HUB = """\
jupyterhub==5.4.0 \\
    --hash=sha256:5c59ba5d4266731c0b7fae8044ce100fe0089bed75aa9772627915fd93c28be4
"""
"""Its database has an older schema than JupyterHub 6's; of packages it needs no other ones."""


def lock_with(directory: Path, package: str, pin: str = "") -> Path:
    """Make a copy of the lock that has another version of a package.

    Args:
        directory: where it shall be; it is made.
        package: its name.
        pin: its lines in a requirements file; without, it is left out.
    """
    shutil.copytree(Hub().lock, directory)
    requirements = directory / "requirements.txt"
    lines = requirements.read_text().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{package}=="))
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
    requirements.write_text("".join([*lines[:start], pin, *lines[end:]]))
    return directory
