"""What the command prints: JSON for programs, and the plain text that people read."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from . import errors
from .context import Context
from .fetch import Channel
from .records import Record, base_url, canonical_channel, channel_name, dist, link_item
from .solver import Change, conda_form

_ACTIVATE = """\
#
# To activate this environment, use
#
#     $ conda activate {name}
#
# To deactivate an active environment, use
#
#     $ conda deactivate

"""


def print_json(value: Any, sort_keys: bool = False) -> None:
    """Print the one JSON document of a --json run."""
    print(json.dumps(value, indent=2, sort_keys=sort_keys))


def print_error(error: errors.CondaError, as_json: bool) -> None:
    """Report an error where conda does: JSON on stdout, text on stderr."""
    if not as_json:
        sys.stderr.write(error.as_text())
    elif isinstance(error, errors.InvalidMatchSpec):
        sys.stderr.write(error.crash())
    else:
        print_json(error.as_json(), sort_keys=True)
        print()


def say(context: Context, text: str = "", end: str = "\n") -> None:
    """Print a line, unless the output is JSON."""
    if not context.json:
        print(text, end=end, flush=True)


def working(context: Context, what: str) -> None:
    """Print one of conda's "...working... done" lines."""
    say(context, f"{what}: ...working... done")


def solving(context: Context, channels: Sequence[Channel], prefix: str, failed: bool) -> None:
    """Print what conda prints while it solves."""
    urls = [canonical_channel(channel.url, context.channel_alias) for channel in channels]
    if len(urls) == 1:
        say(context, f"Channel: {urls[0]}")
    else:
        say(context, "Channels:\n" + "".join(f" - {url}\n" for url in urls), end="")
    say(context, f"Platform: {context.subdir}")
    say(context, f"Target prefix: {'<dry run>' if context.dry_run else prefix}")
    working(context, "Collecting package metadata (repodata.json)")
    say(context, f"Solving environment: ...working... {'failed' if failed else 'done'}")


def _size(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    if size < 1024 * 1024:
        return f"{size // 1024} KB"
    return f"{size / 1024 / 1024:.1f} MB"


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}~"


def _origin(record: Mapping[str, Any], context: Context) -> str:
    name = channel_name(base_url(record), context.channel_alias)
    return f"{name}/{record['subdir']}::{dist(record)} "


def plan(
    context: Context,
    prefix: str,
    change: Change,
    to_fetch: Sequence[Record],
    specs: Sequence[str] = (),
    removed_specs: Sequence[str] = (),
) -> None:
    """Print the Package Plan."""
    say(context, f"\n## Package Plan ##\n\n  environment location: {prefix}\n")
    for title, texts in (("added / updated", specs), ("removed", removed_specs)):
        if texts:
            say(context, f"  {title} specs:")
            for text in sorted(texts):
                say(context, f"    - {text if '::' in text else conda_form(text)}")
            say(context)
    say(context)
    if to_fetch:
        say(context, "The following packages will be downloaded:\n")
        say(context, f"    {'package':<27}|{'build':>17}")
        say(context, f"    {'-' * 27}|{'-' * 17}")
        for record in sorted(to_fetch, key=lambda one: str(one["name"])):
            label = f"{record['name']}-{record['version']}"
            where = canonical_channel(base_url(record), context.channel_alias)
            size = _size(record.get("size") or 0)
            say(context, f"    {label:<27}|{record['build']:>17}{size:>15}  {where}")
        say(context, f"    {'-' * 60}")
        total = _size(sum(record.get("size") or 0 for record in to_fetch))
        say(context, f"{'Total:':>49}{total:>15}\n")
    before = {record["name"]: record for record in change.unlink}
    after = {record["name"]: record for record in change.link}
    new = sorted(set(after) - set(before))
    gone = sorted(set(before) - set(after))
    moved = sorted(set(before) & set(after))
    if new:
        say(context, "The following NEW packages will be INSTALLED:\n")
        for name in new:
            say(context, f"  {_short(name):<18} {_origin(after[name], context)}")
        say(context)
    if gone:
        say(context, "The following packages will be REMOVED:\n")
        for name in gone:
            say(context, f"  {dist(before[name])}")
        say(context)
    if moved:
        say(context, "The following packages will be UPDATED:\n")
        for name in moved:
            old, fresh = before[name], after[name]
            arrow = f"{old['version']}-{old['build']} --> {fresh['version']}-{fresh['build']}"
            say(context, f"  {_short(name):<18} {arrow} ")
        say(context)
    say(context)


def confirm(context: Context, question: str, default: str) -> None:
    """Ask before going on, unless --yes, --json or --dry-run answer already.

    Args:
        context: the options.
        question: what is asked, as conda words it.
        default: "y" or "n": what an empty answer means.

    Raises:
        CondaError: CondaSystemExit: the answer was no, or stdin had none.
    """
    if context.yes or context.json or context.dry_run:
        return
    while True:
        print(question, end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            raise errors.exiting()
        answer = line.strip().lower() or default
        if answer in ("y", "yes"):
            return
        if answer in ("n", "no"):
            raise errors.exiting()
        print(f"Invalid choice: {line.strip()}")


def progress(context: Context, linked: bool) -> None:
    """Print conda's lines for the work that is through by now."""
    if linked and not context.quiet:
        say(context, "\nDownloading and Extracting Packages: ...working... done")
    for step in ("Preparing", "Verifying", "Executing"):
        working(context, f"{step} transaction")


def activation_hint(context: Context, shown: str) -> None:
    """Print how to activate the new environment."""
    if not context.quiet:
        say(context, _ACTIVATE.format(name=shown))
    else:
        say(context)


def actions(
    context: Context, prefix: str, change: Change, fetched: Sequence[Record]
) -> dict[str, Any]:
    """The JSON of a change."""
    done: dict[str, Any] = {"FETCH": list(fetched), "PREFIX": prefix}
    for key, records in (("UNLINK", change.unlink), ("LINK", change.link)):
        if records:
            done[key] = [link_item(record, context.channel_alias) for record in records]
    result: dict[str, Any] = {"success": True, "actions": done, "prefix": prefix}
    if context.dry_run:
        result["dry_run"] = True
    return result
