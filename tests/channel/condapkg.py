"""Conda packages: from a list of files and a few facts to a .conda or .tar.bz2 file."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .recipe import TIMESTAMP

# As long as conda-build's, so that binaries could carry it too.
PLACEHOLDER = ("/home/conda/standin_artifacts/prefix" + "_placehold" * 25)[:255]


@dataclass(frozen=True)
class Entry:
    """One file of a package."""

    path: str
    """Where it lies below the prefix (noarch Python code below site-packages/)."""
    source: Path | bytes
    """The file to copy, or its content."""
    executable: bool = False
    placeholder: bool = False
    """It is a text that holds PLACEHOLDER where the prefix belongs."""
    link_to: str | None = None
    """It is a symbolic link to this; source is empty then."""

    def content(self) -> bytes:
        """The bytes of the file."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class Package:
    """A conda package before it is packed."""

    name: str
    version: str
    build: str
    subdir: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    files: tuple[Entry, ...] = ()
    license: str = ""
    summary: str = ""
    noarch: Literal["python", "generic"] | None = None
    entry_points: tuple[str, ...] = ()
    build_number: int = 0
    arch: str | None = field(default=None)

    @property
    def dist(self) -> str:
        """NAME-VERSION-BUILD: the stem of the file's name."""
        return f"{self.name}-{self.version}-{self.build}"

    def index(self) -> dict[str, Any]:
        """The content of info/index.json."""
        record: dict[str, Any] = {
            "arch": self.arch,
            "build": self.build,
            "build_number": self.build_number,
            "constrains": list(self.constrains),
            "depends": list(self.depends),
            "license": self.license,
            "name": self.name,
            "platform": "linux" if self.arch else None,
            "subdir": self.subdir,
            "timestamp": TIMESTAMP * 1000,
            "version": self.version,
        }
        if self.noarch:
            record["noarch"] = self.noarch
            record["package_type"] = f"noarch_{self.noarch}"
        return record

    def info(self) -> list[Entry]:
        """The files below info/."""
        paths = []
        for entry in sorted(self.files, key=lambda one: one.path):
            if entry.link_to is not None:
                # The hash of a link is that of what it points to; conda does not check it.
                paths.append({"_path": entry.path, "path_type": "softlink"})
                continue
            content = entry.content()
            path: dict[str, Any] = {
                "_path": entry.path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_in_bytes": len(content),
            }
            if entry.placeholder:
                path["file_mode"] = "text"
                path["prefix_placeholder"] = PLACEHOLDER
            paths.append(path)
        texts: dict[str, Any] = {
            "about.json": {"license": self.license, "summary": self.summary},
            "index.json": self.index(),
            "paths.json": {"paths": paths, "paths_version": 1},
        }
        if self.noarch == "python":
            texts["link.json"] = {
                "noarch": {"entry_points": list(self.entry_points), "type": "python"},
                "package_metadata_version": 1,
            }
        entries = [
            Entry(f"info/{name}", json.dumps(text, indent=2, sort_keys=True).encode() + b"\n")
            for name, text in texts.items()
        ]
        names = "".join(f"{path['_path']}\n" for path in paths)
        return [*entries, Entry("info/files", names.encode())]


def _fill(archive: tarfile.TarFile, entries: Sequence[Entry]) -> None:
    for entry in sorted(entries, key=lambda one: one.path):
        member = tarfile.TarInfo(entry.path)
        member.mtime = TIMESTAMP
        if entry.link_to is not None:
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link_to, 0o777
            archive.addfile(member)
            continue
        content = entry.content()
        member.size = len(content)
        member.mode = 0o755 if entry.executable else 0o644
        archive.addfile(member, io.BytesIO(content))


def _tar_zst(entries: Sequence[Entry]) -> bytes:
    import zstandard  # only a build needs it, and `build` is mostly a no-op

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        _fill(archive, entries)
    return zstandard.ZstdCompressor(level=9, threads=-1).compress(raw.getvalue())


def write(package: Package, folder: Path, kind: Literal["conda", "tar.bz2"] = "conda") -> Path:
    """Pack a package.

    Args:
        package: what it is and holds.
        folder: the channel's SUBDIR folder.
        kind: the container format; conda channels mix both.

    Returns:
        The file that was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{package.dist}.{kind}"
    if kind == "tar.bz2":
        with tarfile.open(target, "w:bz2", format=tarfile.GNU_FORMAT) as archive:
            _fill(archive, [*package.info(), *package.files])
        return target
    parts = {
        "metadata.json": b'{"conda_pkg_format_version": 2}',
        f"pkg-{package.dist}.tar.zst": _tar_zst(package.files),
        f"info-{package.dist}.tar.zst": _tar_zst(package.info()),
    }
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as container:
        for name, content in parts.items():
            container.writestr(zipfile.ZipInfo(name, (2025, 10, 9, 0, 0, 0)), content)
    return target


def extract(file: Path, folder: Path) -> None:
    """Unpack a .conda package as conda's package cache holds it extracted.

    Args:
        file: the package.
        folder: becomes the package's directory.
    """
    import zstandard

    folder.mkdir(parents=True)
    with zipfile.ZipFile(file) as container:
        for name in container.namelist():
            if not name.endswith(".tar.zst"):
                continue
            reader = zstandard.ZstdDecompressor().stream_reader(container.open(name))
            with tarfile.open(fileobj=reader, mode="r|") as archive:
                # The packages are our own. Python 3.14 has a default filter, 3.11.2 has none.
                archive.extractall(folder)
