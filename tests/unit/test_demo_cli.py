"""The command `jupyterbox demo`, as far as it goes without booting anything."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jupyterbox import cli
from jupyterbox.demo import machine
from jupyterbox.demo.identity import SERVERS
from jupyterbox.demo.machine import Machine


def jupyterbox(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


@pytest.fixture(autouse=True)
def no_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of root's that has everything but boxes, and on which none can be booted."""
    monkeypatch.setattr(machine, "STATE", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cli, "ensure_host_packages", lambda say: None)
    monkeypatch.setattr(Machine, "is_running", lambda self: False)


@pytest.fixture
def box(tmp_path: Path) -> Machine:
    """A box that is switched off."""
    (tmp_path / "demo").mkdir()
    made = Machine(
        name="demo",
        release="trixie",
        ports={server: 20000 + number for number, server in enumerate(SERVERS)},
        opspw_password="first",
        demo_password="second",
        demo_password_hash="$6$third",
    )
    made.save()
    return made


@pytest.fixture
def running(box: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A box that is switched on."""
    monkeypatch.setattr(Machine, "is_running", lambda self: True)
    return box


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["ssh"]])
def test_no_box_is_one_sentence_and_status_1(command: list[str]) -> None:
    result = jupyterbox("demo", *command)
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: There is no demo box demo: `jupyterbox demo up --name demo` makes one.\n"
    )
    assert result.stdout == ""


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("command", ["status", "ssh"])
def test_a_box_that_is_switched_off_is_status_1(command: str) -> None:
    result = jupyterbox("demo", command)
    assert result.exit_code == 1
    assert "is switched off" in result.stderr


@pytest.mark.usefixtures("running")
def test_the_status_of_a_running_box_for_programs(tmp_path: Path) -> None:
    result = jupyterbox("demo", "status", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "url": "http://127.0.0.1:20001",
        "user": "demo",
        "password": "second",
        "ssh_host": "127.0.0.1",
        "ssh_port": 20000,
        "ssh_key": str(tmp_path / "demo/id_ed25519"),
        "release": "trixie",
    }


@pytest.mark.usefixtures("running")
def test_the_status_of_a_running_box_for_people() -> None:
    result = jupyterbox("demo", "status")
    assert result.exit_code == 0
    assert "http://127.0.0.1:20001" in result.stdout
    assert "second" in result.stdout


def test_down_is_content_where_there_is_nothing() -> None:
    result = jupyterbox("demo", "down", "--name", "other")
    assert result.exit_code == 0
    assert result.stdout == "There is no demo box other.\n"


@pytest.mark.parametrize("command", ["up", "down"])
def test_only_root_boots_and_destroys(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = jupyterbox("demo", command)
    assert result.exit_code == 1
    assert "only root" in result.stderr


def test_an_unknown_release_is_refused_with_those_there_are() -> None:
    result = jupyterbox("demo", "up", "--release", "sarge")
    assert result.exit_code == 2
    assert "'bookworm', 'trixie', 'jammy', 'noble', 'resolute'" in result.stderr


@pytest.mark.usefixtures("running")
def test_a_box_does_not_change_its_release() -> None:
    result = jupyterbox("demo", "up", "--release", "noble")
    assert result.exit_code == 1
    assert "is a trixie" in result.stderr


@pytest.mark.usefixtures("running")
def test_a_deploy_that_fails_ends_up_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "wait_for_ssh", lambda self: None)
    monkeypatch.setattr(cli, "conda_mirror", lambda machine, say: {"python": "3.11"})
    # What would run pyinfra says no.
    monkeypatch.setattr(sys, "executable", "/bin/false")
    result = jupyterbox("demo", "up")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: deploy.py failed on the demo box demo, which stays up for you to look at.\n"
    )
    assert Machine.load("demo").conda == {"python": "3.11"}
