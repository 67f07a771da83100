"""Conda packages from Python wheels, as conda-forge would name and cut them.

uv resolves nothing here: the lock files beside this module say what is fetched, with hashes. They
are renewed by `python -m tests.channel lock`.
"""

from __future__ import annotations

import base64
import configparser
import csv
import email.parser
import hashlib
import io
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .common import ChannelError, run
from .condapkg import PLACEHOLDER, Entry, Package
from .recipe import PYTHON_MINOR, PYTHON_TAG, Machine

# What goes into which lock file. Everything but `base` becomes the channel's packages.
REQUIREMENTS = {
    "channel": (
        "ipykernel>=7,<8",
        "ipywidgets>=8",
        "numpy",
        "pandas",
        "pip",
        "setuptools",
        "six==1.17.0",
        "wheel",
    ),
    "older": ("six==1.16.0",),
    "base": ("pip", "py-rattler==0.28.0", "pyyaml"),
}

# Wheel name -> conda-forge's name, where they differ.
_NAMES = {
    "ipython-pygments-lexers": "ipython_pygments_lexers",
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
    "jupyterlab-widgets": "jupyterlab_widgets",
    "msgpack": "msgpack-python",
    "pure-eval": "pure_eval",
    "stack-data": "stack_data",
    "typing-extensions": "typing_extensions",
    "tzdata": "python-tzdata",
}


_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def _uv(*arguments: str | Path) -> None:
    """Run uv.

    Args:
        arguments: what to do, with absolute paths.

    Raises:
        ChannelError: there is no uv, or it failed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise ChannelError("uv is needed to fetch wheels, and it is not beside Python or on PATH.")
    # The lock files decide, not what a machine is set to.
    ignored = {"UV_FIND_LINKS", "UV_EXTRA_INDEX_URL"}
    env = {name: value for name, value in os.environ.items() if name not in ignored}
    if _AUTHORITIES.exists():
        # A site's own authorities are in the system's list, uv brings one of its own.
        env.setdefault("UV_SYSTEM_CERTS", "true")
    # Not in the checkout, whose own settings for uv are about something else.
    run([found, *arguments], cwd=Path("/"), env=env)


def _target(machine: Machine) -> list[str]:
    return [
        f"--python-version={PYTHON_MINOR}",
        f"--python-platform={machine.wheel_platform}",
        "--only-binary=:all:",
    ]


def lock(group: str, file: Path, machine: Machine) -> None:
    """Resolve a group of requirements anew.

    Args:
        group: a key of REQUIREMENTS.
        file: the lock file to write.
        machine: for which kind of machine.
    """
    requirements = file.with_suffix(".in")
    requirements.write_text("\n".join(REQUIREMENTS[group]) + "\n")
    try:
        _uv(
            *("pip", "compile", *_target(machine), "--generate-hashes", "--upgrade"),
            *("--no-header", "--no-annotate", "--quiet", "--output-file", file, requirements),
        )
    finally:
        requirements.unlink()


def fetch(lock_file: Path, target: Path, machine: Machine) -> None:
    """Install the locked wheels side by side into a folder, whichever Python runs this.

    Args:
        lock_file: requirements with hashes.
        target: becomes their site-packages.
        machine: for which kind of machine.

    Raises:
        ChannelError: uv is missing or could not get them.
    """
    target.mkdir(parents=True)
    _uv(
        *("pip", "install", f"--python={sys.executable}", f"--target={target}"),
        *_target(machine),
        *("--no-deps", "--require-hashes", "--quiet", "-r", lock_file),
    )


def _markers(machine: Machine) -> dict[str, str]:
    return {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": f"{PYTHON_MINOR}.0",
        "os_name": "posix",
        "platform_machine": machine.arch,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{PYTHON_MINOR}.2",
        "python_version": PYTHON_MINOR,
        "sys_platform": "linux",
    }


def conda_name(wheel_name: str) -> str:
    """The name that conda-forge gives to what the Python index calls `wheel_name`."""
    name = canonicalize_name(wheel_name)
    return _NAMES.get(name, name)


def _depends(metadata: Message, machine: Machine) -> Iterator[str]:
    for line in metadata.get_all("Requires-Dist") or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(_markers(machine)):
            yield f"{conda_name(requirement.name)} {requirement.specifier}".strip()


def _console_scripts(info: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    # Names of commands are case sensitive.
    parser.optionxform = lambda optionstr: optionstr  # type: ignore[method-assign]
    parser.read(info / "entry_points.txt")
    if not parser.has_section("console_scripts"):
        return {}
    return {
        name: re.sub(r"\s*\[.*\]$", "", target) for name, target in parser.items("console_scripts")
    }


def _script(target: str) -> bytes:
    module, _, function = target.partition(":")
    head = function.partition(".")[0]
    return (
        f"#!{PLACEHOLDER}/bin/python\n"
        "# -*- coding: utf-8 -*-\n"
        "import re\nimport sys\n\n"
        f"from {module} import {head}\n\n"
        "if __name__ == '__main__':\n"
        "    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])\n"
        f"    sys.exit({function}())\n"
    ).encode()


def _data_entry(path: str, file: Path) -> Entry:
    """A file outside site-packages, with the prefix in it where conda-forge would put it."""
    if re.fullmatch(r"share/jupyter/kernels/[^/]+/kernel\.json", path):
        # The wheel says just "python"; conda-forge ships the absolute path.
        text = file.read_text().replace('"python",', f'"{PLACEHOLDER}/bin/python",', 1)
        return Entry(path, text.encode(), placeholder=True)
    content = file.read_bytes()
    if path.startswith("bin/") and content.startswith(b"#!"):
        text_lines = content.split(b"\n", 1)
        rest = text_lines[1] if len(text_lines) > 1 else b""
        shebang = f"#!{PLACEHOLDER}/bin/python\n".encode()
        return Entry(path, shebang + rest, executable=True, placeholder=True)
    return Entry(path, file, executable=path.startswith("bin/"))


def _record(files: list[Entry], site: str, record_path: str) -> bytes:
    """The RECORD of an installed wheel: `pip uninstall` goes by it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for entry in files:
        if entry.path.startswith(site):
            path = entry.path.removeprefix(site)
        else:
            path = f"../../../{entry.path}"  # the prefix, seen from lib/pythonX.Y/site-packages
        content = entry.content()
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        # What holds a placeholder changes on the way into a prefix.
        known = not entry.placeholder
        rows.writerow([path, f"sha256={digest}" if known else "", len(content) if known else ""])
    rows.writerow([record_path, "", ""])
    return text.getvalue().encode()


def _wheel_files(info: Path) -> Iterator[str]:
    with (info / "RECORD").open(newline="") as text:
        for row in csv.reader(text):
            yield row[0]


def package(info: Path, machine: Machine) -> Package:
    """Make a conda package of one installed wheel.

    Args:
        info: its .dist-info directory.
        machine: for which kind of machine.

    Returns:
        The package: noarch if the wheel is pure Python, else for this machine and Python.
    """
    root = info.parent
    metadata = email.parser.Parser().parsestr((info / "METADATA").read_text())
    wheel = email.parser.Parser().parsestr((info / "WHEEL").read_text())
    name, version = conda_name(metadata["Name"]), metadata["Version"]
    pure = all(tag.endswith("-none-any") for tag in wheel.get_all("Tag") or [])
    site = "site-packages/" if pure else f"lib/python{PYTHON_MINOR}/site-packages/"
    scripts = _console_scripts(info)

    files: list[Entry] = []
    for path in _wheel_files(info):
        if path.startswith("bin/") and path.removeprefix("bin/") in scripts:
            continue  # made for the prefix, below or when a noarch package is linked
        if re.fullmatch(r"bin/pip\d+\.\d+", path):
            continue  # uv names it after the Python that runs this, conda-forge has none
        if Path(path).parts[0] in ("bin", "etc", "share"):
            files.append(_data_entry(path, root / path))
        elif path == f"{info.name}/INSTALLER":
            files.append(Entry(site + path, b"conda\n"))
        elif Path(path).name not in ("RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"):
            executable = os.access(root / path, os.X_OK)
            files.append(Entry(site + path, root / path, executable=executable))
    if not pure:
        files += [
            Entry(f"bin/{script}", _script(target), executable=True, placeholder=True)
            for script, target in sorted(scripts.items())
        ]
    record = _record(files, site, f"{info.name}/RECORD")
    files.append(Entry(f"{site}{info.name}/RECORD", record))

    python = metadata["Requires-Python"] or ""
    if pure:
        python_spec = f"python {python}".strip().replace(" ,", ",")
    else:
        next_minor = f"3.{int(PYTHON_MINOR.partition('.')[2]) + 1}.0a0"
        python_spec = f"python >={PYTHON_MINOR},<{next_minor}"
    return Package(
        name,
        version,
        "pyhd8ed1ab_0" if pure else f"{PYTHON_TAG}hstandin_0",
        "noarch" if pure else machine.conda,
        depends=(*_depends(metadata, machine), re.sub(r",\s+", ",", python_spec)),
        files=tuple(files),
        license=metadata["License-Expression"] or "",
        summary=metadata["Summary"] or "",
        noarch="python" if pure else None,
        entry_points=tuple(f"{script} = {target}" for script, target in sorted(scripts.items()))
        if pure
        else (),
        arch=None if pure else machine.arch,
    )


def packages(target: Path, machine: Machine) -> list[Package]:
    """Make a conda package of every wheel in a folder that `fetch` filled."""
    return [package(info, machine) for info in sorted(target.glob("*.dist-info"))]
