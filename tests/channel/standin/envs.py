"""Environments: where they are, what they are called, who may change them."""

from __future__ import annotations

import os
import pwd
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import errors
from .context import Context
from .records import is_environment

_FORBIDDEN = {"/", " ", ":", "#"}


def _registry(home: Path) -> Path:
    return home / ".conda/environments.txt"


def _registered(home: Path) -> list[str]:
    try:
        lines = _registry(home).read_text().splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip()]


def known(context: Context) -> list[str]:
    """Every environment that this user can see, sorted."""
    found = {str(context.root)}
    for folder in context.envs_dirs:
        try:
            found.update(str(entry) for entry in folder.iterdir())
        except OSError:
            continue
    homes = {context.home}
    if os.geteuid() == 0:
        # As root, conda reads every account's list.
        homes.update(Path(account.pw_dir) for account in pwd.getpwall())
    for home in homes:
        found.update(_registered(home))
    return sorted(prefix for prefix in found if is_environment(prefix))


def name_of(context: Context, prefix: str) -> str:
    """The name of an environment, empty if it has none."""
    if prefix == str(context.root):
        return "base"
    parent, name = os.path.split(prefix)
    return name if Path(parent) in context.envs_dirs else ""


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")


def writable(prefix: str) -> bool:
    """Whether this user may change an environment."""
    return os.access(os.path.join(prefix, "conda-meta", "history"), os.W_OK)


def is_frozen(prefix: str) -> bool:
    """Whether an environment is marked as not to be changed."""
    return os.path.exists(os.path.join(prefix, "conda-meta", "frozen"))


def is_active(prefix: str) -> bool:
    """Whether an environment is the shell's active one."""
    return os.environ.get("CONDA_PREFIX") == prefix


def details(context: Context, prefix: str) -> dict[str, Any]:
    """What `env list --json` tells of one environment."""
    meta = Path(prefix, "conda-meta")
    modified = (meta / "history").stat().st_mtime
    try:
        created = float((meta / "created_at").read_text())
    except (OSError, ValueError):
        created = modified
    return {
        "name": name_of(context, prefix),
        "created": _iso(created),
        "last_modified": _iso(modified),
        "active": is_active(prefix),
        "base": prefix == str(context.root),
        "frozen": is_frozen(prefix),
        "writable": writable(prefix),
    }


def listing(context: Context) -> dict[str, Any]:
    """The JSON of `env list`."""
    prefixes = known(context)
    return {
        "envs": prefixes,
        "envs_details": {prefix: details(context, prefix) for prefix in prefixes},
    }


def listing_text(context: Context) -> str:
    """The plain output of `env list`."""
    lines = ["", "# conda environments:", "#", "# * -> active", "# + -> frozen"]
    for prefix in known(context):
        marks = ("*" if is_active(prefix) else "") + ("+" if is_frozen(prefix) else "")
        lines.append(f"{name_of(context, prefix):<20} {marks:<3} {prefix}")
    return "\n".join(lines) + "\n\n"


def check_name(name: str) -> None:
    """Refuse a name that no environment can have.

    Raises:
        CondaError: CondaValueError.
    """
    if "/" in name:
        raise errors.value_error("Environment names cannot contain path separators")
    if _FORBIDDEN & set(name):
        raise errors.value_error(
            "Environment names cannot contain any of these characters: {' ', ':', '#', '/'}"
        )


def by_name(context: Context, name: str) -> str | None:
    """Where the environment of a name is, None if there is none."""
    if name in ("base", "root"):
        return str(context.root)
    for folder in context.envs_dirs:
        if is_environment(folder / name):
            return str(folder / name)
    return None


def _may_create(folder: Path) -> bool:
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)


def target(context: Context, name: str | None, prefix: str | None) -> str | None:
    """The prefix that -n or -p mean for a new environment, whether it exists or not."""
    if prefix is not None:
        return os.path.abspath(os.path.expanduser(prefix))
    if name is None:
        return None
    if "/" not in name and by_name(context, name):
        return by_name(context, name)
    check_name(name)
    for folder in context.envs_dirs:
        if _may_create(folder):
            return str(folder / name)
    return str(context.envs_dirs[0] / name)


def existing(context: Context, name: str | None, prefix: str | None) -> str:
    """The environment that -n, -p or the shell's active environment mean.

    Raises:
        CondaError: it does not exist, or the directory is none.
    """
    if prefix is not None:
        if "/" not in prefix and by_name(context, prefix):
            return str(by_name(context, prefix))
        path = os.path.abspath(os.path.expanduser(prefix))
    elif name is not None:
        found = by_name(context, name)
        if found is None:
            if "/" in name:
                check_name(name)
            raise errors.name_not_found(name)
        return found
    else:
        path = os.environ.get("CONDA_PREFIX") or str(context.root)
    if is_environment(path) or os.path.isdir(os.path.join(path, "conda-meta")):
        return path
    if os.path.isdir(path):
        raise errors.directory_not_an_environment(path)
    raise errors.not_an_environment(path)


def check_changeable(prefix: str, override_frozen: bool = False) -> None:
    """Refuse to change what is frozen or somebody else's.

    Raises:
        CondaError: EnvironmentIsFrozenError or EnvironmentNotWritableError.
    """
    if is_frozen(prefix) and not override_frozen:
        raise errors.frozen(prefix)
    if is_environment(prefix) and not writable(prefix):
        raise errors.not_writable(prefix, os.geteuid(), os.getegid())


def register(context: Context, prefix: str) -> None:
    """Note an environment in this user's list, as conda does on every change."""
    if not context.register_envs or prefix in _registered(context.home):
        return
    registry = _registry(context.home)
    try:
        registry.parent.mkdir(mode=stat.S_IRWXU | 0o55, exist_ok=True)
        with registry.open("a") as text:
            text.write(f"{prefix}\n")
    except OSError:
        return  # as conda: a home that cannot be written to is no reason to fail


def unregister(context: Context, prefix: str) -> None:
    """Take an environment from this user's list."""
    rest = [line for line in _registered(context.home) if line != prefix]
    try:
        _registry(context.home).write_text("".join(f"{line}\n" for line in rest))
    except OSError:
        return
