"""`python -m tests.channel build|serve|lock`: the local conda channel, from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from . import server as server_module
from .common import ChannelError, say


@click.group(help=__doc__)
def main() -> None:
    """Hold the commands together."""


@main.command()
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="where results stay")
def build(cache: Path) -> None:
    """Build what is missing; the last line on stdout says where it is, as JSON."""
    from . import build as build_module

    click.echo(json.dumps(build_module.build(cache)))


@main.command()
@click.option("--dir", "directory", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--port", type=int, required=True)
def serve(directory: Path, port: int) -> None:
    """Serve a built directory on 127.0.0.1 until it is told to stop."""
    made = server_module.server(directory, port)
    say(f"serving {directory} on http://127.0.0.1:{made.server_address[1]}")
    try:
        made.serve_forever()
    except KeyboardInterrupt:
        made.server_close()


@main.command()
def lock() -> None:
    """Resolve the wheels anew and write the lock files."""
    from . import recipe, wheels

    for group in wheels.REQUIREMENTS:
        wheels.lock(group, recipe.HERE / f"{group}.txt", recipe.this_machine())


if __name__ == "__main__":
    try:
        main()
    except ChannelError as error:
        say(str(error))
        sys.exit(1)
