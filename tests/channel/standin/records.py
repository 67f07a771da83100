"""Package records: as repodata gives them, as conda-meta keeps them, as the output shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .context import DEFAULT_ALIAS

Record = dict[str, Any]

# The order in which conda writes the keys of a record.
KEYS = (
    "name", "version", "build", "build_number", "channel", "subdir", "fn", "md5",
    "legacy_bz2_size", "url", "sha256", "arch", "platform", "depends", "constrains", "noarch",
    "track_features", "license", "license_family", "package_type", "timestamp", "size",
)  # fmt: skip


def dist(record: Mapping[str, Any]) -> str:
    """NAME-VERSION-BUILD."""
    return f"{record['name']}-{record['version']}-{record['build']}"


def full(index: Mapping[str, Any], base_url: str, file_name: str) -> Record:
    """Complete a record by where its file is.

    Args:
        index: what repodata.json or info/index.json says.
        base_url: the channel's address.
        file_name: the package's file.
    """
    subdir = index["subdir"]
    known: Record = {
        "arch": None,
        "platform": None,
        "legacy_bz2_size": None,
        "depends": [],
        "constrains": [],
        "license": "",
        **index,
        "channel": f"{base_url}/{subdir}",
        "fn": file_name,
        "url": f"{base_url}/{subdir}/{file_name}",
    }
    return {key: known[key] for key in KEYS if key in known}


def base_url(record: Mapping[str, Any]) -> str:
    """The address of the channel that a record came from."""
    return str(record["url"]).rsplit("/", 2)[0]


def channel_name(url: str, alias: str) -> str:
    """The short name of a channel, as the JSON has it."""
    for known in (alias, DEFAULT_ALIAS):
        if url.startswith(f"{known}/"):
            return url.removeprefix(f"{known}/")
    rest = url.split("://", 1)[-1]
    if url.startswith("file://"):
        return rest.rsplit("/", 1)[-1]
    return rest.split("/", 1)[-1] if "/" in rest else ""


def canonical_channel(url: str, alias: str) -> str:
    """The name of a channel as the plain output has it: the whole address if it is foreign."""
    known = any(url.startswith(f"{one}/") for one in (alias, DEFAULT_ALIAS))
    return channel_name(url, alias) if known else url


def link_item(record: Mapping[str, Any], alias: str) -> Record:
    """A record as LINK, UNLINK and `list --json` show it."""
    if record["subdir"] == "pypi":
        url, channel = f"{DEFAULT_ALIAS}/pypi", "pypi"
    else:
        url = base_url(record)
        channel = channel_name(url, alias)
    return {
        "base_url": url,
        "build_number": record["build_number"],
        "build_string": record["build"],
        "channel": channel,
        "dist_name": dist(record),
        "name": record["name"],
        "platform": record["subdir"],
        "version": record["version"],
    }


def installed(prefix: str | Path) -> dict[str, Record]:
    """The conda packages of an environment: name -> what conda-meta says."""
    found: dict[str, Record] = {}
    for path in sorted(Path(prefix, "conda-meta").glob("*.json")):
        record = json.loads(path.read_text())
        found[record["name"]] = record
    return dict(sorted(found.items()))


def pip_installed(prefix: str | Path, conda: Iterable[Record]) -> list[Record]:
    """What pip put into an environment beside conda.

    Args:
        prefix: the environment.
        conda: its conda packages.
    """
    owned = {file for record in conda for file in record["files"]}
    found: list[Record] = []
    for info in sorted(Path(prefix, "lib").glob("python3*/site-packages/*.dist-info")):
        metadata = info / "METADATA"
        if str(metadata.relative_to(prefix)) in owned or not metadata.is_file():
            continue
        values = dict(
            line.split(": ", 1)
            for line in metadata.read_text(errors="replace").splitlines()[:20]
            if line.startswith(("Name: ", "Version: "))
        )
        found.append(
            {
                "name": values["Name"].lower().replace("_", "-"),
                "version": values["Version"],
                "build": "pypi_0",
                "build_number": 0,
                "subdir": "pypi",
                "channel": "pypi",
            }
        )
    return found


def names_needed(record: Mapping[str, Any]) -> list[str]:
    """The names of the packages that a package depends on."""
    return [str(spec).split()[0] for spec in record["depends"]]


def in_order(records: Iterable[Record]) -> list[Record]:
    """Sort packages so that each comes after what it depends on, by name otherwise."""
    waiting = {record["name"]: record for record in sorted(records, key=lambda one: one["name"])}
    done: list[Record] = []
    placed: set[str] = set()

    def place(name: str, above: tuple[str, ...]) -> None:
        if name not in waiting or name in placed or name in above:
            return
        for needed in sorted(names_needed(waiting[name])):
            # python asks for pip and pip for python: python comes first.
            if (name, needed) != ("python", "pip"):
                place(needed, (*above, name))
        placed.add(name)
        done.append(waiting[name])

    for first in ("python_abi", "python"):
        place(first, ())
    for name in waiting:
        place(name, ())
    return done


def python_minor(records: Mapping[str, Record]) -> str | None:
    """The X.Y of an environment's python, None if it has none."""
    python = records.get("python")
    return ".".join(python["version"].split(".")[:2]) if python else None


def is_environment(prefix: str | Path) -> bool:
    """Whether there is an environment: conda asks for its history file."""
    return os.path.isfile(os.path.join(prefix, "conda-meta", "history"))
