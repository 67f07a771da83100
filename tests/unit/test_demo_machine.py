"""What a demo box remembers, its ports and passwords, and the processes that keep it running."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from jupyterbox.demo import DemoError, machine
from jupyterbox.demo.container import KEEP
from jupyterbox.demo.identity import PORTS, SERVERS, choose_ports, crypt, set_name
from jupyterbox.demo.machine import Machine, NoMachine
from jupyterbox.demo.process import Background


def test_each_server_gets_a_port_of_its_own() -> None:
    ports = choose_ports(taken=())
    assert tuple(ports) == SERVERS
    assert len(set(ports.values())) == len(SERVERS)
    assert all(port in PORTS for port in ports.values())


def test_ports_that_are_promised_or_in_use_are_left_alone() -> None:
    first = choose_ports(taken=())
    # As a server does it: a port that a closed connection still lingers on may be listened on.
    with socket.create_server(("127.0.0.1", first["hub"])):
        chosen = choose_ports(taken={first["ssh"]})
    assert not {first["ssh"], first["hub"]} & set(chosen.values())


def test_a_password_hash_is_salted_and_fits_its_password() -> None:
    first, second = crypt("open sesame"), crypt("open sesame")
    assert first.startswith("$6$")
    assert first != second
    again = subprocess.run(
        ["perl", "-e", "print crypt('open sesame', $ARGV[0])", first],
        check=True,
        capture_output=True,
        text=True,
    )
    assert again.stdout == first


def test_a_box_knows_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    set_name(tmp_path, "fresh")
    assert (tmp_path / "etc/hostname").read_text() == "fresh\n"
    assert (tmp_path / "etc/hosts").read_text().endswith("127.0.1.1 fresh\n")
    assert len((tmp_path / "etc/machine-id").read_text()) == 33


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A box that is remembered and was never booted."""
    monkeypatch.setattr(machine, "STATE", tmp_path)
    (tmp_path / "demo").mkdir()
    box = Machine(
        name="demo",
        release="trixie",
        ports={server: 20000 + number for number, server in enumerate(SERVERS)},
        opspw_password="first",
        demo_password="second",
        demo_password_hash="$6$third",
        conda={"python": "3.11"},
    )
    box.save()
    return box


def test_what_is_saved_is_loaded_again(remembered: Machine) -> None:
    assert Machine.load("demo") == remembered


def test_nobody_else_can_read_the_passwords(remembered: Machine) -> None:
    assert (remembered.directory / "machine.json").stat().st_mode & 0o777 == 0o600


def test_a_box_that_is_not_there_is_named(remembered: Machine) -> None:
    with pytest.raises(NoMachine, match="no demo box other"):
        Machine.load("other")


@pytest.mark.parametrize("name", ["", "-x", "Upper", "a_b", "../escape", "a" * 32, "x\n"])
def test_what_is_no_hostname_names_no_box(name: str) -> None:
    with pytest.raises(DemoError, match="cannot name a demo box"):
        Machine.create(name)


def test_the_public_hosts_index_settings_are_passed_on(
    remembered: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_DEFAULT_INDEX", "npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.example/simple")
    assert remembered.python_index == "https://pypi.example/simple"
    assert remembered.npm_registry is None


def test_a_process_in_the_background_is_found_again_and_ended(tmp_path: Path) -> None:
    sleeper = Background(tmp_path / "pid")
    assert not sleeper.is_running()
    sleeper.start(["sleep", "600"], tmp_path / "log")
    pid = Background(tmp_path / "pid").pid()
    assert pid is not None
    Background(tmp_path / "pid").end()
    assert not sleeper.is_running()
    assert os.waitpid(pid, os.WNOHANG) == (pid, signal.SIGTERM)


def test_a_stranger_with_our_id_is_not_taken_for_ours(tmp_path: Path) -> None:
    # This very process has the id, but did not start when the file says.
    (tmp_path / "pid").write_text(f"{os.getpid()} 1\n")
    assert Background(tmp_path / "pid").pid() is None


def test_the_keeper_starts_a_box_again_when_it_reboots_and_only_then(tmp_path: Path) -> None:
    group, boots = tmp_path / "group", tmp_path / "boots"
    boot = f'echo boot >> {boots}; test "$(wc -l < {boots})" -eq 3 && exit 7; exit 133'
    kept = subprocess.run([KEEP, str(group), "sh", "-c", boot], check=False)
    assert kept.returncode == 7
    assert boots.read_text() == "boot\n" * 3
    # Where a control group would take them in, a plain directory keeps what was written.
    assert (group / "cgroup.procs").read_text() == "0\n"
    assert (group / "box/cgroup.procs").read_text() == "0\n"
