"""The programs that tell which releases may go, and remove them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.remote import call, module

old = module("old_releases")

HALF = "0123456789ab"


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """A directory of four complete releases, built in the order of their names; `c` is current."""
    directory = tmp_path / "releases"
    for built, name in enumerate("abcd"):
        (directory / name).mkdir(parents=True)
        record = directory / name / "release.json"
        record.write_text("{}")
        os.utime(record, (built, built))
    (tmp_path / "current").symlink_to("releases/c")
    return directory


def process(proc: Path, pid: int, exe: str = "/usr/bin/python3", **files: str) -> Path:
    """A process of a made-up /proc."""
    directory = proc / str(pid)
    directory.mkdir(parents=True)
    (directory / "exe").symlink_to(exe)
    (directory / "cwd").symlink_to(files.pop("cwd", "/"))
    for name, content in files.items():
        (directory / name).write_text(content)
    return directory


def prune(releases: Path, *names: str, beside: list[str] | None = None) -> str:
    """Remove some releases; what the program says."""
    done = call(
        "prune",
        directory=str(releases),
        link=str(releases.parent / "current"),
        names=names,
        beside=beside or [],
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def there(releases: Path) -> list[str]:
    """What is in the directory of releases."""
    return sorted(os.listdir(releases))


# --- which ---


def test_the_current_one_comes_first_then_what_was_left_last_then_what_was_built_last(
    releases: Path,
) -> None:
    assert old.by_use(str(releases), "c") == ["c", "d", "b", "a"]
    (releases / ".history").write_text("b\na\n")
    assert old.by_use(str(releases), "c") == ["c", "a", "b", "d"]
    # One left twice counts as it was last; one that is gone does not.
    (releases / ".history").write_text("b\na\nb\ngone\n")
    assert old.by_use(str(releases), "c") == ["c", "b", "a", "d"]
    assert old.previous(str(releases), "c") == "b"
    # It is about to be built.
    assert old.by_use(str(releases), "new")[:2] == ["new", "b"]


def test_one_that_was_built_and_never_current_is_none_to_go_back_to(releases: Path) -> None:
    # A run that solved anew died before its switch: `d`.
    assert old.previous(str(releases), "c") == "b"
    assert old.previous(str(releases), "a") is None
    # Whoever has gone back may go forth again.
    (releases / ".history").write_text("d\n")
    assert old.previous(str(releases), "c") == "d"
    # No link: whatever there is.
    assert old.previous(str(releases), None) == "d"


def test_a_box_without_releases_has_nothing_to_remove(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert old.surplus(nowhere, None, 1) == []
    assert old.previous(nowhere, None) is None


@pytest.mark.parametrize(("keep", "goes"), [(1, "dba"), (2, "ba"), (3, "a"), (4, ""), (9, "")])
def test_so_many_stay(releases: Path, tmp_path: Path, keep: int, goes: str) -> None:
    (tmp_path / "proc").mkdir()
    assert old.surplus(str(releases), "c", keep, str(tmp_path / "proc")) == list(goes)


@pytest.mark.parametrize(
    "tells",
    [
        {"exe": "{}/bin/python3.13"},
        {"cwd": "{}/share"},
        {"cmdline": "/usr/bin/python3\0{}/bin/jupyterhub\0"},
        {"environ": "HOME=/root\0PATH={}/bin:/usr/bin\0"},
        {"environ": "CONDA_PREFIX={}\0A=b\0"},
        {"maps": "7f00-7f01 r-xp 0 08:01 5 {}/lib/x.so (deleted)\n"},
    ],
)
def test_what_a_process_lives_on_stays(
    releases: Path, tmp_path: Path, tells: dict[str, str]
) -> None:
    proc = tmp_path / "proc"
    process(proc, 7, **{key: text.format(releases / "a") for key, text in tells.items()})
    assert old.surplus(str(releases), "c", 2, str(proc)) == ["b"]


def test_a_name_that_begins_like_another_is_another(releases: Path, tmp_path: Path) -> None:
    for name in ("a-2", "a.x"):
        (releases / name).mkdir()
        (releases / name / "release.json").write_text("{}")
    proc = tmp_path / "proc"
    process(proc, 7, cmdline=f"{releases}/a-2/bin/python\0")
    paths = [str(releases / name) for name in ("a", "a-2", "a.x")]
    assert old.in_use(paths, str(proc)) == {paths[1]}


def test_a_release_is_found_by_either_of_its_paths(releases: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(releases)
    proc, path = tmp_path / "proc", str(tmp_path / "linked/a")
    process(proc, 7, maps=f"7f00-7f01 {releases}/a/lib/x.so\n")
    process(proc, 8, cmdline="")
    assert old.in_use([path], str(proc)) == {path}


def test_a_process_that_goes_away_uses_nothing(releases: Path, tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "7").mkdir(parents=True)
    (proc / "self").symlink_to("7")
    process(proc, 8)
    assert old.in_use([str(releases / "a")], str(proc)) == set()


def test_a_living_process_is_found(releases: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd=releases / "a") as sleeper:
        try:
            assert old.surplus(str(releases), "c", 2) == ["b"]
        finally:
            sleeper.kill()
    assert old.surplus(str(releases), "c", 2) == ["b", "a"]


def test_what_was_not_finished_goes(releases: Path) -> None:
    for name in (HALF, ".e.removed", f"{HALF}-2", ".cache", "somebody's"):
        (releases / name).mkdir()
    assert old.surplus(str(releases), f"{HALF}-2", 9) == [".e.removed", HALF]


@pytest.mark.parametrize("name", ["e", ".e.removed"])
def test_what_was_set_aside_under_somebody_stays(releases: Path, tmp_path: Path, name: str) -> None:
    (releases / ".e.removed").mkdir()
    # It was started before a run that died set the release aside; /proc gives its new name, or
    # the one that it was told.
    process(tmp_path / "proc", 7, cmdline=f"{releases}/{name}/bin/python\0")
    assert old.surplus(str(releases), "c", 9, str(tmp_path / "proc")) == []
    with subprocess.Popen(
        ["/bin/sh", "-c", "read _; :", f"{releases}/{name}/x"], stdin=-1
    ) as shell:
        try:
            assert prune(releases, ".e.removed") == ""
        finally:
            shell.kill()
    assert ".e.removed" in there(releases)
    prune(releases, ".e.removed")
    assert ".e.removed" not in there(releases)


def test_a_release_whose_namesake_is_still_set_aside_goes_after_it(releases: Path) -> None:
    (releases / ".a.removed/lib").mkdir(parents=True)
    assert prune(releases, "a", ".a.removed") == f"removed release a of {releases}\n"
    assert there(releases) == ["b", "c", "d"]


def test_one_that_something_is_mounted_in_stays(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = module("prune")
    monkeypatch.setattr(pruning, "mounted_below", lambda paths: paths)
    (releases / ".e.removed").mkdir()
    pruning.prune(str(releases), str(releases.parent / "current"), ["a", ".e.removed"])
    assert there(releases) == [".e.removed", "a", "b", "c", "d"]
    monkeypatch.setattr(old, "mounted_below", lambda paths: paths)
    assert old.surplus(str(releases), "c", 1) == []


HOLDER = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1); \
sys.stdout.flush(); sys.stdin.read()"


def test_what_is_being_built_stays(releases: Path) -> None:
    (releases / HALF).mkdir()
    lock = str(releases / f".{HALF}.lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout and holder.stdout.readline()
        assert old.surplus(str(releases), "c", 9) == []
        prune(releases, HALF)
        assert HALF in there(releases)
    finally:
        holder.kill()
        holder.communicate()
    assert old.surplus(str(releases), "c", 9) == [HALF]
    prune(releases, HALF)
    assert there(releases) == ["a", "b", "c", "d"]


# --- removing ---


def test_a_release_is_removed_with_what_belongs_to_it(releases: Path, tmp_path: Path) -> None:
    (releases / ".a.lock").touch()
    copies = [tmp_path / "db.a", tmp_path / "db.b"]
    for copy in copies:
        copy.touch()
    said = prune(releases, "a", "gone", beside=[f"{tmp_path}/db.{{}}"])
    assert said == f"removed release a of {releases}\n"
    assert there(releases) == ["b", "c", "d"]
    assert [copy.exists() for copy in copies] == [False, True]


def test_the_current_release_stays_whatever_is_asked(releases: Path) -> None:
    prune(releases, "c")
    assert (releases / "c/release.json").exists()


def test_one_that_has_come_into_use_stays(releases: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd=releases / "a") as sleeper:
        try:
            assert prune(releases, "a", "b") == f"removed release b of {releases}\n"
        finally:
            sleeper.kill()
    assert (releases / "a/release.json").exists()


def test_one_that_is_used_in_the_moment_between_comes_back(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = module("prune")
    answers = iter([set(), {str(releases / "a")}])
    monkeypatch.setattr(pruning, "in_use", lambda paths: next(answers))
    pruning.remove(str(releases), "a", [])
    assert there(releases) == ["a", "b", "c", "d"]


def test_a_removal_that_was_interrupted_is_finished(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = module("prune")

    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pruning.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pruning.remove(str(releases), "a", [])
    assert not list(releases.glob(".a.removed/release.json"))
    assert old.by_use(str(releases), "c") == ["c", "d", "b"]
    assert old.surplus(str(releases), "c", 3) == [".a.removed"]
    prune(releases, ".a.removed")
    assert there(releases) == ["b", "c", "d"]


def test_a_lock_of_this_process_is_seen(releases: Path) -> None:
    with open(releases / f".{HALF}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert old.being_built(str(releases), HALF)
    assert not old.being_built(str(releases), HALF)
