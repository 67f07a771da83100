"""Looking into homes: bounded, whoever hangs, and as their owners."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import module

homes: Any = module("homes")
ME = (os.geteuid(), os.getegid())


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "TIMEOUT", 0.3)
    monkeypatch.setattr(homes, "PATIENCE", 1.5)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[tuple[str, int, int, str]]]:
    for name in ("ada", "bob", "eve"):
        (tmp_path / name).mkdir()
    yield [(name, *ME, f"{tmp_path}/{name}") for name in ("ada", "bob", "eve")]


def test_each_home_answers(three: list[Any]) -> None:
    answers, skipped = homes.look_into(three, os.path.basename)
    assert (answers, skipped) == ({"ada": "ada", "bob": "bob", "eve": "eve"}, {})


def test_large_answers_arrive_whole(three: list[Any]) -> None:
    answers, _ = homes.look_into(three, lambda home: "x" * 3_000_000)
    assert {name: len(answer) for name, answer in answers.items()} == dict.fromkeys(
        ("ada", "bob", "eve"), 3_000_000
    )


@pytest.mark.usefixtures("hurried")
def test_a_home_that_hangs_is_skipped_and_the_others_answer(three: list[Any]) -> None:
    def question(home: str) -> str:
        if home.endswith("bob"):
            time.sleep(60)
        return "here"

    started = time.monotonic()
    answers, skipped = homes.look_into(three, question)
    assert time.monotonic() - started < 10
    assert answers == {"ada": "here", "eve": "here"}
    assert skipped == {"bob": f"{three[1][3]} did not answer within 0 s"}


@pytest.mark.usefixtures("hurried")
def test_all_of_them_together_take_no_longer_than_they_may(three: list[Any]) -> None:
    many = [(f"{name}{n}", *rest) for n in range(20) for name, *rest in three]
    started = time.monotonic()
    answers, skipped = homes.look_into(many, lambda home: time.sleep(60))
    assert time.monotonic() - started < 10
    assert (answers, len(skipped)) == ({}, 60)


def test_a_home_whose_look_ends_badly_is_named(three: list[Any]) -> None:
    answers, skipped = homes.look_into(three[:1], lambda home: os._exit(3))
    assert (answers, skipped) == ({}, {"ada": f"{three[0][3]} cannot be looked into"})


def test_what_one_account_has_made_there_keeps_no_other_from_being_answered(
    three: list[Any],
) -> None:
    def question(home: str) -> str:
        if home.endswith("ada"):
            raise TypeError("unhashable type: 'list'")
        if home.endswith("bob"):
            os._exit(3)
        return "here"

    answers, skipped = homes.look_into(three, question)
    assert answers == {"eve": "here"}
    assert skipped == {
        "ada": f"{three[0][3]} cannot be looked into (TypeError)",
        "bob": f"{three[1][3]} cannot be looked into",
    }


ENDED = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
pid = os.fork()
if pid == 0:
    open("/proc/self/comm", "w").write(NAME)
    os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print(pid, flush=True)
input()
"""


def test_a_look_that_was_ended_does_not_hang_though_nobody_has_swept_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In a process of its own: gevent, which pyinfra brings into this one, sweeps up by itself.
    name = homes.comm_of("/ended")
    python = ["/usr/bin/python3", "-c", ENDED.replace("NAME", repr(name))]
    monkeypatch.setattr(homes, "PATIENCE", -1e9)
    pipe = subprocess.PIPE
    with subprocess.Popen(python, stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}/comm").read_text().strip() == name
        assert name not in homes.hanging()
        parent.communicate(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_nobody_but_root_can_make_a_home_seem_to_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    name = homes.comm_of("/")
    script = f"open('/proc/self/comm', 'w').write({name!r}); print(flush=True); input()"
    pipe = subprocess.PIPE
    python = ["/usr/bin/python3", "-c", script]
    monkeypatch.setattr(homes, "PATIENCE", -1e9)
    for uid, seen in ((65533, False), (0, True)):
        with subprocess.Popen(python, stdin=pipe, stdout=pipe, user=uid, cwd="/") as fake:
            assert fake.stdout
            fake.stdout.readline()
            assert (name in homes.hanging()) is seen
            fake.communicate(b"\n")


@pytest.mark.parametrize(
    ("uid", "person"),
    [(0, True), (33, False), (1000, True), (65534, False), (200_001, True), (1618201104, True)],
)
def test_accounts_of_directories_are_people_too(uid: int, person: bool) -> None:
    assert homes.is_person(uid) is person


def test_an_earlier_look_that_still_hangs_is_not_joined_by_another(
    three: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "hanging", lambda: {homes.comm_of(three[0][3])})
    answers, skipped = homes.look_into(three, os.path.basename)
    assert answers == {"bob": "bob", "eve": "eve"}
    assert skipped == {"ada": f"an earlier look into {three[0][3]} still waits for an answer"}


def test_a_process_that_was_left_behind_is_known_by_its_name(
    three: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = homes.Probe(three[:1], lambda home: time.sleep(60))
    name = homes.comm_of(three[0][3])
    try:
        comm = Path(f"/proc/{probe.pid}/comm")
        deadline = time.monotonic() + 10
        while comm.read_text().strip() != name and time.monotonic() < deadline:
            time.sleep(0.01)
        assert name not in homes.hanging()
        monkeypatch.setattr(homes, "PATIENCE", -1e9)
        assert name in homes.hanging()
    finally:
        probe.leave()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_looks_as_the_homes_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    answers, _ = homes.look_into(
        [("ada", 65533, 65532, "/"), ("root", 0, 0, "/root")],
        lambda home: [os.geteuid(), os.getegid(), sorted(os.getgroups())],
    )
    groups = sorted(os.getgrouplist("root", 0))
    assert answers == {"ada": [65533, 65532, [65532]], "root": [0, 0, groups]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_an_account_is_in_all_of_its_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    homes.groups_of.cache_clear()
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 65531])
    answers, _ = homes.look_into([("root", 0, 0, "/")], lambda home: sorted(os.getgroups()))
    assert answers == {"root": [0, 65531]}


def test_the_file_system_of_a_home_is_told_from_its_name() -> None:
    assert homes.mount_of("/proc/1") == "/proc"
    assert homes.mount_of("/processor") == "/"


def test_accounts_of_people_have_homes() -> None:
    found = {name: home for name, _, _, home in homes.homes_of()}
    assert found["root"] == "/root"
    assert "daemon" not in found
    assert [name for name, *_ in homes.homes_of("root")] == ["root"]
    assert homes.homes_of("nobody-of-that-name") == []
