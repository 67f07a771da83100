"""The stand-in installer: a self-extracting script that behaves like Miniforge's."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from . import condapkg, wheels
from .condapkg import PLACEHOLDER, Entry, Package
from .recipe import (
    CHANNEL,
    CHANNEL_HOME,
    CONDA_VERSION,
    HERE,
    INSTALLER_DIR,
    PYTHON_MINOR,
    TIMESTAMP,
    Machine,
)

_SHELL_FILES = {
    "bin/activate": ("activate", True),
    "bin/conda": ("conda", True),
    "bin/deactivate": ("deactivate", True),
    "condabin/conda": ("conda", True),
    "etc/profile.d/conda.sh": ("conda.sh", False),
}


def conda_package(machine: Machine) -> Package:
    """The stand-in `conda` as a package of the base environment.

    Args:
        machine: for which kind of machine.
    """
    standin = HERE / "standin"
    site = f"lib/python{PYTHON_MINOR}/site-packages/conda_standin"
    files = [Entry(f"{site}/{file.name}", file) for file in sorted(standin.glob("*.py"))]
    for path, (name, executable) in _SHELL_FILES.items():
        text = (standin / "shell" / name).read_text().replace("@PREFIX@", PLACEHOLDER)
        files.append(Entry(path, text.encode(), executable=executable, placeholder=True))
    return Package(
        "conda",
        CONDA_VERSION,
        "standin_0",
        machine.conda,
        depends=("py-rattler", f"python {PYTHON_MINOR}.*", "pyyaml"),
        files=tuple(files),
        license="BSD-3-Clause",
        summary="A stand-in for conda, for tests",
        arch=machine.arch,
    )


def _base_packages(work: Path, result: Path, machine: Machine) -> list[Path]:
    """The base environment's packages as files: the channel's own, and those only it holds."""
    channel = result / CHANNEL
    files = [
        found
        for pattern in ("python-3*", "python_abi-*", "pip-*")
        for found in sorted(channel.glob(f"*/{pattern}.conda"))
    ]
    have = {file.name.rsplit("-", 2)[0] for file in files}
    wheels.fetch(HERE / "base.txt", work / "wheels", machine)
    made = [conda_package(machine), *wheels.packages(work / "wheels", machine)]
    for package in made:
        if package.name not in have:
            files.append(condapkg.write(package, work / "packages" / package.subdir))
    return files


def _payload(files: Sequence[Path], work: Path) -> bytes:
    """The archive behind the script: pkgs/ as a package cache with everything extracted."""
    pkgs = work / "payload" / "pkgs"
    names = []
    for file in files:
        content = file.read_bytes()
        name = file.name.removesuffix(".conda")
        names.append(name)
        condapkg.extract(file, pkgs / name)
        index = json.loads((pkgs / name / "info/index.json").read_text())
        record = {
            **index,
            "channel": f"{CHANNEL_HOME}/{index['subdir']}",
            "fn": file.name,
            "md5": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "url": f"{CHANNEL_HOME}/{index['subdir']}/{file.name}",
        }
        (pkgs / name / "info/repodata_record.json").write_text(json.dumps(record, indent=2))
    (pkgs / "urls.txt").write_text("")
    (work / "payload" / ".installing").write_text("\n".join(names) + "\n")

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = TIMESTAMP
        return member

    raw = io.BytesIO()
    # Fast rather than small: the script never leaves this machine.
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=2, mtime=0) as packed:  # noqa: SIM117
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for name in (".installing", "pkgs"):
                archive.add(work / "payload" / name, name, filter=plain)
    return raw.getvalue()


def build(work: Path, result: Path, machine: Machine) -> Path:
    """Make the installer.

    Args:
        work: a folder for what it is made from.
        result: the build's result, which holds the channel already.
        machine: for which kind of machine.

    Returns:
        The script.
    """
    files = _base_packages(work, result, machine)
    stems = {file.name.rsplit("-", 2)[0]: file.name.removesuffix(".conda") for file in files}
    payload = _payload(files, work)
    text = (HERE / "standin/shell/installer.sh").read_text()
    values = {
        "LINES": str(text.count("\n")),
        "SHA256": hashlib.sha256(payload).hexdigest(),
        "VERSION": CONDA_VERSION,
        "PYTHON": PYTHON_MINOR,
        "INTERPRETER": stems["python"],
        "BOOTSTRAP": " ".join(stems[name] for name in ("conda", "py-rattler", "pyyaml")),
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    script = result / INSTALLER_DIR / f"Standin-Linux-{machine.arch}.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes(text.encode() + payload)
    script.chmod(0o755)
    return script
