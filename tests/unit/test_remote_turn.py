"""Whose turn it is, on processes that a test makes up: the shell's text runs unchanged."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path

import pytest

from facts.turn import TurnState, turn_command, turn_of


class Processes:
    """A /proc with some processes, and a directory for turns."""

    def __init__(self, directory: Path) -> None:
        self.proc, self.run = directory / "proc", directory / "run"
        self.add(1, "systemd", 0)
        self.add(60, "sshd", 1)
        self.seconds = 0

    def add(self, pid: int, name: str, parent: int, started: int = 0, **environ: str) -> None:
        """Start one; it started so many ticks after the box."""
        directory = self.proc / str(pid)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "comm").write_text(f"{name}\n")
        fields = ["S", str(parent), *["0"] * 17, str(started or pid), "0"]
        (directory / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        words = [f"{key}={value}\0" for key, value in environ.items()]
        (directory / "environ").write_text("".join(words))

    def connect(self, pid: int, address: str = "192.0.2.7") -> int:
        """A connection through sshd, in which sudo runs a command; the command's process."""
        self.add(pid, "sshd-session", 60)
        self.add(pid + 1, "sshd-session", pid)
        self.add(pid + 2, "bash", pid + 1, SSH_CLIENT=f"{address} 40000 22", OTHER="SSH_CLIENT=x 1")
        self.add(pid + 3, "a) sudo (b", pid + 2)
        self.add(pid + 4, "sh", pid + 3)
        return pid + 4

    def end(self, pid: int) -> None:
        """End one."""
        for file in (self.proc / str(pid)).iterdir():
            file.unlink()
        (self.proc / str(pid)).rmdir()

    def ask(
        self,
        me: int,
        by: str | None = None,
        seen: str | None = None,
        process: int | None = None,
    ) -> TurnState:
        """What is said to a process; it must not fail."""
        command = turn_command(
            by, seen, process, proc=str(self.proc), run=str(self.run), me=str(me)
        )
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return turn_of(done.stdout.splitlines())


@pytest.fixture
def box(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def test_nobody_has_been_at_work(box: Processes) -> None:
    assert box.ask(box.connect(100)) == turn_of([])
    assert not box.run.exists(), "looking leaves no trace"


def test_who_is_at_work_is_told_to_every_other_connection(box: Processes) -> None:
    assert box.ask(box.connect(100), by="ada@laptop")["verdict"] == "free"
    other = box.connect(200)
    for by, seen in ((None, None), ("bob@desk", None), ("bob@desk", "")):
        found = box.ask(other, by, seen)
        assert found["since"].endswith(" UTC")
        assert found == {
            "verdict": "taken",
            "held": "101 101",
            "by": "ada@laptop",
            "login": getpass.getuser(),
            "address": "192.0.2.7",
            "since": found["since"],
            "process": "101",
        }


def test_a_run_that_has_its_turn_keeps_it(box: Processes) -> None:
    box.ask(box.connect(100), by="ada", seen="")
    # Another command of the same connection.
    box.add(300, "bash", 101)
    assert box.ask(300, by="ada", seen="")["verdict"] == "free"


def test_whoever_has_died_has_no_turn(box: Processes) -> None:
    box.ask(box.connect(100), by="ada")
    box.end(101)
    assert box.ask(box.connect(200), by="bob")["verdict"] == "free"
    assert box.ask(box.connect(300))["by"] == "bob"


def test_a_later_process_with_the_same_number_is_another(box: Processes) -> None:
    box.ask(box.connect(100), by="ada")
    box.add(101, "vim", 1, started=5000)
    assert box.ask(box.connect(200), by="bob")["verdict"] == "free"


def test_a_process_that_nobody_has_swept_up_is_dead(box: Processes) -> None:
    box.ask(box.connect(100), by="ada")
    stat = box.proc / "101/stat"
    stat.write_text(stat.read_text().replace(") S ", ") Z "))
    assert box.ask(box.connect(200), by="bob")["verdict"] == "free"


def test_what_was_planned_before_another_run_is_not_executed_after_it(box: Processes) -> None:
    me = box.connect(100)
    seen = box.ask(me)["held"]
    box.ask(box.connect(200), by="bob")
    box.end(201)
    found = box.ask(me, by="ada", seen=seen)
    assert (found["verdict"], found["by"]) == ("changed", "bob")
    assert box.ask(me)["by"] == "bob", "it has not taken its turn"
    # Planned anew, it goes on.
    assert box.ask(me, by="ada", seen=found["held"])["verdict"] == "free"


def test_a_run_on_the_box_itself_has_the_turn_as_long_as_it_lives(box: Processes) -> None:
    # Not as long as the login that it was started in, whose other runs are others.
    login = box.connect(100)
    box.add(500, "pyinfra", login)
    box.add(501, "sh", 500)
    box.ask(501, by="ada", process=500)
    found = box.ask(login, by="ada", process=600)
    assert (found["verdict"], found["process"], found["address"]) == ("taken", "500", "")


def test_where_nothing_lives_as_long_as_the_run_nothing_is_noted(box: Processes) -> None:
    box.add(70, "teleport", 1)
    box.add(71, "sh", 70)
    assert box.ask(71, by="ada")["verdict"] == "free"
    assert box.ask(box.connect(200)) == turn_of([])


def test_of_many_at_once_one_has_the_turn(box: Processes) -> None:
    commands = [
        turn_command(
            f"operator{at}",
            "",
            None,
            proc=str(box.proc),
            run=str(box.run),
            me=str(box.connect(1000 + 10 * at)),
        )
        for at in range(8)
    ]
    running = [
        subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    said = [process.communicate(timeout=60)[0] for process in running]
    verdicts = sorted(turn_of(text.splitlines())["verdict"] for text in said)
    assert verdicts == ["free", *["taken"] * 7]


def test_where_a_turn_cannot_be_noted_the_run_fails(box: Processes) -> None:
    box.run.write_text("in the way")
    command = turn_command("ada", None, None, proc=str(box.proc), run=str(box.run), me="60")
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr


def test_it_answers_on_this_machine(tmp_path: Path) -> None:
    command = turn_command("ada", None, 1, run=str(tmp_path / "run"))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert turn_of(done.stdout.splitlines())["verdict"] == "free", done.stderr
    assert (tmp_path / "run/turn").read_text().startswith("process=1\nstarted=")
