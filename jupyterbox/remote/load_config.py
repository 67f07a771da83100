"""Load a hub's configuration as a hub would; fail on what is wrong with it.

Run by the hub's own Python. (`jupyterhub --show-config` would open the database, and upgrade it.)
Arguments: path (what is loaded), known_as (where it is about to lie), unit (the hub's, whose
environment a configuration may read), database (for a release that is about to run on that: a hub
is started, on a copy; else None).
"""

import asyncio
import json
import os
import shlex
import subprocess
import sys
import traceback

from hub_trial import attempt
from jupyterhub.app import JupyterHub
from traitlets import TraitError
from traitlets.config import PyFileConfigLoader


class Refused(Exception):
    """What is wrong, without the end of the sentence."""


def environment(unit):
    """The variables that systemd gives a unit: its own, its drop-ins', and those in files."""
    shown = subprocess.run(
        ["systemctl", "show", "-p", "Environment,EnvironmentFiles", unit],
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    variables = []
    for line in shown:
        key, _, value = line.partition("=")
        if key == "Environment":
            variables += shlex.split(value)
        elif key == "EnvironmentFiles":
            try:
                with open(value.rpartition(" (")[0]) as file:
                    variables += shlex.split(file.read(), comments=True)
            except OSError:
                continue
    return dict(variable.split("=", 1) for variable in variables if "=" in variable)


def place(error, path, known_as):
    """The line of the configuration that an error comes from, however deep in a library it rose."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        lines.append((error.filename or "", error.lineno))
    beside = os.path.dirname(known_as) + "/"
    for name, line in reversed(lines):
        if name == path or name.startswith(beside):
            return f"{known_as if name == path else name}, line {line}"
    return known_as


def load(path, known_as):
    """The configuration as traitlets reads it.

    Raises:
        Refused: it does not load.
    """
    try:
        return PyFileConfigLoader(path, path=[os.path.dirname(known_as)]).load_config()
    except (Exception, SystemExit) as error:
        said = error.msg if isinstance(error, SyntaxError) else error
        what = f"{type(error).__name__}: {said}"
        raise Refused(f"{place(error, path, known_as)}, does not load ({what})") from None


def check(config):
    """Have the classes that it configures take it: they refuse wrong values, and do nothing yet."""
    try:
        app = JupyterHub(config=config)
        app.authenticator_class(parent=app)
        app.spawner_class(parent=app)
    except TraitError as error:
        raise Refused(f"JupyterHub refuses its configuration ({str(error).rstrip('.')})") from None
    except Exception:
        # A spawner without a user may stumble, after it has read its configuration.
        return


def start(path, database):
    """Start a hub on trial.

    Raises:
        Refused: it does not start.
    """
    try:
        attempt(path, database)
    except asyncio.TimeoutError:
        raise Refused("JupyterHub does not start in time") from None
    except subprocess.CalledProcessError as error:
        last = error.stdout.strip().splitlines()[-1:]
        raise Refused(f"its database cannot be migrated ({''.join(last)})") from None
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {str(error).rstrip('.')}"
        raise Refused(f"JupyterHub does not start ({what})") from None


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    os.environ.update(environment(arguments.pop("unit")))
    database = arguments.pop("database", None)
    try:
        check(load(**arguments))
        if database:
            start(arguments["path"], database)
    except Refused as refused:
        reason = " ".join(str(refused).split())
        sys.exit(f"{reason}: the hub was left as it is.")
