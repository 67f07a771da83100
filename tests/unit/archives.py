"""Archives of backups, and how programs are run that read or write one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

from jupyterbox.program import program
from tests.unit.remote import module

archive = module("archive")

ADA = {
    "name": "ada",
    "uid": 1001,
    "gid": 1001,
    "group": "ada",
    "comment": "Ada, London",
    "home": "/home/ada",
    "shell": "/bin/bash",
    "password": "$y$j9T$geheim",
    "aging": ["20000", "0", "99999", "7", "", ""],
}
GROUPS = [{"name": "ada", "gid": 1001, "members": []}, {"name": "sudo", "gid": 27, "members": []}]
ABOUT = {
    "by": "jupyterbox 0.1.0",
    "host": "hub.example.org",
    "hostname": "hub",
    "made": "2026-11-23T22:00:00+00:00",
    "hub": {"release": "3a94aa", "version": "5.0.0"},
    "homes": None,
}


def packed(
    members: dict[str, bytes] | None = None, users: Any = (ADA,), groups: Any = GROUPS, **about: Any
) -> bytes:
    """An archive with accounts, and what else is given or a database."""
    file = io.BytesIO()
    writer = archive.Writer(file)
    writer.add("accounts.json", json.dumps({"users": [*users], "groups": groups}).encode())
    for name, content in (members or {"hub/database": b"SQLite"}).items():
        writer.add(name, content)
    writer.close({**ABOUT, **about})
    return file.getvalue()


def unpacked(content: bytes) -> tuple[dict[str, bytes], Any]:
    """The members of a whole archive, and its manifest."""
    reader = archive.Reader(io.BytesIO(content))
    found = {name: file.read() for name, _, file in reader}
    return found, reader.manifest


def run(
    name: str,
    given: bytes = b"",
    /,
    *,
    env: dict[str, str] | None = None,
    fd: int = -1,
    **arguments: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with something on standard input; it inherits a descriptor, if one is given."""
    _, *options, source, asked = program(name, **arguments).bits
    return subprocess.run(
        [sys.executable, *options, source.obj, asked.obj],
        input=given,
        capture_output=True,
        env=env,
        cwd="/",
        pass_fds=[fd] if fd >= 0 else [],
        timeout=120,
    )
