"""A real machine for the tests: systemd, PAM, sshd; deployed over SSH as an operator would.

    pytest tests/box --release bookworm

One machine serves a whole run. Tests that want it bare come first (test_a_bare.py); the first test
that asks for `box` has it deployed.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jupyterbox.demo.inventory import demo_settings
from jupyterbox.demo.machine import Machine
from tests.box import tree
from tests.box.accidents import TOLD
from tests.box.machines import booted
from tests.box.user import User

REPOSITORY = Path(__file__).resolve().parents[2]
PYINFRA = str(Path(sys.executable).with_name("pyinfra"))

INVENTORY = """\
from jupyterbox import Box
from jupyterbox.demo.inventory import connection
from jupyterbox.demo.machine import Machine
from tests.box.conftest import read_settings

_machine = Machine.load({name!r})
boxes = [Box(**read_settings({settings!r})).at({host!r}, **connection(_machine, {user!r}))]
"""

Settings = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--release", default="trixie", help="of Debian or Ubuntu, for the test box")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many accidents were survived, of how many."""
    for line in TOLD:
        terminalreporter.write_line(line)


def read_settings(path: str) -> Settings:
    """Settings that a test wrote down for the inventory that pyinfra loads."""
    settings: Settings = json.loads(Path(path).read_text())
    return settings


@dataclass
class Operator:
    """Somebody with this repository, a key to the box, and settings to try on it."""

    machine: Machine
    directory: Path
    runs: int = field(default=0)

    def settings(self) -> Settings:
        """A fresh copy of the demo's settings, to change and to deploy."""
        settings: Settings = json.loads(json.dumps(demo_settings(self.machine), default=str))
        return settings

    def pyinfra(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run pyinfra to its end; the options are those of `start`."""
        with self.start(*arguments, **options) as process:
            try:
                output, errors = process.communicate(timeout=900)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(
        self,
        *arguments: str,
        settings: Settings | None = None,
        user: str = "root",
        host: str = "127.0.0.1",
        env: dict[str, str] | None = None,
        program: Sequence[str] = (PYINFRA,),
    ) -> subprocess.Popen[str]:
        """Start pyinfra, or what runs it, with an inventory of these settings; no terminal."""
        self.runs += 1
        inventory = self.directory / f"inventory{self.runs}.py"
        values = self.directory / f"settings{self.runs}.json"
        values.write_text(json.dumps(settings or self.settings()))
        values.chmod(0o600)
        inventory.write_text(
            INVENTORY.format(name=self.machine.name, settings=str(values), user=user, host=host)
        )
        return subprocess.Popen(
            [*program, str(inventory), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYINFRA_PROGRESS": "off", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deploy(self, settings: Settings | None = None, **options: Any) -> dict[str, int]:
        """Deploy, and return pyinfra's totals: `success` counts the operations that changed."""
        run = self.pyinfra("--json", "-y", "deploy.py", settings=settings, **options)
        assert run.returncode == 0, run.stdout + run.stderr
        totals: dict[str, int] = json.loads(run.stdout)["results"]["totals"]
        return totals

    def changed(self, settings: Settings | None = None, **options: Any) -> list[str]:
        """Deploy, and return the names of the operations that changed something."""
        run = self.pyinfra("--json", "-y", "deploy.py", settings=settings, **options)
        assert run.returncode == 0, run.stdout + run.stderr
        operations = json.loads(run.stdout)["results"]["operations"]
        return [operation["name"] for operation in operations if operation["success"]]

    def sh(self, command: str, check: bool = True) -> str:
        """Run a command in the box as root; its output."""
        done = self.machine.run(command)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def tree(self) -> tree.Tree:
        """The box's file tree as it is now."""
        program = Path(tree.__file__).read_text()
        walked = self.machine.run("python3 -I -", input=program, check=True)
        there: tree.Tree = json.loads(walked.stdout)
        return there

    def main_pid(self, unit: str) -> int:
        """The main process of one of the box's units, which runs."""
        pid = int(self.sh(f"systemctl show -p MainPID --value {unit}"))
        assert pid, f"{unit} does not run"
        return pid

    def person(self, name: str) -> User:
        """Somebody with an account that no settings name, logged in to the hub."""
        password = secrets.token_hex(8)
        self.sh(f"id -u {name} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {name}")
        self.machine.run("chpasswd", input=f"{name}:{password}\n", check=True)
        user = User(self.machine.url, name, password)
        user.log_in()
        return user


@pytest.fixture(scope="session")
def bare(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """A machine fresh from its installation, and an operator.

    JUPYTERBOX_TEST_BOX names it otherwise, for runs side by side; with JUPYTERBOX_TEST_KEEP it is
    left running and taken as it is by the next run, for whoever writes a test.
    """
    release = pytestconfig.getoption("--release")
    name = os.environ.get("JUPYTERBOX_TEST_BOX", f"test-{release}")
    keep = "JUPYTERBOX_TEST_KEEP" in os.environ
    with booted(name, release, keep) as machine:
        yield Operator(machine, tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="session")
def bare_tree(bare: Operator) -> tree.Tree:
    """The file tree of the machine before its first deploy; empty where it was deployed before."""
    deployed = bare.sh("ls -d /opt/jupyterhub 2>/dev/null", check=False)
    return {} if deployed else bare.tree()


@pytest.fixture(scope="session")
def box(bare: Operator, bare_tree: tree.Tree) -> Operator:
    """The machine after its first deploy."""
    bare.deploy()
    return bare


@pytest.fixture
def restored(box: Operator) -> Iterator[Operator]:
    """The deployed machine for a test that declares something else; the demo's settings return."""
    yield box
    box.deploy()


@pytest.fixture(scope="session")
def people(box: Operator) -> dict[str, User]:
    """Users of the hub who stay logged in for the whole run."""
    return {name: box.person(name) for name in ("ada", "bob")}


@pytest.fixture
def ada(people: dict[str, User]) -> User:
    """A user whose server runs."""
    people["ada"].start_server()
    return people["ada"]


@pytest.fixture
def bob(people: dict[str, User]) -> User:
    """Another user whose server runs."""
    people["bob"].start_server()
    return people["bob"]
