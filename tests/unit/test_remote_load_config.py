"""The programs that try a hub's configuration, and a hub, before anything is switched to it.

The JupyterHub here is made up: it does what its configuration says. A real one is tried on the box
(tests/box/test_d_rollback.py).
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.program import source

MODULES = {
    "traitlets/__init__.py": "class TraitError(Exception): pass",
    "traitlets/config.py": """\
class PyFileConfigLoader:
    def __init__(self, name, path): self.name = name
    def load_config(self):
        found = {}
        with open(self.name) as file:
            exec(compile(file.read(), self.name, "exec"), found)
        return found
""",
    "jupyterhub/__init__.py": "",
    "jupyterhub/app.py": """\
from traitlets import TraitError
from traitlets.config import PyFileConfigLoader
class JupyterHub:
    internal_ssl = True
    def __init__(self, config=None):
        if "wrong" in (config or {}): raise TraitError(config["wrong"])
    def authenticator_class(self, parent): pass
    spawner_class = authenticator_class
    @classmethod
    def instance(cls): return cls()
    async def initialize(self, argv):
        given = dict(a.removeprefix("--").split("=", 1) for a in argv)
        self.starts = PyFileConfigLoader(given["config"], []).load_config().get("starts")
        self.database = given["JupyterHub.db_url"].removeprefix("sqlite:///")
    async def start(self):
        if self.starts: await self.starts(self.database)
""",
    "tornado/__init__.py": "",
    "tornado/httpclient.py": "AsyncHTTPClient = None",
}


class Place:
    """A configuration, a database, and a Python that has a JupyterHub."""

    def __init__(self, folder: Path) -> None:
        self.configuration = folder / "staged.py"
        self.modules, self.state = folder / "modules", folder / "state"
        for name, text in MODULES.items():
            path = self.modules / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.state.mkdir()
        (folder / "systemctl").write_text("#!/bin/sh\n")
        (folder / "systemctl").chmod(0o755)
        self.path = f"{folder}:{os.environ['PATH']}"
        self.database = self.state / "hub.sqlite"
        self.run_sql("CREATE TABLE spawners (server_id)", "INSERT INTO spawners VALUES (1)")
        self.says("")

    def run_sql(self, *statements: str) -> list[Any]:
        """Change the database, or ask it."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    def says(self, text: str) -> None:
        """Have a configuration."""
        self.configuration.write_text(text)

    def start(self, on_trial: bool = True, patience: float = 60) -> subprocess.Popen[str]:
        """Start the program."""
        text = source("load_config").replace("PATIENCE = 60", f"PATIENCE = {patience}")
        given = {
            "path": str(self.configuration),
            "known_as": "/etc/hub/config.py",
            "unit": "no-such.service",
            "database": str(self.database) if on_trial else None,
        }
        text = f"import sys\nsys.path.insert(0, {str(self.modules)!r})\n{text}"
        return subprocess.Popen(
            [sys.executable, "-I", "-c", text, json.dumps(given)],
            env={"PATH": self.path},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tried(self, **how: Any) -> str:
        """What is wrong; nothing where it is taken."""
        with self.start(**how) as process:
            _, said = process.communicate(timeout=30)
        assert (process.returncode == 0) == (said == "")
        return said

    @property
    def there(self) -> list[str]:
        """What lies where the database does."""
        return sorted(path.name for path in self.state.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_hub_is_started_on_a_copy_of_which_nothing_is_left(place: Place) -> None:
    place.says(
        """
async def starts(database):
    import sqlite3
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT * FROM spawners").fetchall() == [(None,)]
        connection.execute("DELETE FROM spawners")
"""
    )
    assert place.tried() == ""
    assert place.run_sql("SELECT * FROM spawners") == [(1,)]
    assert place.there == ["hub.sqlite"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("raise OSError('the port is taken.')", "does not start (OSError: the port is taken)"),
        ("raise SystemExit('it cannot be')", "does not start (SystemExit: it cannot be)"),
        ("import asyncio; await asyncio.sleep(60)", "does not start in time"),
    ],
)
def test_a_hub_that_does_not_start_is_refused_with_the_reason(
    place: Place, wrong: str, said: str
) -> None:
    place.says(f"async def starts(database): {wrong}")
    assert place.tried(patience=0.5) == f"JupyterHub {said}: the hub was left as it is.\n"
    assert place.there == ["hub.sqlite"]
    # Nobody asks for a trial where the release stays.
    assert place.tried(on_trial=False) == ""


def test_a_database_that_cannot_be_migrated_is_refused(place: Place) -> None:
    place.run_sql("CREATE TABLE alembic_version (version_num)")
    place.run_sql("INSERT INTO alembic_version VALUES ('of another hub')")
    assert place.tried() == (
        "its database cannot be migrated (ModuleNotFoundError: No module named 'jupyterhub'): "
        "the hub was left as it is.\n"
    )
    assert place.there == ["hub.sqlite"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", "/etc/hub/config.py, line 1, does not load (SyntaxError: '(' was never closed)"),
        ("\n1 / 0", "/etc/hub/config.py, line 2, does not load (ZeroDivisionError: division"),
        ("wrong = 'port must be a number.'", "refuses its configuration (port must be a number)"),
    ],
)
def test_a_configuration_that_does_not_load_is_refused(place: Place, text: str, said: str) -> None:
    place.says(text)
    assert said in place.tried(on_trial=False)


WAITS = """
async def starts(database):
    import os, time
    open("{0}/begun", "w").close()
    until = time.monotonic() + 20
    while not os.path.exists("{0}/go"):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert os.path.exists(database), "somebody has removed it"
"""


def test_two_trials_leave_each_other_alone(place: Place, tmp_path: Path) -> None:
    """The run that began the first has lost its connection, and another one comes."""
    place.says(WAITS.format(tmp_path))
    with place.start() as first:
        wait_for(tmp_path / "begun")
        place.says("")
        assert place.tried() == ""
        assert len(place.there) == 2, "the first one's"
        (tmp_path / "go").touch()
        assert first.communicate(timeout=30)[1] == ""
    assert place.there == ["hub.sqlite"]


def test_what_a_trial_that_was_killed_has_left_is_removed(place: Place, tmp_path: Path) -> None:
    place.says(WAITS.format(tmp_path))
    with place.start() as process:
        wait_for(tmp_path / "begun")
        process.kill()
    assert len(place.there) == 2
    place.says("")
    assert place.tried() == ""
    assert place.there == ["hub.sqlite"]


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    script = 'for _ in $(seq 200); do [ -e "$1" ] && exit; sleep 0.1; done; exit 1'
    subprocess.run(["/bin/sh", "-c", script, "sh", path], check=True)
