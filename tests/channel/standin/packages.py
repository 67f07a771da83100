"""create, install, update and remove."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import envs, errors, fetch, output, solver
from .context import Context
from .records import Record, full, in_order, installed, is_environment
from .solver import Change
from .transaction import Transaction, clobber_records, remove_tree

_ALREADY = "All requested packages already installed."
_REMOVE_EXISTING = (
    "Remove existing environment?\n"
    "This will remove ALL directories contained within this specified prefix directory, including"
    " any other conda environments.\n\n (y/[n])? "
)


def _file_specs(files: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Read the --file options.

    Returns:
        The specs, and the addresses if a file says @EXPLICIT.
    """
    specs: list[str] = []
    explicit: list[str] | None = None
    for name in files:
        try:
            lines = Path(name).read_text().splitlines()
        except OSError as error:
            raise errors.CondaError(
                "EnvironmentFileNotFound", f"'{name}' file not found", filename=name
            ) from error
        lines = [line.strip() for line in lines]
        lines = [line for line in lines if line and not line.startswith("#")]
        if "@EXPLICIT" in lines:
            explicit = (explicit or []) + [line for line in lines if line != "@EXPLICIT"]
        else:
            specs += lines
    return specs, explicit


def _solved(
    context: Context,
    prefix: str,
    specs: Sequence[str],
    held: dict[str, Record],
    **how: Any,
) -> Change:
    """Solve, and print what conda prints of it."""
    try:
        change = solver.solve(prefix, specs, held, context, **how)
    except errors.CondaError as error:
        if error.name in ("RattlerUnsatisfiableError", "PackagesNotFoundInChannelsError"):
            channels = solver.channels_for(specs, context)
            # As conda: where a package is missing it looks twice.
            for _ in range(2 if error.name == "PackagesNotFoundInChannelsError" else 1):
                output.solving(context, channels, prefix, failed=True)
        raise
    output.solving(context, solver.channels_for(specs, context), prefix, failed=False)
    return change


def _carry_out(
    context: Context, transaction: Transaction, hint: str | None = None
) -> dict[str, Any]:
    """Show the plan, ask, and do it.

    Returns:
        The JSON of the result.
    """
    change = transaction.change
    to_fetch = fetch.to_fetch(change.link, context)
    output.plan(
        context,
        transaction.prefix,
        change,
        to_fetch,
        transaction.update_specs,
        transaction.remove_specs,
    )
    if not context.dry_run:
        output.confirm(context, "Proceed ([y]/n)? ", "y")
        transaction.execute(context)
        output.progress(context, linked=not context.quiet)
        if hint:
            output.activation_hint(context, hint)
        else:
            output.say(context)
    return output.actions(context, transaction.prefix, change, to_fetch)


def _print(context: Context, result: dict[str, Any]) -> None:
    if context.json:
        output.print_json(result)
    elif context.dry_run:
        output.say(context, "\nDryRunExit: Dry run. Exiting.\n")


def _make_way(context: Context, prefix: str) -> None:
    """Deal with an environment that stands where a new one shall be: as conda, delete it."""
    if not is_environment(prefix):
        return
    if context.dry_run:
        raise errors.value_error("Cannot `create --dry-run` with an existing conda environment")
    if prefix == str(context.root):
        raise errors.value_error("The target prefix is the base prefix. Aborting.")
    output.say(context, f"WARNING: A conda environment already exists at '{prefix}'\n")
    output.confirm(context, _REMOVE_EXISTING, "n")
    envs.check_changeable(prefix)
    remove_tree(prefix)


def create(args: Namespace, context: Context) -> int:
    """`conda create`."""
    prefix = envs.target(context, args.name, args.prefix)
    if prefix is None:
        raise errors.argument_error("one of the arguments -n/--name -p/--prefix is required")
    file_specs, explicit = _file_specs(args.file)
    specs = [*args.packages, *file_specs]
    for spec in specs:
        solver.parse(spec)
    if args.clone:
        return _clone(args, context, prefix)
    if not explicit:
        solver.channels_for(specs, context)
    _make_way(context, prefix)
    hint = args.name or prefix
    if explicit is not None:
        return _explicit(context, prefix, explicit, hint)
    change = Change()
    if specs:
        # Debris of a killed run has packages but no history: what is noted is put in anew.
        change = _solved(context, prefix, specs, {})
        if not context.dry_run:
            clobber_records(prefix, [record["name"] for record in change.link])
    _print(
        context,
        _carry_out(context, Transaction(prefix, change, sorted(specs)), hint),
    )
    return 0


def _clone(args: Namespace, context: Context, prefix: str) -> int:
    # existing() takes a name for -p too, where it is one.
    source = envs.existing(context, None, args.clone)
    _make_way(context, prefix)
    held = installed(source)
    specs = [spec for record in held.values() for spec in record.get("requested_specs") or []]
    records = in_order(held.values())
    Transaction(prefix, Change(link=[_bare(record) for record in records]), specs).execute(context)
    if context.json:
        output.print_json(
            {"success": True, "untracked_files": [], "src_prefix": source, "dst_prefix": prefix}
        )
    return 0


def _bare(record: Record) -> Record:
    """A record as repodata would have it, from conda-meta."""
    ours = {
        "requested_spec",
        "requested_specs",
        "package_tarball_full_path",
        "extracted_package_dir",
        "files",
        "paths_data",
        "link",
    }
    return {key: value for key, value in record.items() if key not in ours}


def _explicit(context: Context, prefix: str, lines: Sequence[str], hint: str | None) -> int:
    """Install exactly the packages of an @EXPLICIT file."""
    wanted: list[Record] = []
    for line in lines:
        url, _, digest = line.partition("#")
        base, subdir, file_name = url.rsplit("/", 2)
        stem = re.sub(r"\.(conda|tar\.bz2)$", "", file_name)
        name, version, build = stem.rsplit("-", 2)
        digest = digest.removeprefix("sha256:")
        kind = "sha256" if len(digest) == 64 else "md5"
        record = full(
            {"name": name, "version": version, "build": build, "subdir": subdir},
            base,
            file_name,
        )
        wanted.append({**record, kind: digest} if digest else record)
    packages = fetch.obtain(wanted, context)
    records = []
    for record in wanted:
        note = json.loads((packages[record["url"]] / fetch.RECORD_FILE).read_text())
        known = full({**note, **{k: v for k, v in record.items() if v}}, "", record["fn"])
        records.append({**known, "channel": record["channel"], "url": record["url"]})
    change = solver.difference(installed(prefix), {one["name"]: one for one in records})
    # An explicit file adds and replaces; what it does not name stays.
    named = {one["name"] for one in records}
    change.unlink = [one for one in change.unlink if one["name"] in named]
    specs = [f"{one['channel']}::{one['name']}=={one['version']}={one['build']}" for one in records]
    output.say(context, "\nDownloading and Extracting Packages: ...working... done")
    output.plan(context, prefix, change, [], specs)
    if context.dry_run:
        return 0
    output.confirm(context, "Proceed ([y]/n)? ", "y")
    Transaction(prefix, change, specs).execute(context, packages)
    output.progress(context, linked=not context.quiet)
    if hint:
        output.activation_hint(context, hint)
    # As conda: with --json an explicit installation prints nothing at all.
    return 0


def install(args: Namespace, context: Context) -> int:
    """`conda install` and `conda update`."""
    prefix = envs.existing(context, args.name, args.prefix)
    file_specs, explicit = _file_specs(args.file)
    specs = [*args.packages, *file_specs]
    for spec in specs:
        solver.parse(spec)
    envs.check_changeable(prefix, args.override_frozen)
    if explicit is not None:
        return _explicit(context, prefix, explicit, None)
    held = installed(prefix)
    updating = args.command in ("update", "upgrade")
    if updating:
        missing = [name for name in specs if solver.spec_name(name) not in held]
        if missing:
            raise errors.CondaError(
                "PackageNotInstalledError",
                f"Package is not installed in prefix.\n  prefix: {prefix}\n"
                f"  package name: {missing[0]}\n",
                prefix=prefix,
                package_name=missing[0],
            )
    if not specs and not args.update_all:
        raise errors.value_error(
            "too few arguments, must supply command line package specs or --file"
        )
    if args.satisfied_skip_solve and solver.satisfied(specs, held, prefix):
        change = Change()
    else:
        change = _solved(
            context, prefix, specs, held, update_all=args.update_all, again=args.force_reinstall
        )
    if not change:
        if context.json:
            output.print_json({"success": True, "message": _ALREADY})
        else:
            output.say(context, f"\n# {_ALREADY}\n")
        return 0
    noted = [] if updating else sorted(specs)
    _print(context, _carry_out(context, Transaction(prefix, change, noted)))
    return 0


def remove(args: Namespace, context: Context) -> int:
    """`conda remove`."""
    prefix = envs.existing(context, args.name, args.prefix)
    if args.all:
        return remove_all(args, context, prefix)
    if not args.packages:
        raise errors.argument_error('no package names supplied,\n       try "conda remove -h"')
    envs.check_changeable(prefix, args.override_frozen)
    change = solver.removal(args.packages, installed(prefix), prefix)
    transaction = Transaction(prefix, change, remove_specs=sorted(args.packages))
    working = output.working
    working(context, "Collecting package metadata (repodata.json)")
    working(context, "Solving environment")
    _print(context, _carry_out(context, transaction))
    return 0


def remove_all(args: Namespace, context: Context, prefix: str) -> int:
    """`conda remove --all` and `conda env remove`."""
    if prefix == str(context.root) or envs.is_active(prefix):
        raise errors.CondaError(
            "CondaEnvironmentError",
            "Cannot remove current environment. Deactivate and run conda remove again",
        )
    if envs.is_frozen(prefix) and not getattr(args, "override_frozen", False):
        raise errors.frozen(prefix)
    if is_environment(prefix) and not envs.writable(prefix):
        raise errors.CondaMultiError([errors.not_writable(prefix, os.geteuid(), os.getegid())])
    output.say(context, f"\nRemove all packages in environment {prefix}:\n")
    change = Change(unlink=in_order(installed(prefix).values())[::-1])
    output.plan(context, prefix, change, [])
    result = output.actions(context, prefix, change, [])
    if not context.dry_run:
        output.confirm(context, "Proceed ([y]/n)? ", "y")
        remove_tree(prefix)
        envs.unregister(context, prefix)
        output.progress(context, linked=True)
    _print(context, result)
    return 0
