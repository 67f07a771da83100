"""Locks of environments: the files of a box's current releases, written down beside its inventory.

A lock is an @EXPLICIT file, which conda takes as it is, with pip's packages behind `# pip`. It says
nothing of the box that it was made on: another one, with other mirrors, installs the same files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jupyterbox import asking
from jupyterbox.asking import InventoryError
from jupyterbox.environment_files import (
    parsed_lock,
    read_lock,
    without_password,
    without_secrets,
)
from jupyterbox.settings import CONDA_HOST, REPOSITORY

if TYPE_CHECKING:
    from facts.locks import CondaFile, PipPackage, ReleaseRecord

RECORDS, CONTENTS = "facts.locks.ReleaseRecords", "facts.conda.CondaEnvs"

HEAD = "# Written by `jupyterbox lock`, which writes it anew: declare something else to change it."


class LockError(Exception):
    """Why no lock was written, in a sentence."""


class Written(NamedTuple):
    """A lock: whose, where, whether it is another than before; and what differs from it by now."""

    environment: str
    path: Path
    is_new: bool
    is_declared: bool
    drifted: list[str]


def lock(inventory: Path, limits: Iterable[str] = (), names: Iterable[str] = ()) -> list[Written]:
    """Write a lock for each environment of a box, from the releases that are current there.

    Args:
        inventory: its file; the locks lie beside it, in locks/INVENTORY/NAME.txt.
        limits: the box's name, where the inventory has several.
        names: of the environments; all that are declared by default.

    Raises:
        InventoryError: the inventory does not load, or names no such box.
        LockError: an environment cannot be locked, or a file is in the way, and nothing was
            written; or one could not be, and stays as it was.
    """
    host, box = the_one_box(inventory, limits)
    chosen = list(names) or list(box.environments)
    for name in chosen:
        if name not in box.environments:
            known = ", ".join(box.environments) or "none"
            raise LockError(f"{host} declares no environment {name!r}: it has {known}.")
    records, drifted = answers(inventory, host, box, chosen)
    texts = {name: text(name, records.get(name), host) for name in chosen}
    paths = {name: inventory.parent / "locks" / inventory.stem / f"{name}.txt" for name in chosen}
    for path in paths.values():
        refuse_foreign(path)
    return [
        Written(
            name,
            paths[name],
            write(paths[name], texts[name]),
            is_it(box.environments[name].get("lock"), paths[name]),
            drifted.get(name, []),
        )
        for name in chosen
    ]


def is_it(declared: str | None, path: Path) -> bool:
    """Whether a lock that an environment declares is the file that is written."""
    return bool(declared) and Path(REPOSITORY, str(declared)).resolve() == path.resolve()


def the_one_box(inventory: Path, limits: Iterable[str]) -> tuple[str, asking.Declared]:
    """The box whose environments are locked.

    Raises:
        LockError: the inventory has several.
    """
    boxes = asking.chosen(asking.declared(inventory), limits, inventory)
    if len(boxes) > 1:
        raise LockError(
            f"{inventory} names {', '.join(boxes)}: say by --limit whose environments are locked."
        )
    [(host, box)] = boxes.items()
    return host, box


def answers(
    inventory: Path, host: str, box: asking.Declared, names: list[str]
) -> tuple[dict[str, ReleaseRecord | None], dict[str, list[str]]]:
    """The records of a box's releases, and the packages that were changed there by hand.

    Raises:
        InventoryError: the box did not answer.
    """
    # pyinfra would read a lone `123` as a number.
    words = [RECORDS, f"root={box.root}", f"environments={','.join(names)},"]
    done = asking.pyinfra(inventory, "fact", *words, CONTENTS, f"root={box.root}", boxes=[host])
    found = {fact.partition(" ")[0]: by for fact, by in (asking.printed(done) or {}).items()}
    if host not in found.get(RECORDS, {}) or host not in found.get(CONTENTS, {}):
        raise InventoryError(f"{host} did not answer: {asking.reason(done.stderr)}")
    environments = found[CONTENTS][host]["environments"]
    drifted = {
        name: [row["package"] for row in environments[name]["drift"]]
        for name in names
        if name in environments
    }
    return found[RECORDS][host], drifted


def text(name: str, record: ReleaseRecord | None, host: str) -> str:
    """The lock of an environment.

    Raises:
        LockError: it has no complete release, or a package whose file nobody can tell again.
    """
    if record is None:
        raise LockError(f"environment {name} has no complete release on {host}: deploy it first.")
    mirror, pip = record["mirror"], record["pip"]
    if mirror is None or pip is None:
        raise LockError(
            f"release {record['release']} of environment {name} was built before locks were known "
            f"here: build it anew, by --data upgrade={name}."
        )
    try:
        conda = [explicit(file, mirror) for file in record["conda"]]
        lines = [HEAD, *platform(conda), "@EXPLICIT", *conda, *map(requirement, pip), ""]
        found = "\n".join(lines)
        parsed_lock(found)
    except (LockError, ValueError) as reason:
        raise LockError(f"environment {name} cannot be locked: {reason}.") from None
    return found


def platform(urls: Iterable[str]) -> Iterator[str]:
    """What the packages are built for, as conda notes it."""
    found = {url.rpartition("/")[0].rpartition("/")[2] for url in urls} - {"noarch"}
    yield from (f"# platform: {name}" for name in sorted(found))


def explicit(file: CondaFile, mirror: str) -> str:
    """A package of conda's as a line of a lock, with the mirror of its box taken back."""
    url, digest = file["url"], file["sha256"] or file["md5"]
    if not url or not digest:
        raise LockError(f"conda keeps no hash of {url or 'one of its packages'}")
    if url.startswith(f"{mirror}/"):
        url = CONDA_HOST + url.removeprefix(mirror)
    refuse_secret(url, without_secrets(url))
    return f"{url}#{digest}"


def refuse_secret(url: str, shown: str) -> None:
    """Leave out of the repository what is for nobody to read.

    Args:
        url: of a package.
        shown: the same with asterisks in the place of a password or a token.

    Raises:
        LockError: it has one.
    """
    if shown != url:
        raise LockError(f"{shown} carries a password or a token, which is not for a repository")


def requirement(package: PipPackage) -> str:
    """A package from the Python index as a line of a lock."""
    name, source = package["name"], package["source"]
    if not package["hashes"]:
        where = f"{without_password(source)}, which" if source else "an index that"
        raise LockError(f"{name} {package['version']} came from {where} has no hash for it")
    if source:
        refuse_secret(source, without_password(source))
    if source and not source.startswith(("https://", "http://")):
        raise LockError(
            f"{name} {package['version']} came from {source}, which no other box can fetch"
        )
    what = f"{name} @ {source}" if source else f"{name}=={package['version']}"
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in package["hashes"])
    return f"# pip {what} {hashes}"


def refuse_foreign(path: Path) -> None:
    """Leave alone what somebody else has written.

    Raises:
        LockError: it is in the way.
    """
    try:
        theirs = path.exists() and not path.read_text(errors="replace").startswith(HEAD)
    except OSError as error:
        raise LockError(f"{path} cannot be read: {error.strerror}.") from None
    if theirs:
        raise LockError(f"{path} was not written by this command: move it away.")


def write(path: Path, content: str) -> bool:
    """Write a lock, and say whether it is another than the one that was there.

    Raises:
        LockError: it cannot be written; the one that was there stays.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        if path.exists() and path.read_text(errors="replace") == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(content)
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise LockError(f"{path} cannot be written: {error.strerror}.") from None
    return True


def described(written: Written) -> Iterator[str]:
    """What to tell of a lock, and what to do with it, in lines."""
    packages = read_lock(written.path)
    counts = f"{len(packages.conda)} packages of conda, {len(packages.pip)} of pip"
    state = "written" if written.is_new else "as it was"
    shown = shown_path(written.path)
    yield f"{written.environment}: {shown}, {counts}, {state}"
    if not written.is_declared:
        yield f'  in the inventory, in place of conda, pip, file and channels: lock="{shown}"'
    if written.drifted:
        yield f"  without what was changed by hand since: {', '.join(written.drifted)}"


def shown_path(path: Path) -> str:
    """A path as an inventory of this repository names it."""
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)
