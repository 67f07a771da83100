"""`jupyterbox lock`: what a box's releases were built of, as files that another box installs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyinfra_cli.commands import get_facts_and_args  # type: ignore[import-untyped]

from facts.locks import ReleaseRecords
from jupyterbox import Environment, asking, locks
from jupyterbox.cli import main
from jupyterbox.environment_files import read_lock
from tests.unit.engine import fact, first_line, recorded

MIRROR = "http://mirror:8080/conda"
SHA, OTHER, MD5 = "a" * 64, "b" * 64, "c" * 32


def package(path: str, **changes: Any) -> dict[str, Any]:
    return {"url": f"{MIRROR}/{path}", "md5": MD5, "sha256": SHA, **changes}


RELEASE = {
    "release": "0123456789ab",
    "mirror": MIRROR,
    "conda": [
        package("conda-forge/linux-64/python-3.13.5-0.conda"),
        package("conda-forge/noarch/old-1-0.tar.bz2", sha256=None),
        {"url": "https://example.org/c/noarch/mine-1-0.conda", "md5": MD5, "sha256": OTHER},
    ],
    "pip": [
        {"name": "rich", "version": "15.0.0", "source": None, "hashes": [SHA]},
        {"name": "mine", "version": "1", "source": "https://x/t/mine.whl", "hashes": [SHA, OTHER]},
    ],
}
LOCK = f"""\
# Written by `jupyterbox lock`, which writes it anew: declare something else to change it.
# platform: linux-64
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/python-3.13.5-0.conda#{SHA}
https://conda.anaconda.org/conda-forge/noarch/old-1-0.tar.bz2#{MD5}
https://example.org/c/noarch/mine-1-0.conda#{OTHER}
# pip rich==15.0.0 --hash=sha256:{SHA}
# pip mine @ https://x/t/mine.whl --hash=sha256:{SHA} --hash=sha256:{OTHER}
"""


class Pyinfra:
    """pyinfra with boxes that answer so."""

    def __init__(self) -> None:
        self.hosts = ["hub"]
        self.environments: dict[str, str | None] = {"python3": None, "r": None}
        self.records: dict[str, Any] = {"python3": RELEASE, "r": {**RELEASE, "pip": []}}
        self.drift: list[dict[str, Any]] = []
        self.answers = True
        self.asked: list[str] = []

    def __call__(
        self, inventory: Path, *words: str, boxes: Iterable[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        if words == ("debug-inventory",):
            environments = [{"name": n, "lock": lock} for n, lock in self.environments.items()]
            data = {"box": {"conda": {"root": "/data/conda"}, "environments": environments}}
            hosts = [{"name": name, "groups": [], "data": data} for name in self.hosts]
            return subprocess.CompletedProcess([], 0, json.dumps(hosts), "")
        self.asked = [*words]
        [host] = boxes
        if not self.answers:
            return subprocess.CompletedProcess([], 1, "", "No hosts remaining!")
        contents = {"environments": {"python3": {"drift": self.drift}}}
        answers = {
            f"{locks.RECORDS} (root=x)": {host: self.records},
            f"{locks.CONTENTS} (root=x)": {host: contents},
        }
        return subprocess.CompletedProcess([], 0, json.dumps(answers), "")


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> Pyinfra:
    pyinfra = Pyinfra()
    monkeypatch.setattr(asking, "pyinfra", pyinfra)
    return pyinfra


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "site.py"
    path.touch()
    return path


def lock(inventory: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["lock", str(inventory), *options])


def test_every_environment_is_locked_beside_the_inventory(boxes: Pyinfra, inventory: Path) -> None:
    done = lock(inventory)
    assert done.exit_code == 0, done.output
    place = inventory.parent / "locks/site"
    assert sorted(path.name for path in place.iterdir()) == ["python3.txt", "r.txt"]
    assert (place / "python3.txt").read_text() == LOCK
    assert done.output.splitlines()[:2] == [
        f"python3: {place}/python3.txt, 3 packages of conda, 2 of pip, written",
        "  in the inventory, in place of conda, pip, file and channels: "
        f'lock="{place}/python3.txt"',
    ]
    # What it is for: settings take it.
    environment = Environment(name="python3", lock=place / "python3.txt")
    assert environment.is_locked
    assert environment.uses_python_index


def test_what_is_asked_is_what_the_facts_take(boxes: Pyinfra, inventory: Path) -> None:
    boxes.environments["123"] = boxes.records["123"] = None
    assert lock(inventory, "--env", "123").exit_code == 1
    asked = get_facts_and_args(boxes.asked[1:])
    assert [(cls.name, arguments) for cls, _, arguments in asked] == [
        (locks.RECORDS, {"root": "/data/conda", "environments": "123,"}),
        (locks.CONTENTS, {"root": "/data/conda"}),
    ]


def test_the_mirror_of_a_box_does_not_show(boxes: Pyinfra, inventory: Path) -> None:
    lock(inventory)
    written = (inventory.parent / "locks/site/python3.txt").read_text()
    boxes.records["python3"] = json.loads(
        json.dumps(RELEASE).replace(MIRROR, "https://conda.anaconda.org")
    )
    done = lock(inventory)
    assert "mirror" not in written
    assert done.output.splitlines()[0].endswith(", as it was")


def test_one_that_is_declared_already_is_not_to_be_declared(
    boxes: Pyinfra, inventory: Path
) -> None:
    boxes.environments["python3"] = str(inventory.parent / "locks/site/python3.txt")
    boxes.drift = [{"package": "six"}, {"package": "numpy"}]
    assert lock(inventory, "--env", "python3").output.splitlines()[1:] == [
        "  without what was changed by hand since: six, numpy"
    ]


def test_a_path_in_this_repository_is_shown_as_an_inventory_names_it() -> None:
    path = locks.REPOSITORY / "inventories/locks/box/python3.txt"
    assert locks.shown_path(path) == "inventories/locks/box/python3.txt"


def refusal(done: Result, status: int = 1) -> str:
    assert done.exit_code == status, done.output
    assert done.output.startswith("Error: ")
    return done.output.removeprefix("Error: ").rstrip("\n")


def test_which_box_is_to_be_said_where_there_are_several(boxes: Pyinfra, inventory: Path) -> None:
    boxes.hosts = ["hub", "other"]
    assert refusal(lock(inventory)) == (
        f"{inventory} names hub, other: say by --limit whose environments are locked."
    )
    assert lock(inventory, "--limit", "other").exit_code == 0
    assert "names no box 'x'" in refusal(lock(inventory, "--limit", "x"), 2)


def test_a_box_that_does_not_answer(boxes: Pyinfra, inventory: Path) -> None:
    boxes.answers = False
    assert refusal(lock(inventory), 2) == "hub did not answer: No hosts remaining!"


SECRET = "carries a password or a token, which is not for a repository"
WHEEL = {"name": "mine", "version": "1", "source": "https://x/mine.whl", "hashes": [SHA]}
GIT = {"name": "mine", "version": "1", "source": "https://x/mine.git", "hashes": []}


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (None, "environment r has no complete release on hub: deploy it first."),
        (
            {**RELEASE, "mirror": None, "pip": None},
            "release 0123456789ab of environment r was built before locks were known here: "
            "build it anew, by --data upgrade=r.",
        ),
        (
            {**RELEASE, "conda": [package("c/noarch/x.conda", md5=None, sha256=None)]},
            "environment r cannot be locked: conda keeps no hash of "
            "http://mirror:8080/conda/c/noarch/x.conda.",
        ),
        (
            {**RELEASE, "pip": [GIT]},
            "environment r cannot be locked: mine 1 came from https://x/mine.git, which has no "
            "hash for it.",
        ),
        (
            {**RELEASE, "pip": [{**GIT, "source": None}]},
            "environment r cannot be locked: mine 1 came from an index that has no hash for it.",
        ),
        (
            {**RELEASE, "conda": [package("c/noarch/x.conda", url="https://a:b@h/c/x.conda")]},
            f"environment r cannot be locked: https://***@h/c/x.conda {SECRET}.",
        ),
        (
            {**RELEASE, "conda": [package("", url="https://h/t/qu-x9/c/noarch/x.conda")]},
            f"environment r cannot be locked: https://h/t/***/c/noarch/x.conda {SECRET}.",
        ),
        (
            {**RELEASE, "pip": [{**WHEEL, "source": "https://a:b@x/mine.whl"}]},
            f"environment r cannot be locked: https://***@x/mine.whl {SECRET}.",
        ),
        (
            {**RELEASE, "pip": [{**WHEEL, "source": "file:///here/mine.whl"}]},
            "environment r cannot be locked: mine 1 came from file:///here/mine.whl, which no "
            "other box can fetch.",
        ),
        (
            {**RELEASE, "pip": [{**WHEEL, "hashes": ["md5"]}]},
            "environment r cannot be locked: a line of a lock is # pip NAME==VERSION "
            "--hash=sha256:HASH, and this one is not: mine @ https://x/mine.whl --hash=sha256:md5.",
        ),
        (
            {**RELEASE, "conda": []},
            "environment r cannot be locked: a lock has a line @EXPLICIT and package URLs below "
            "it.",
        ),
    ],
)
def test_what_cannot_be_locked(boxes: Pyinfra, inventory: Path, record: Any, sentence: str) -> None:
    boxes.records["r"] = record
    assert refusal(lock(inventory)) == sentence
    assert not (inventory.parent / "locks").exists(), "all or none"


def test_an_environment_that_nobody_declares(boxes: Pyinfra, inventory: Path) -> None:
    assert refusal(lock(inventory, "--env", "x")) == (
        "hub declares no environment 'x': it has python3, r."
    )


def test_what_somebody_else_wrote_stays(boxes: Pyinfra, inventory: Path) -> None:
    theirs = inventory.parent / "locks/site/r.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("@EXPLICIT\n")
    assert refusal(lock(inventory)) == f"{theirs} was not written by this command: move it away."
    assert [path.name for path in theirs.parent.iterdir()] == ["r.txt"]
    assert theirs.read_text() == "@EXPLICIT\n"


def test_a_lock_that_cannot_be_written_leaves_the_one_that_was_there(
    boxes: Pyinfra, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(inventory)
    path = inventory.parent / "locks/site/python3.txt"
    boxes.records["python3"] = {**RELEASE, "pip": []}

    def full(self: Path, content: str) -> None:
        with self.open("w") as file:
            file.write(content[:9])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    assert refusal(lock(inventory)) == f"{path} cannot be written: No space left on device."
    assert path.read_text() == LOCK
    assert len([*path.parent.iterdir()]) == 2


def test_a_file_in_the_place_of_a_directory(boxes: Pyinfra, inventory: Path) -> None:
    (inventory.parent / "locks").touch()
    path = inventory.parent / "locks/site/python3.txt"
    assert refusal(lock(inventory)) == f"{path} cannot be written: Not a directory."


def test_a_directory_in_the_place_of_a_lock(boxes: Pyinfra, inventory: Path) -> None:
    path = inventory.parent / "locks/site/r.txt"
    path.mkdir(parents=True)
    assert refusal(lock(inventory)) == f"{path} cannot be read: Is a directory."


# --- the fact ---


def test_what_a_deployed_box_was_built_of(tmp_path: Path) -> None:
    said = {first_line("release_records"): recorded("conda/records")}
    found = fact(ReleaseRecords, said, environments="python3,nothing")
    assert found["nothing"] is None
    path = tmp_path / "lock"
    path.write_text(locks.text("python3", found["python3"], "hub"))
    written = read_lock(path)
    assert all(url.startswith("https://conda.anaconda.org/") for url in written.conda)
    names = [url.rpartition("/")[2].rsplit("-", 2)[0] for url in written.conda]
    # conda installs in this order, and runs what packages bring to be run.
    assert names.index("python") < names.index("tornado") < names.index("ipykernel")
    assert all(len(url.rpartition("#")[2]) == 64 for url in written.conda)


def test_a_bare_box_was_built_of_nothing() -> None:
    assert fact(ReleaseRecords) == {}
