"""The password that sudo asks for: sent once, on standard input, and in no command."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.fake import FakeConnector

from jupyterbox import askpass
from tests.unit.engine import engine

PASSWORD = 'pass\'word $HOME "x"'


def sent(
    says: dict[str, Any], temp_dir: str, *passwords: str | None
) -> tuple[list[str], list[Any]]:
    """The command lines that a sudo command becomes, and those that were run to prepare them."""
    with engine(says) as state:
        [host] = state.inventory
        lines = [
            askpass.command_for_host(
                state,
                host,
                StringCommand("id -u"),
                _sudo=True,
                _sudo_password=password,
                _temp_dir=temp_dir,
            ).get_raw_value()
            for password in passwords
        ]
        assert isinstance(host.connector, FakeConnector)
        return lines, host.connector.executed_commands


def test_the_password_stands_in_no_command() -> None:
    lines, prepared = sent({"mktemp": "/t/pyinfra-sudo-askpass-x"}, "/t", PASSWORD, PASSWORD)
    assert len(prepared) == 1, "the program is made once"
    assert all("pass'word" not in line and "$HOME" not in line for line in [*lines, *prepared])
    assert all("SUDO_ASKPASS=/t/pyinfra-sudo-askpass-x" in line for line in lines)


def test_without_a_password_nothing_is_made() -> None:
    [line], prepared = sent({}, "/t", None)
    assert prepared == []
    assert "SUDO_ASKPASS" not in line


def test_a_program_that_cannot_be_made_says_so() -> None:
    with pytest.raises(PyinfraError):
        sent({"mktemp": {"success": False, "stderr": "Permission denied"}}, "/t", PASSWORD)


def test_the_program_answers_with_the_password_and_is_its_accounts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, str]] = []

    def really(
        self: FakeConnector, command: StringCommand, _stdin: str = "", **_: Any
    ) -> tuple[bool, Any]:
        ran.append((command.get_raw_value(), _stdin))
        return original(self, command)

    original = FakeConnector.run_shell_command
    monkeypatch.setattr(FakeConnector, "run_shell_command", really)
    sent({"mktemp": "/x"}, str(tmp_path / "t"), PASSWORD)
    [(command, stdin)] = ran
    done = subprocess.run(
        ["/bin/sh", "-c", command], input=stdin, capture_output=True, text=True, check=True
    )
    program = Path(done.stdout.strip())
    assert stat.S_IMODE(program.stat().st_mode) == 0o700
    assert stat.S_IMODE(program.parent.stat().st_mode) == 0o700
    assert subprocess.check_output([program], text=True) == f"{PASSWORD}\n"
