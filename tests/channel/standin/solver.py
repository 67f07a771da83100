"""Which packages an environment shall hold: rattler's solver, asked as conda asks it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import errors
from .context import Context
from .fetch import Channel, Index, indexes
from .records import Record, dist, in_order, names_needed, python_minor

if TYPE_CHECKING:
    from rattler import MatchSpec, SparseRepoData


def parse(text: str) -> MatchSpec:
    """Understand a spec.

    Raises:
        InvalidMatchSpec: it is malformed.
    """
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        return MatchSpec(text)
    except InvalidMatchSpecError as error:
        raise errors.InvalidMatchSpec(text, str(error).partition("\n")[0]) from error


def spec_name(text: str) -> str:
    """The package that a spec is about."""
    return str(parse(text).name.normalized)


def conda_form(text: str) -> str:
    """A spec as conda writes it into the history and into requested_specs."""
    spec = parse(text)
    channel = f"{spec.channel.name}::" if spec.channel is not None else ""
    name, version, build = str(spec.name.normalized), spec.version, spec.build
    if version is None:
        return f"{channel}{name}" + (f"[build={build}]" if build else "")
    if build:
        return f"{channel}{name}=={version.lstrip('=')}={build}"
    if version.startswith("=="):
        return f"{channel}{name}{version}"
    if re.fullmatch(r"[\w.!+]+\.\*", version):
        return f"{channel}{name}={version.removesuffix('.*')}"
    return f"{channel}{name}[version='{version}']"


@dataclass
class Change:
    """What a solution changes: packages to take out and to put in, in the order to do it."""

    unlink: list[Record] = field(default_factory=list)
    link: list[Record] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.unlink or self.link)


def difference(
    before: Mapping[str, Record], after: Mapping[str, Record], again: Sequence[str] = ()
) -> Change:
    """Compare an environment with what it shall hold.

    Args:
        before: its packages by name.
        after: what it shall hold.
        again: names to put in anew even if they are the same.
    """

    def same(one: Record, other: Record) -> bool:
        if one["url"] == other["url"]:
            return True
        # The same package from a mirror, or from a server on another port, is no change.
        return dist(one) == dist(other) and one.get("sha256") == other.get("sha256")

    kept = {
        name
        for name, record in after.items()
        if name in before and name not in again and same(before[name], record)
    }
    return Change(
        unlink=in_order(rec for name, rec in before.items() if name not in kept)[::-1],
        link=in_order(rec for name, rec in after.items() if name not in kept),
    )


def _sparse(found: Sequence[Index]) -> list[SparseRepoData]:
    import rattler

    return [
        rattler.SparseRepoData(rattler.Channel(index.channel.url), index.subdir, index.file)
        for index in found
    ]


def _pins(prefix: str, context: Context) -> list[str]:
    """The specs that hold an environment back: its own conda-meta/pinned and the settings'."""
    try:
        lines = Path(prefix, "conda-meta", "pinned").read_text().splitlines()
    except OSError:
        lines = []
    pins = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return pins + context.settings("pinned_packages", "&")


def channels_for(specs: Sequence[str], context: Context) -> list[Channel]:
    """The channels to look into.

    Raises:
        CondaError: ArgumentError or NoChannelsConfiguredError: there are none.
    """
    if context.override_channels and not context.cli_channels:
        raise errors.argument_error(
            "At least one -c / --channel flag must be supplied when using --override-channels."
        )
    channels = [Channel.of(text, context) for text in context.channels]
    if not channels and specs:
        raise errors.no_channels([spec_name(spec) for spec in specs])
    return channels


def _check_found(
    specs: Sequence[str],
    sparse: Sequence[SparseRepoData],
    held: Mapping[str, Record],
    channels: Sequence[Channel],
) -> None:
    missing = []
    for text in specs:
        spec = parse(text)
        name = str(spec.name.normalized)
        candidates = [record for repo in sparse for record in repo.load_records(name)]
        if not any(spec.matches(record) for record in candidates) and name not in held:
            missing.append(text)
    if missing:
        raise errors.packages_not_found(
            missing, [channel.url for channel in channels], [one.as_json() for one in channels]
        )


def satisfied(specs: Sequence[str], held: Mapping[str, Record], prefix: str) -> bool:
    """Whether an environment's packages meet all specs already."""
    from rattler import PrefixRecord

    for text in specs:
        spec = parse(text)
        record = held.get(str(spec.name.normalized))
        if record is None:
            return False
        path = Path(prefix, "conda-meta", f"{dist(record)}.json")
        if not spec.matches(PrefixRecord.from_path(path)):
            return False
    return True


def solve(
    prefix: str,
    specs: Sequence[str],
    held: Mapping[str, Record],
    context: Context,
    *,
    update_all: bool = False,
    again: bool = False,
) -> Change:
    """Find what to change so that an environment meets further specs.

    Args:
        prefix: the environment.
        specs: what is asked for now; newest wins, as `conda install` does.
        held: what it holds by now.
        context: channels and settings.
        update_all: let every package move, not only those asked for.
        again: put in anew what is asked for even if it stays the same.

    Returns:
        The change; empty if there is nothing to do.

    Raises:
        CondaError: a channel, a package or a solution is missing.
    """
    import rattler
    from rattler.exceptions import SolverError

    for spec in specs:
        parse(spec)
    channels = channels_for(specs, context)
    found = indexes(channels, context)
    sparse = _sparse(found)
    _check_found(specs, sparse, held, channels)

    asked = {spec_name(spec) for spec in specs}
    wanted = list(specs)
    for name, record in held.items():
        if name not in asked:
            # What is there stays there, as it was asked for; only its version may have to move.
            earlier = [text for text in record.get("requested_specs") or [] if text]
            wanted += [text for text in earlier if "::" not in text] or [name]
    constraints = _pins(prefix, context)
    minor = python_minor(held)
    if minor and "python" not in asked:
        constraints.append(f"python {minor}.*")
    meta = Path(prefix, "conda-meta")
    locked = [
        rattler.PrefixRecord.from_path(meta / f"{dist(record)}.json")
        for name, record in held.items()
        if name not in asked and not update_all
    ]
    priorities = {"strict": rattler.ChannelPriority.Strict}
    priority = str(context.setting("channel_priority", "flexible"))
    try:
        solution = asyncio.run(
            rattler.solve_with_sparse_repodata(
                # Parsed as conda does: rattler would be strict, and refuse NAME=VERSION=BUILD.
                specs=[parse(text) for text in wanted],
                sparse_repodata=sparse,
                locked_packages=locked,
                virtual_packages=rattler.VirtualPackage.detect(),
                channel_priority=priorities.get(priority, rattler.ChannelPriority.Disabled),
                constraints=constraints,
            )
        )
    except SolverError as error:
        raise errors.unsatisfiable(str(error)) from error
    known = {url: record for index in found for url, record in index.records().items()}
    known.update({record["url"]: record for record in held.values()})
    after = {one.name.normalized: known[one.url] for one in solution}
    return difference(held, after, sorted(asked) if again else ())


def removal(names: Sequence[str], held: Mapping[str, Record], prefix: str) -> Change:
    """What goes when packages are removed: what needs them, and what only that had needed.

    Args:
        names: what to remove.
        held: what the environment holds.
        prefix: the environment, for the error.

    Raises:
        CondaError: PackagesNotFoundInPrefixError.
    """
    missing = [name for name in names if spec_name(name) not in held]
    if missing:
        raise errors.packages_not_in_prefix(missing, prefix)
    gone = {spec_name(name) for name in names}
    while True:
        dependents = {
            name
            for name, record in held.items()
            if name not in gone
            and gone & set(names_needed(record))
            # python "needs" pip only so that pip comes along.
            and not (name == "python" and gone & set(names_needed(record)) <= {"pip"})
        }
        if not dependents:
            break
        gone |= dependents
    keep: set[str] = set()
    waiting = [
        name
        for name, record in held.items()
        if name not in gone and (record.get("requested_specs") or name == "python")
    ]
    while waiting:
        name = waiting.pop()
        if name in keep or name in gone or name not in held:
            continue
        keep.add(name)
        waiting += names_needed(held[name])
    return Change(unlink=in_order(rec for name, rec in held.items() if name not in keep)[::-1])
