"""The command `jupyterbox`: what is on boxes; a demo box, up and down."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from jupyterbox import locks
from jupyterbox.asking import InventoryError, ask
from jupyterbox.demo import REPOSITORY, DemoError
from jupyterbox.demo.conda import conda_mirror, stop_channel
from jupyterbox.demo.host import ensure_host_packages, require_root
from jupyterbox.demo.machine import Machine, NoMachine
from jupyterbox.demo.root import RELEASES
from jupyterbox.demo.steps import Say, Steps
from jupyterbox.status import as_json, show

DEFAULT_NAME = "demo"
DEFAULT_RELEASE = "trixie"


class Commands(click.Group):
    """A group whose commands end with one sentence and a status where a demo box fails them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DemoError as error:
            raise click.ClickException(str(error)) from None


class UsageError(click.ClickException):
    """What was asked for cannot be done, where how to call the command is not what is wrong."""

    exit_code = click.UsageError.exit_code


@click.group(cls=Commands)
@click.version_option(package_name="jupyterbox")
def main() -> None:
    """Jupyterbox: declare a JupyterHub server, and move it there over SSH."""


_json = click.option("--json", "for_programs", is_flag=True, help="One JSON object, for programs.")


@main.command("status")
@click.argument("inventory", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--limit",
    "limits",
    metavar="HOST",
    multiple=True,
    help="Only this box, or this group; may be given several times.",
)
@_json
@click.pass_context
def boxes_status(
    context: click.Context, inventory: Path, limits: tuple[str, ...], for_programs: bool
) -> None:
    """Show what is on the boxes of an inventory, and what is wrong there.

    Nothing is changed. The exit status is 1 where a box has a problem, one that cannot be reached
    included, and 2 where the inventory does not load.
    """
    try:
        boxes = ask(inventory.absolute(), limits)
    except InventoryError as error:
        raise UsageError(str(error)) from None
    if for_programs:
        click.echo(as_json(boxes))
    else:
        show(boxes)
    context.exit(1 if any(box.problems for box in boxes.values()) else 0)


@main.command("lock")
@click.argument("inventory", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", "limits", metavar="HOST", multiple=True, help="Of this box.")
@click.option(
    "--env",
    "names",
    metavar="NAME",
    multiple=True,
    help="Only this environment; may be given several times.",
)
def lock_environments(inventory: Path, limits: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Write down the very packages of a box's environments, beside its inventory.

    A deploy from such a lock installs the same files, on this box or on another one.
    """
    try:
        for written in locks.lock(inventory.absolute(), limits, names):
            click.echo("\n".join(locks.described(written)))
    except InventoryError as error:
        raise UsageError(str(error)) from None
    except locks.LockError as error:
        raise click.ClickException(str(error)) from None


@main.group()
def demo() -> None:
    """A disposable machine on this host, to see what a deploy makes of a bare server."""


_name = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which box.")


@demo.command()
@click.option(
    "--release",
    type=click.Choice(RELEASES),
    help=f"Of Debian or Ubuntu, for a new box.  [default: {DEFAULT_RELEASE}]",
)
@_name
def up(name: str, release: str | None) -> None:
    """Boot a bare box, deploy to it, try it, and print its address and a login.

    A box that is there already is deployed to again.
    """
    require_root()
    say = Steps()
    machine = _boot(name, release, say)
    machine.conda = conda_mirror(machine, say)
    machine.save()
    for task in ("deploy.py", "tasks/verify.py"):
        say(task)
        _pyinfra(machine, task)
    say("done")
    _print(machine)


@demo.command()
@_name
def down(name: str) -> None:
    """Destroy the box and all that is in it."""
    require_root()
    try:
        machine = Machine.load(name)
    except NoMachine:
        click.echo(f"There is no demo box {name}.")
        return
    say = Steps()
    say(f"destroying the box {name}")
    stop_channel(machine)
    machine.destroy()
    say(f"the box {name} is gone")


@demo.command()
@_json
@_name
def status(name: str, for_programs: bool) -> None:
    """Print the box's address and login; exit 1 where none runs."""
    machine = _running(name)
    if for_programs:
        click.echo(json.dumps(description(machine), indent=2))
    else:
        _print(machine)


@demo.command()
@_name
@click.option(
    "--user",
    type=click.Choice(["root", "ops", "opspw"]),
    default="root",
    show_default=True,
    help="As whom: sudo asks `ops` nothing, and `opspw` for its password.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, user: str, command: tuple[str, ...]) -> None:
    """Open a shell in the box, or run a command there: demo ssh -- COMMAND."""
    arguments = [*_running(name).ssh_command(user), "--", *command]
    sys.stdout.flush()
    os.execvp(arguments[0], arguments)


def description(machine: Machine) -> dict[str, str | int]:
    """What a program needs to use a box: the hub's address and login, and the way in."""
    return {
        "url": machine.url,
        "user": "demo",
        "password": machine.demo_password,
        "ssh_host": machine.ssh_host,
        "ssh_port": machine.ssh_port,
        "ssh_key": str(machine.ssh_key),
        "release": machine.release,
    }


def _boot(name: str, release: str | None, say: Say) -> Machine:
    """The box of this name, running; a new one where there is none."""
    ensure_host_packages(say)
    try:
        machine = Machine.load(name)
    except NoMachine:
        machine = Machine.create(name, release or DEFAULT_RELEASE, say)
    if release not in (None, machine.release):
        raise DemoError(
            f"The demo box {name} is a {machine.release}: `jupyterbox demo down` it first, or give "
            "the new one another --name."
        )
    if not machine.is_running():
        say(f"booting the box {name}")
    machine.boot()
    machine.wait_for_ssh()
    return machine


def _running(name: str) -> Machine:
    """The box of this name.

    Raises:
        DemoError: it does not run.
    """
    machine = Machine.load(name)
    if not machine.is_running():
        raise DemoError(f"The demo box {name} is switched off: `jupyterbox demo up` boots it.")
    return machine


def _pyinfra(machine: Machine, task: str) -> None:
    """Run a pyinfra file against a box, with its output shown as it comes.

    Raises:
        DemoError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", "-y", "inventories/demo.py", task],
        cwd=REPOSITORY,
        env=os.environ | {"JUPYTERBOX_DEMO": machine.name},
        check=False,
    )
    if done.returncode:
        raise DemoError(
            f"{task} failed on the demo box {machine.name}, which stays up for you to look at."
        )


def _print(machine: Machine) -> None:
    """Tell a person how to use a box."""
    which = "" if machine.name == DEFAULT_NAME else f" --name {machine.name}"
    click.echo(
        f"""
  {machine.url}

  user      demo
  password  {machine.demo_password}
  shell     {_command()} demo ssh{which}
  end       {_command()} demo down{which}
"""
    )


def _command() -> str:
    """What to type for this command: `make` runs it from an environment that no PATH names."""
    return "jupyterbox" if shutil.which("jupyterbox") else os.path.relpath(sys.argv[0])
