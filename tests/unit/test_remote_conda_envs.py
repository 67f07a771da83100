"""The programs that list environments and packages, on roots of every shape."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.prefixes import CREATED, make_prefix, pip_install, pip_remove, record_of, stdout
from tests.unit.remote import answered, call, module

drift: Any = module("drift")
prefix_module: Any = module("prefix")
conda_packages: Any = module("conda_packages")


def make_release(root: Path, name: str = "python3", release: str = "5d0c1f2a3b4c") -> Path:
    """A release of the recorded environment, with the link that names it."""
    path = make_prefix(root / "releases" / name / release)
    prefix = prefix_module.Prefix(path)
    keys = ("name", "version", "build", "url")
    record = {
        "packages": [{key: package[key] for key in keys} for package in prefix.packages()],
        "python": drift.baseline(prefix),
        "built": "2026-11-23T14:02:13+00:00",
    }
    (path / "release.json").write_text(json.dumps(record))
    (root / "envs").mkdir(exist_ok=True)
    (root / "envs" / name).symlink_to(f"../releases/{name}/{release}")
    return path


def state(root: Path, **arguments: Any) -> Any:
    return answered("conda_envs", root=str(root), **{"size": False, **arguments})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A conda with its base, one release, and one environment made by hand."""
    make_prefix(tmp_path, ["python", "pip"])
    make_release(tmp_path)
    make_prefix(tmp_path / "envs/plain", ["python", "traitlets"])
    return tmp_path


def test_nothing_there_is_nothing() -> None:
    assert state(Path("/nowhere")) == {"environments": {}, "broken": []}


def test_base_releases_and_plain_environments(root: Path) -> None:
    found = state(root)
    assert found["broken"] == []
    assert list(found["environments"]) == ["base", "plain", "python3"]
    python3 = found["environments"]["python3"]
    assert python3["prefix"] == f"{root}/envs/python3"
    assert python3["path"] == f"{root}/releases/python3/5d0c1f2a3b4c"
    assert (python3["release"], python3["built"]) == ("5d0c1f2a3b4c", "2026-11-23T14:02:13+00:00")
    assert (python3["drift"], python3["problems"]) == ([], [])
    assert found["environments"]["plain"]["release"] is None


def test_a_root_that_is_a_link_is_the_same(root: Path, tmp_path_factory: Any) -> None:
    link = tmp_path_factory.mktemp("link") / "conda"
    link.symlink_to(root)
    assert state(link) == state(root)


def test_the_size_is_told_when_asked_for(root: Path) -> None:
    (root / "envs/plain/large").write_bytes(os.urandom(5 << 20))
    assert state(root)["environments"]["plain"]["size_mb"] is None
    assert state(root, size=True)["environments"]["plain"]["size_mb"] >= 5


def test_drift_is_found_and_clears(root: Path) -> None:
    path = root / "releases/python3/5d0c1f2a3b4c"
    pip_install(path, "isodate", "0.7.2")
    row = {"package": "isodate", "was": None, "now": "0.7.2", "by": "pip"}
    assert state(root)["environments"]["python3"]["drift"] == [row]
    pip_remove(path, "isodate")
    assert state(root)["environments"]["python3"]["drift"] == []


def test_everything_that_is_damaged_is_named_and_nothing_else_suffers(root: Path) -> None:
    (root / "envs/gone").symlink_to("../releases/gone/0123")
    (root / "envs/file").write_text("")
    (root / "envs/loop").symlink_to("loop")
    make_prefix(root / 'envs/it\'s "odd"\nreally', [])
    os.mkdir(os.fsencode(root / "envs") + b"/b\xffd")
    found = state(root)
    broken = {entry["name"]: entry["sentence"] for entry in found["broken"]}
    assert broken == {
        "gone": "is a link to ../releases/gone/0123, which is not there",
        "file": "cannot be read: Not a directory",
        "loop": "is a link to loop, which is not there",
    }
    environments = found["environments"]
    assert environments['it\'s "odd"\nreally']["problems"] == []
    assert environments["b\\xffd"]["problems"] == ["conda-meta/history is not there"]
    assert environments["python3"]["problems"] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "release.json is empty"),
        ("{", "release.json is not JSON"),
        ("[]", "release.json is not the record of a release"),
        ("{}", "release.json is not the record of a release"),
        ('{"packages": [1], "python": {}}', "release.json is not the record of a release"),
        ('{"packages": [], "python": 1}', "release.json is not the record of a release"),
    ],
)
def test_a_release_whose_record_is_damaged_is_named(root: Path, text: str, problem: str) -> None:
    path = root / "releases/python3/5d0c1f2a3b4c"
    (path / "release.json").write_text(text)
    row = state(root)["environments"]["python3"]
    assert (row["problems"], row["drift"]) == ([problem], [])
    (path / "release.json").unlink()
    assert state(root)["environments"]["python3"]["problems"] == ["release.json is not there"]


def test_a_record_that_was_damaged_after_the_build_is_named(root: Path) -> None:
    path = root / "releases/python3/5d0c1f2a3b4c"
    record = record_of(path, CREATED[0])
    os.utime(path / "release.json", (1, 1))
    record.write_text(record.read_text()[:-3])
    row = state(root)["environments"]["python3"]
    assert row["problems"] == [f"conda-meta/{record.name} is not JSON"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_an_account_may_not_read_is_named(root: Path) -> None:
    for directory in [root, *root.parents]:
        directory.chmod(directory.stat().st_mode | 0o055)
    (root / "envs/plain").chmod(0o700)
    (root / "releases/python3/5d0c1f2a3b4c/conda-meta").chmod(0o700)
    done = call("conda_envs", as_user=65534, root=str(root), size=False)
    found = json.loads(done.stdout)
    [plain] = found["broken"]
    assert plain["sentence"] == "is not readable for this account"
    problems = found["environments"]["python3"]["problems"]
    assert "conda-meta is not readable for this account" in problems


# --- packages ---


def packages(prefix: Path) -> Any:
    return answered("conda_packages", root="/nowhere", prefix=str(prefix))


def without_requested(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key != "requested"} for row in rows]


def test_packages_are_those_that_conda_lists(tmp_path: Path) -> None:
    found = packages(make_prefix(tmp_path / "python3"))
    assert without_requested(found["packages"]) == stdout("22-list-json")
    asked = [row["name"] for row in found["packages"] if row["requested"]]
    assert asked == ["ipykernel", "python"]


def test_packages_of_pip_are_as_conda_lists_them(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "frompip", ["python", "pip", "python_abi"])
    pip_install(path, "isodate", "0.7.2")
    assert without_requested(packages(path)["packages"]) == stdout("32f2-list-frompip-json")


def test_what_pip_removed_is_not_listed(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "python3")
    pip_remove(path, "traitlets")
    found = packages(path)
    assert "traitlets" not in [row["name"] for row in found["packages"]]
    assert found["problems"] == ["pip has removed traitlets, of which conda keeps a record"]
    pip_install(path, "traitlets", "6.0")
    [row] = [row for row in packages(path)["packages"] if row["name"] == "traitlets"]
    assert (row["version"], row["channel"]) == ("6.0", "pypi")


def test_a_prefix_that_is_not_there_is_a_sentence(root: Path) -> None:
    done = call("conda_packages", root=str(root), prefix="/nowhere/x")
    assert done.stderr == "/nowhere/x is no conda environment: it is not there.\n"


def test_a_box_without_conda_has_no_packages() -> None:
    assert packages(Path("/nowhere/x"))["packages"] == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://conda.anaconda.org/conda-forge", "conda-forge"),
        ("https://repo.anaconda.com/pkgs/main", "pkgs/main"),
        ("https://mirror.example.org/conda/conda-forge", "conda-forge"),
        ("http://127.0.0.1:8123/channel", "channel"),
        ("file:///srv/channel", "channel"),
        ("http://127.0.0.1:8123", ""),
    ],
)
def test_a_channel_has_the_short_name_that_conda_gives_it(url: str, name: str) -> None:
    assert conda_packages.channel_name(url, "https://mirror.example.org/conda/") == name


def test_the_alias_is_read_from_the_system_condarc(tmp_path: Path) -> None:
    (tmp_path / ".condarc").write_text("channels: [a]\nchannel_alias: 'https://example.org/c'\n")
    assert conda_packages.channel_alias(tmp_path) == "https://example.org/c"
    assert conda_packages.channel_alias(tmp_path / "none") == ""


@given(
    record=st.dictionaries(
        st.sampled_from(["url", "channel", "subdir", "build_number", "files", "depends"]),
        st.none() | st.text() | st.lists(st.text()),
    )
)
def test_a_record_of_anything_is_a_row_or_a_problem(
    record: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = make_prefix(tmp_path_factory.mktemp("p") / "x", ["python"])
    whole = {"name": "any", "version": "1", "build": "0", **record}
    (path / "conda-meta/any-1-0.json").write_text(json.dumps(whole))
    found = packages(path)
    assert found["problems"] or "any" in [row["name"] for row in found["packages"]]


# --- users' own ---


def user_state(home: Path, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> Any:
    """What the program finds in the home of an account `ada`."""
    program = module("user_conda_envs")
    me = ("ada", os.geteuid(), os.getegid(), str(home))
    monkeypatch.setattr(program, "homes_of", lambda user: [me])
    monkeypatch.setattr(program, "need_root", lambda what: None)
    return program.state(**{"root": "/opt/conda", "user": None, "size": False, **arguments})


def test_private_environments_are_found_where_conda_notes_and_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "scratch/tf"
    make_prefix(home / ".conda/envs/x", ["python"])
    make_prefix(elsewhere, [])
    make_prefix(home / "miniforge3", ["python"])
    make_prefix(home / "miniforge3/envs/inner", [])
    noted = [elsewhere, home / "miniforge3", home / ".conda/envs/removed", "/opt/conda/envs/g", ""]
    (home / ".conda/environments.txt").write_text("".join(f"{path}\n" for path in noted))
    found = user_state(home, monkeypatch)
    assert found["skipped"] == {}
    rows = {row["name"]: (row["user"], row["prefix"]) for row in found["environments"]}
    assert rows == {
        "x": ("ada", f"{home}/.conda/envs/x"),
        "miniforge3": ("ada", f"{home}/miniforge3"),
        "inner": ("ada", f"{home}/miniforge3/envs/inner"),
        "tf": ("ada", str(elsewhere)),
    }


@given(noted=st.text())
def test_no_note_of_conda_breaks_the_search(
    noted: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".conda").mkdir()
    (home / ".conda/environments.txt").write_text(noted, errors="replace")
    module("user_conda_envs").environments(str(home), "/opt/conda", False)


def test_a_pipe_in_the_place_of_condas_notes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".conda").mkdir()
    os.mkfifo(tmp_path / ".conda/environments.txt")
    assert user_state(tmp_path, monkeypatch) == {"environments": [], "skipped": {}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_other_accounts_homes_are_roots_to_read() -> None:
    done = call("user_conda_envs", as_user=65534, root="/opt/conda", user=None, size=False)
    needed = "the homes of others can only be read by root: run this fact with _sudo=true.\n"
    assert (done.returncode, done.stderr) == (1, needed)
    own = call("user_conda_envs", as_user=65534, root="/opt/conda", user="nobody", size=False)
    assert json.loads(own.stdout) == {"environments": [], "skipped": {}}


def test_an_account_that_is_not_there_is_a_sentence() -> None:
    done = call("user_conda_envs", root="/opt/conda", user="nobody-of-that-name", size=False)
    said = "the box has no account 'nobody-of-that-name'.\n"
    assert done.stderr == said or os.geteuid() != 0


# --- conda itself ---


def install(root: Path) -> Any:
    return answered("conda_install", root=str(root))


def test_no_conda_is_none() -> None:
    found = install(Path("/nowhere"))
    assert (found["root"], found["version"], found["condarcs"]) == (None, None, {})


def test_conda_tells_its_version_its_files_and_its_own_solver(root: Path) -> None:
    (root / "bin/conda").touch()
    (root / "conda-meta/conda-26.7.1-py311_0.json").write_text("{}")
    (root / "conda-meta/initial-state.explicit.txt").touch()
    constants = root / "lib/python3.11/site-packages/conda/base/constants.py"
    constants.parent.mkdir(parents=True)
    constants.write_text('X = 1\nDEFAULT_SOLVER: Final = "libmamba"\n')
    (root / ".condarc").write_text("channels: [https://ada:secret@example.org/t/tok-en/x]\n")
    (root / "condarc.d").mkdir()
    (root / "condarc.d/b.yml").write_text("solver: rattler\n")
    os.mkfifo(root / "condarc.d/a.yml")
    found = install(root)
    assert (found["version"], found["source"]) == ("26.7.1", "installer")
    assert found["default_solver"] == "libmamba"
    assert found["condarcs"] == {
        f"{root}/.condarc": "channels: [https://***@example.org/t/***/x]\n",
        f"{root}/condarc.d/b.yml": "solver: rattler\n",
    }
    assert found["unreadable"] == {f"{root}/condarc.d/a.yml": "is not a regular file"}
