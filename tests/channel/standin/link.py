"""Put a package's files into an environment and take them out again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .records import Record, dist

# The longest first line that Linux is sure to start a script by.
_SHEBANG_LIMIT = 127
_ENTRY_POINT = """\
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {head}

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit({function}())
"""


def replace_prefix(content: bytes, placeholder: str, prefix: str, mode: str) -> bytes:
    """Put the environment's path where the package has a placeholder.

    Args:
        content: a file as packaged.
        placeholder: what stands for the prefix in it.
        prefix: the environment.
        mode: "text", or "binary": then strings keep their length, filled up with NUL bytes.

    Raises:
        ValueError: a binary has no room for so long a prefix.
    """
    old, new = placeholder.encode(), prefix.encode()
    if mode == "text":
        return _shorten_shebang(content.replace(old, new))
    if len(new) > len(old):
        raise ValueError(f"a binary has no room for a prefix of {len(new)} bytes")

    def fill(match: re.Match[bytes]) -> bytes:
        found = match.group()
        return found.replace(old, new).ljust(len(found), b"\0")

    return re.sub(re.escape(old) + rb"[^\0]*", fill, content)


def _shorten_shebang(content: bytes) -> bytes:
    first, newline, rest = content.partition(b"\n")
    if not first.startswith(b"#!") or len(first) <= _SHEBANG_LIMIT:
        return content
    program = first.split()[0].rsplit(b"/", 1)[-1]
    return b"#!/usr/bin/env " + program + newline + rest


def _shebang(prefix: str) -> str:
    line = f"#!{prefix}/bin/python\n"
    return line if len(line) <= _SHEBANG_LIMIT else "#!/usr/bin/env python\n"


def _place(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where that cannot be."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # Another file system, or a user who may not link to root's files. Times are kept: the
        # shipped byte code goes by them.
        shutil.copy2(source, target, follow_symlinks=False)


def _in_prefix(path: str, site_packages: str | None) -> str:
    if site_packages:
        for start, replacement in (
            ("site-packages/", f"{site_packages}/"),
            ("python-scripts/", "bin/"),
        ):
            if path.startswith(start):
                return replacement + path.removeprefix(start)
    return path


def _link_path(
    path: Mapping[str, Any], package: Path, prefix: str, site_packages: str | None
) -> tuple[str, Record]:
    name = _in_prefix(path["_path"], site_packages)
    source, target = package / path["_path"], Path(prefix, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    noted: Record = dict(path)
    if path.get("prefix_placeholder"):
        content = replace_prefix(
            source.read_bytes(), path["prefix_placeholder"], prefix, path.get("file_mode", "text")
        )
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        shutil.copymode(source, target)
        noted["sha256_in_prefix"] = hashlib.sha256(content).hexdigest()
    else:
        _place(source, target)
        if "sha256" in path:
            noted["sha256_in_prefix"] = path["sha256"]
    return name, noted


def _entry_points(package: Path, prefix: str) -> list[tuple[str, Record]]:
    try:
        link = json.loads((package / "info/link.json").read_text())
    except OSError:
        return []
    made = []
    for line in link.get("noarch", {}).get("entry_points", []):
        name, _, reference = (part.strip() for part in line.partition("="))
        module, _, function = reference.partition(":")
        script = Path(prefix, "bin", name)
        script.parent.mkdir(parents=True, exist_ok=True)
        body = _ENTRY_POINT.format(
            module=module, head=function.partition(".")[0], function=function
        )
        script.unlink(missing_ok=True)
        script.write_text(_shebang(prefix) + body)
        script.chmod(0o755)
        path = f"bin/{name}"
        made.append((path, {"_path": path, "path_type": "unix_python_entry_point"}))
    return made


def link(record: Mapping[str, Any], package: Path, prefix: str, minor: str | None) -> Record:
    """Put a package into an environment.

    Args:
        record: the package.
        package: its extracted directory.
        prefix: the environment.
        minor: the X.Y of the environment's python, which noarch packages go below.

    Returns:
        Its record for conda-meta, without what was asked for.
    """
    is_python = record.get("noarch") == "python"
    site_packages = f"lib/python{minor}/site-packages" if is_python else None
    listed = json.loads((package / "info/paths.json").read_text())
    done = [_link_path(path, package, prefix, site_packages) for path in listed["paths"]]
    if is_python:
        done += _entry_points(package, prefix)
    return {
        **record,
        "package_tarball_full_path": f"{package}{_suffix(record)}",
        "extracted_package_dir": str(package),
        "files": [name for name, _ in done],
        "paths_data": {"paths_version": 1, "paths": [path for _, path in done]},
        "link": {"source": str(package), "type": 1},
    }


def _suffix(record: Mapping[str, Any]) -> str:
    return str(record["fn"]).removeprefix(dist(record))


def compile_python(prefix: str, linked: Sequence[Record], minor: str) -> None:
    """Compile what the noarch packages brought, as conda does at installation.

    Nobody but root may write byte code into a global environment later. Files that do not compile
    are left as they are: packages hold some that are not for this Python.

    Args:
        prefix: the environment.
        linked: the packages just put in; their records learn of the new files.
        minor: the X.Y of its python.
    """
    tag = f"cpython-{minor.replace('.', '')}"
    sources = {
        name: record
        for record in linked
        if record.get("noarch") == "python"
        for name in record["files"]
        if name.endswith(".py") and name.startswith("lib/")
    }
    if not sources:
        return
    kept = {
        name: Path(record["link"]["source"], "info/compiled", tag, _compiled(name, tag))
        for name, record in sources.items()
    }
    missing = []
    for name, cached in kept.items():
        target = Path(prefix, _compiled(name, tag))
        target.parent.mkdir(exist_ok=True)
        if cached.exists():
            _place(cached, target)
        else:
            missing.append(name)
    _compile(prefix, missing)
    for name in _whole(prefix, missing, tag):
        # The next environment on this machine need not compile it again.
        with contextlib.suppress(OSError):
            kept[name].parent.mkdir(parents=True, exist_ok=True)
            os.link(f"{prefix}/{_compiled(name, tag)}", kept[name])
    for name, record in sources.items():
        compiled = _compiled(name, tag)
        try:
            size = os.stat(f"{prefix}/{compiled}").st_size
        except OSError:
            continue
        record["files"].append(compiled)
        record["paths_data"]["paths"].append(
            {"_path": compiled, "path_type": "pyc_file", "size_in_bytes": size}
        )


def _compiled(name: str, tag: str) -> str:
    folder, file = os.path.split(name)
    return f"{folder}/__pycache__/{file.removesuffix('.py')}.{tag}.pyc"


def _compile(prefix: str, names: Sequence[str]) -> None:
    if not names:
        return
    # Several processes at once need semaphores, and those a shared memory to write to.
    workers = "-j0" if os.access("/dev/shm", os.W_OK) else "-j1"
    subprocess.run(
        [f"{prefix}/bin/python", "-I", "-Wi", "-m", "compileall", "-q", "-l", workers, "-i", "-"],
        input="\n".join(names),
        text=True,
        cwd=prefix,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


_TELL_WHOLE = """
import marshal, sys
for path in sys.stdin.read().splitlines():
    try:
        with open(path, "rb") as file:
            marshal.loads(file.read()[16:])
    except (OSError, EOFError, ValueError, TypeError):
        continue
    print(path)
"""


def _whole(prefix: str, names: Sequence[str], tag: str) -> list[str]:
    """The sources whose byte code is whole: on a full disk, Python writes half, and goes on."""
    by_path = {_compiled(name, tag): name for name in names}
    told = subprocess.run(
        [f"{prefix}/bin/python", "-I", "-c", _TELL_WHOLE],
        input="\n".join(by_path),
        text=True,
        cwd=prefix,
        capture_output=True,
        check=False,
    )
    return [by_path[path] for path in told.stdout.splitlines()]


def _remove_empty(prefix: str, folders: set[Path]) -> None:
    for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
        while folder != Path(prefix) and Path(prefix) in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent


def unlink(record: Mapping[str, Any], prefix: str) -> None:
    """Take a package's files out of an environment, and the folders that get empty by it."""
    folders: set[Path] = set()
    for name in record["files"]:
        path = Path(prefix, name)
        path.unlink(missing_ok=True)
        folders.add(path.parent)
        if name.endswith(".py"):
            # What Python itself compiled for a user with the right to write it.
            stem = path.name.removesuffix(".py")
            for compiled in (path.parent / "__pycache__").glob(f"{stem}.cpython-*.pyc"):
                compiled.unlink(missing_ok=True)
                folders.add(compiled.parent)
    Path(prefix, "conda-meta", f"{dist(record)}.json").unlink(missing_ok=True)
    _remove_empty(prefix, folders)
