"""The index of a channel: repodata.json of each subdir, as `conda index` writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Index one SUBDIR folder, plain and zstd-compressed.

    Args:
        folder: .../CHANNEL/SUBDIR, which holds the package files.
        records: file name -> its info/index.json.
    """
    import zstandard

    folder.mkdir(parents=True, exist_ok=True)
    packages: dict[str, Any] = {}
    packages_conda: dict[str, Any] = {}
    for name, index in sorted(records.items()):
        content = (folder / name).read_bytes()
        record = {
            **index,
            "md5": hashlib.md5(content).hexdigest(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        (packages_conda if name.endswith(".conda") else packages)[name] = record
    text = json.dumps(
        {
            "info": {"subdir": folder.name},
            "packages": packages,
            "packages.conda": packages_conda,
            "removed": [],
            "repodata_version": 1,
        },
        indent=1,
        sort_keys=True,
    ).encode()
    (folder / "repodata.json").write_bytes(text)
    (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=9).compress(text))
