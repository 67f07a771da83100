"""Carry a change out: all of it or, when interrupted, nothing of it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import CONDA_VERSION, envs, errors, fetch, link
from .context import Context
from .records import KEYS, Record, dist, installed, is_environment, python_minor
from .solver import Change, conda_form, spec_name


@dataclass
class Transaction:
    """A change of one environment, with what the history shall say of it."""

    prefix: str
    change: Change
    update_specs: list[str] = field(default_factory=list)
    remove_specs: list[str] = field(default_factory=list)

    def execute(self, context: Context, packages: dict[str, Path] | None = None) -> None:
        """Do it.

        Args:
            context: package caches and settings.
            packages: where the packages lie extracted, if that is known already.

        Raises:
            CondaError: a package cannot be had, the prefix cannot be made, or it was interrupted.
        """
        if packages is None:
            packages = fetch.obtain(self.change.link, context)
        created = _make_prefix(self.prefix)
        undo = _Undo(self.prefix, created)
        try:
            self._apply(packages, undo)
        except BaseException:
            # An interruption too: SIGTERM comes as KeyboardInterrupt here, see cli.main.
            undo.run()
            raise
        self._write_history()
        envs.register(context, self.prefix)

    def _apply(self, packages: dict[str, Path], undo: _Undo) -> None:
        before = installed(self.prefix)
        for record in self.change.unlink:
            undo.unlinked.append(record)
            link.unlink(record, self.prefix)
        gone = {record["name"] for record in self.change.unlink}
        after = {name: record for name, record in before.items() if name not in gone}
        after.update({record["name"]: record for record in self.change.link})
        minor = python_minor(after)
        for record in self.change.link:
            linked = link.link(record, packages[record["url"]], self.prefix, minor)
            undo.linked.append(linked)
        if minor:
            link.compile_python(self.prefix, undo.linked, minor)
        requested = {spec_name(text): conda_form(text) for text in self.update_specs}
        for record in undo.linked:
            # Records come last: a package without one was not installed.
            _write_record(self.prefix, record, requested.get(record["name"]), before)
        for name, spec in requested.items():
            if name in before and name not in gone:
                _write_record(self.prefix, before[name], spec, before)

    def _write_history(self) -> None:
        meta = Path(self.prefix, "conda-meta")
        created = meta / "created_at"
        if not created.exists():
            created.write_text(f"{time.time():.6f}")
        lines = [f"==> {time.strftime('%Y-%m-%d %H:%M:%S')} <=="]
        lines.append(f"# cmd: {shlex.join(sys.argv)}")
        lines.append(f"# conda version: {CONDA_VERSION}")
        lines += sorted(f"-{_historic(record)}" for record in self.change.unlink)
        lines += sorted(f"+{_historic(record)}" for record in self.change.link)
        if self.update_specs:
            lines.append(f"# update specs: {[conda_form(text) for text in self.update_specs]}")
        if self.remove_specs:
            lines.append(f"# remove specs: {[conda_form(text) for text in self.remove_specs]}")
        with (meta / "history").open("a") as text:
            text.write("\n".join(lines) + "\n")


def _historic(record: Record) -> str:
    return f"{record['channel']}::{dist(record)}"


def _write_record(
    prefix: str, record: Record, requested: str | None, before: dict[str, Record]
) -> None:
    earlier = before.get(record["name"], {}).get("requested_specs") or []
    specs = [requested] if requested else list(earlier)
    # In conda's order, and without what repodata knows and conda-meta does not say.
    noted = {key: record[key] for key in KEYS if record.get(key) is not None}
    noted.pop("legacy_bz2_size", None)
    noted["requested_spec"] = specs[0] if specs else "None"
    for key in (
        "package_tarball_full_path",
        "extracted_package_dir",
        "files",
        "paths_data",
        "link",
    ):
        noted[key] = record[key]
    noted["requested_specs"] = specs
    path = Path(prefix, "conda-meta", f"{dist(record)}.json")
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(noted, indent=2))
    os.replace(partial, path)


def _make_prefix(prefix: str) -> bool:
    """Make the directory of an environment.

    Returns:
        Whether it was not there before.
    """
    created = not os.path.exists(prefix)
    try:
        os.makedirs(os.path.join(prefix, "conda-meta"), exist_ok=True)
    except OSError as error:
        raise errors.CondaError(
            "CondaError",
            f"Unable to create prefix directory '{prefix}'.\n"
            "Check that you have sufficient permissions.",
            module="conda",
        ) from error
    return created


@dataclass
class _Undo:
    """What was done so far, to be taken back."""

    prefix: str
    created: bool
    unlinked: list[Record] = field(default_factory=list)
    linked: list[Record] = field(default_factory=list)

    def run(self) -> None:
        """Take it back: a new environment goes altogether, an old one gets its packages again."""
        if self.created:
            shutil.rmtree(self.prefix, ignore_errors=True)
            return
        for record in self.linked:
            link.unlink(record, self.prefix)
        before = {record["name"]: record for record in self.unlinked}
        minor = python_minor({**installed(self.prefix), **before})
        for record in reversed(self.unlinked):
            package = Path(record["extracted_package_dir"])
            if not package.is_dir():
                continue
            again = link.link(record, package, self.prefix, minor)
            specs = record.get("requested_specs") or [None]
            _write_record(self.prefix, again, specs[0], before)
        if not is_environment(self.prefix):
            shutil.rmtree(Path(self.prefix, "conda-meta"), ignore_errors=True)


def remove_tree(prefix: str) -> None:
    """Delete an environment with all that is in it; of a link only the link."""
    if os.path.islink(prefix):
        os.unlink(prefix)
    else:
        shutil.rmtree(prefix)


def clobber_records(prefix: str, names: Sequence[str]) -> None:
    """Forget records of packages that are about to be put in again over an unfinished prefix."""
    for name, record in installed(prefix).items():
        if name in names:
            Path(prefix, "conda-meta", f"{dist(record)}.json").unlink(missing_ok=True)
