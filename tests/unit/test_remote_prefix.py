"""Reading an environment from its files: what conda would tell of it, and what is damaged."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine import RECORDED
from tests.unit.prefixes import (
    CREATED,
    SITE,
    install,
    make_prefix,
    pip_install,
    pip_remove,
    record_of,
    remove,
    stdout,
)
from tests.unit.remote import module

prefix_module: Any = module("prefix")
conda_history: Any = module("conda_history")

TRAITLETS = next(record for record in CREATED if record["name"] == "traitlets")


def described(path: Path, **arguments: Any) -> dict[str, Any]:
    prefix, row = prefix_module.describe(path, **arguments)
    prefix.check_records()
    return dict(row)


def test_the_recorded_environment_is_described_as_conda_lists_it(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "python3")
    row = described(path)
    assert row == {
        "prefix": str(path),
        "path": str(path),
        "python": "3.11.7",
        "packages": len(stdout("22-list-json")),
        "from_pip": 0,
        "size_mb": None,
        "requested": ["ipykernel", "python=3.11"],
        "channels": ["http://127.0.0.1:8123/channel"],
        "changed": row["changed"],
        "problems": [],
    }
    assert row["changed"].endswith("+00:00")


def test_packages_of_pip_are_counted_apart(tmp_path: Path) -> None:
    path = make_prefix(tmp_path, ["python", "pip", "python_abi"])
    pip_install(path, "isodate", "0.7.2")
    row = described(path)
    listed = stdout("32f2-list-frompip-json")
    assert row["packages"] == len(listed)
    assert row["from_pip"] == sum(package["channel"] == "pypi" for package in listed)


def test_a_python_package_of_conda_under_another_name_is_not_pips(tmp_path: Path) -> None:
    path = make_prefix(tmp_path, ["python", "traitlets"])
    [mark] = (path / SITE).glob("traitlets-*")
    other = mark.rename(mark.with_name("other-1.0.dist-info"))
    record = record_of(path, TRAITLETS)
    record.write_text(record.read_text().replace(mark.name, other.name))
    (other / "INSTALLER").unlink()
    assert described(path)["from_pip"] == 0
    record.write_text(record.read_text().replace(other.name, "elsewhere"))
    assert described(path)["from_pip"] == 1


def test_the_size_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3 << 20))
    os.link(tmp_path / "a", tmp_path / "b")
    assert prefix_module.size_mb(tmp_path) == 3


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: "", "is empty"),
        (lambda text: "\0" * len(text), "is empty"),
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "not json", "is not JSON"),
        (lambda text: "[]", "is not a package's record"),
        (lambda text: '{"name": "traitlets"}', "is not a package's record"),
        (lambda text: text.replace('"traitlets"', '"other"'), "is the record of other-5.16.1-"),
    ],
)
def test_a_damaged_record_is_named_and_the_others_are_read(
    tmp_path: Path, damage: Any, problem: str
) -> None:
    path = make_prefix(tmp_path)
    record = record_of(path, TRAITLETS)
    record.write_text(damage(record.read_text()))
    found = prefix_module.Prefix(path)
    assert len(found.packages()) == len(CREATED) - 1
    [said] = found.problems
    assert said.startswith(f"conda-meta/{record.name} {problem}")


def test_a_description_names_records_that_do_not_end(tmp_path: Path) -> None:
    path = make_prefix(tmp_path)
    record = record_of(path, TRAITLETS)
    record.write_text(record.read_text()[:-1])
    row = described(path)
    assert row["problems"] == [f"conda-meta/{record.name} is not JSON"]
    assert row["packages"] == len(CREATED)


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = make_prefix(tmp_path, ["python"])
    os.mkfifo(path / "conda-meta/pipe-1.0-0.json")
    assert described(path)["problems"] == ["conda-meta/pipe-1.0-0.json is not a regular file"]


def test_a_file_that_is_not_named_after_a_package_is_named(tmp_path: Path) -> None:
    path = make_prefix(tmp_path, ["python"])
    (path / "conda-meta/notes.json").write_text("{}")
    (path / "conda-meta/._python-3.11.7-0.json").write_text("a Mac's")
    assert described(path)["problems"] == [
        "conda-meta/notes.json is not named after a package",
        "conda-meta/notes.json is not a package's record",
    ]


def test_what_is_no_environment_says_so(tmp_path: Path) -> None:
    row = described(tmp_path)
    assert row["problems"] == ["conda-meta/history is not there"]
    assert (row["python"], row["packages"], row["changed"]) == (None, 0, None)


def test_an_environment_without_python_is_one(tmp_path: Path) -> None:
    path = make_prefix(tmp_path, [])
    row = described(path)
    assert (row["python"], row["problems"]) == (None, [])


def test_a_python_that_is_gone_is_named(tmp_path: Path) -> None:
    path = make_prefix(tmp_path)
    (path / "bin/python").unlink()
    assert described(path)["problems"] == ["bin/python is not there"]


@given(garbage=st.binary(max_size=300))
def test_no_record_breaks_the_description(
    garbage: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = make_prefix(tmp_path_factory.mktemp("p") / "x", ["python"])
    record = path / "conda-meta/any-1.0-0.json"
    record.write_bytes(garbage)
    prefix = prefix_module.Prefix(path)
    prefix.packages()
    assert any(record.name in said for said in prefix.problems)
    described(path)


# --- the history ---


HISTORY = stdout  # the recorded history is text, see below


def recorded_history() -> str:
    return (RECORDED / "conda/62-history-python3.txt").read_text()


def test_the_recorded_history_asks_for_what_conda_exports_from_it() -> None:
    exported = (RECORDED / "conda/24c-env-export-from-history.txt").read_text()
    specs = re.findall(r"^  - (.+)$", exported, re.MULTILINE)
    # six was asked for and removed again.
    assert conda_history.requested(recorded_history(), {"ipykernel", "python", "six"}) == specs


def test_what_was_removed_is_no_longer_asked_for() -> None:
    history = "# update specs: ['a', 'conda-forge::b>=1', 'c[version=2]']\n# remove specs: ['a']\n"
    assert conda_history.requested(history, {"a", "b", "c"}) == [
        "c[version=2]",
        "conda-forge::b>=1",
    ]


def test_channels_are_those_of_what_is_there() -> None:
    history = (
        "+conda-forge/noarch::a-1-0\n+https://example.org/lab/linux-64::b-1-0\n"
        "-conda-forge/noarch::a-1-0\n+defaults::c-1-0\n"
    )
    stems = ["b-1-0", "c-1-0", "unknown-1-0"]
    assert conda_history.channels(history, stems) == ["defaults", "https://example.org/lab"]


def test_no_password_of_a_channel_is_told() -> None:
    history = "+https://ada:secret@example.org/t/to-ken/lab/noarch::a-1-0\n"
    assert conda_history.channels(history, ["a-1-0"]) == ["https://***@example.org/t/***/lab"]


LITERALS: st.SearchStrategy[Any] = st.recursive(
    st.text() | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(history=st.text(), specs=st.text(), listed=LITERALS)
def test_no_history_raises(history: str, specs: str, listed: Any) -> None:
    lines = [history, f"# update specs: {specs}", f"# update specs: [{specs}"]
    lines += [f"# update specs: [{listed!r}]", f"# update specs: [{{{listed!r}}}]"]
    conda_history.requested("\n".join(lines), {"a"})
    conda_history.channels(f"{history}\n+{specs}::{specs}", ["a-1-0"])


def test_a_spec_that_python_cannot_hold_is_none() -> None:
    assert conda_history.requested("# update specs: [{[1]}]\n# update specs: ['a']\n", {"a"}) == [
        "a"
    ]


def test_no_password_of_a_spec_is_told() -> None:
    spec = "https://ada:se@cret@example.org/t/tok/lab/noarch::numpy"
    found = conda_history.requested(f"# update specs: [{spec!r}]\n", {"numpy"})
    assert found == ["https://***@example.org/t/***/lab/noarch::numpy"]


def test_packages_that_differ_in_a_dash_alone_are_two(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "x", ["python"])
    for name in ("typing_extensions", "typing-extensions"):
        install(path, {**TRAITLETS, "name": name, "noarch": None})
    assert described(path)["packages"] == 3


def test_a_date_that_no_calendar_has_is_none() -> None:
    assert prefix_module.moment(1e20) is None


def test_packages_of_a_python_that_is_gone_are_not_counted(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "x", ["python"])
    pip_install(path, "isodate", "0.7.2")
    (path / "lib/python3.11").rename(path / "lib/python3.10")
    assert described(path)["from_pip"] == 0


def test_a_record_whose_files_are_none_is_a_package(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "x", ["python"])
    whole = {"name": "any", "version": "1", "build": "0", "files": 5}
    (path / "conda-meta/any-1-0.json").write_text(json.dumps(whole))
    found = prefix_module.Prefix(path)
    assert "any" in [package["name"] for package in found.packages()]


# --- drift ---

drift_module: Any = module("drift")


class Release:
    """A release, as it was built."""

    def __init__(self, path: Path) -> None:
        self.path = make_prefix(path)
        prefix = prefix_module.Prefix(path)
        keys = ("name", "version", "build", "url")
        packages = [{key: one[key] for key in keys} for one in prefix.packages()]
        self.record = {"packages": packages, "python": drift_module.baseline(prefix)}
        self.built = max(entry.stat().st_ctime for entry in (path / "conda-meta").iterdir())

    def drift(self) -> list[tuple[Any, ...]]:
        rows = drift_module.drift(prefix_module.Prefix(self.path), self.record, self.built)
        return [(row["package"], row["was"], row["now"], row["by"]) for row in rows]


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path / "release")


def test_a_release_has_not_drifted(release: Release) -> None:
    assert release.drift() == []
    owners = release.record["python"]
    assert owners["matplotlib_inline-0.2.2.dist-info"] == "matplotlib-inline"


def test_pip_adds_and_removes(release: Release) -> None:
    pip_install(release.path, "isodate", "0.7.2")
    assert release.drift() == [("isodate", None, "0.7.2", "pip")]
    pip_remove(release.path, "isodate")
    assert release.drift() == []


def test_pip_replaces_what_conda_installed(release: Release) -> None:
    pip_remove(release.path, "traitlets")
    assert release.drift() == [("traitlets", "5.16.1 pyhd8ed1ab_0", None, "pip")]
    pip_install(release.path, "traitlets", "6.0")
    changed = [("traitlets", "5.16.1 pyhd8ed1ab_0", "6.0", "pip")]
    assert release.drift() == changed
    # `conda list` removes the record of what pip has replaced.
    record_of(release.path, TRAITLETS).unlink()
    assert release.drift() == changed
    pip_remove(release.path, "traitlets")
    install(release.path, TRAITLETS)
    assert release.drift() == []


def test_conda_adds_removes_and_changes(release: Release) -> None:
    gone = remove(release.path, "traitlets")
    newer = {**gone, "version": "6.0", "files": []}
    assert release.drift() == [("traitlets", "5.16.1 pyhd8ed1ab_0", None, "conda")]
    install(release.path, newer)
    install(release.path, {**gone, "name": "six", "version": "1.17.0", "files": []})
    assert release.drift() == [
        ("six", None, "1.17.0 pyhd8ed1ab_0", "conda"),
        ("traitlets", "5.16.1 pyhd8ed1ab_0", "6.0 pyhd8ed1ab_0", "conda"),
    ]
    remove(release.path, "six")
    remove(release.path, "traitlets")
    install(release.path, {**gone, "files": []})
    assert release.drift() == []


def test_the_same_package_of_another_channel_is_drift(release: Release) -> None:
    record = record_of(release.path, TRAITLETS)
    other = record.read_text().replace("127.0.0.1:8123", "example.org")
    record.write_text(other)
    os.utime(record, (release.built + 9, release.built + 9))
    [(package, was, now, by)] = release.drift()
    assert (package, by) == ("traitlets", "conda")
    assert was.startswith("http://127.0.0.1:8123/") and now.startswith("http://example.org/")
    record.write_text(other.replace("example.org", "127.0.0.1:8123"))
    assert release.drift() == []


def test_a_conda_package_whose_mark_has_another_name_is_one_change(release: Release) -> None:
    mark = f"{SITE}/msgpack-1.0.dist-info"
    (release.path / mark).mkdir()
    added = {**TRAITLETS, "name": "msgpack-python", "version": "1.0", "noarch": None}
    install(release.path, {**added, "files": [f"{mark}/RECORD"]})
    assert release.drift() == [("msgpack-python", None, "1.0 pyhd8ed1ab_0", "conda")]


def test_a_package_that_pip_knows_by_another_name_is_one_change(tmp_path: Path) -> None:
    path = make_prefix(tmp_path / "x", ["python"])
    mark = f"{SITE}/torch-2.5.dist-info"
    (path / mark).mkdir()
    torch = {**TRAITLETS, "name": "pytorch", "version": "2.5", "noarch": None}
    install(path, {**torch, "files": [f"{mark}/RECORD"]})
    prefix = prefix_module.Prefix(path)
    keys = ("name", "version", "build", "url")
    packages = [{key: one[key] for key in keys} for one in map(prefix.record, prefix.files)]
    record = {"packages": packages, "python": drift_module.baseline(prefix)}
    (path / mark).rmdir()
    pip_install(path, "torch", "2.6")
    [row] = drift_module.drift(prefix_module.Prefix(path), record, 2e10)
    was = f"2.5 {TRAITLETS['build']}"
    assert row == {"package": "pytorch", "was": was, "now": "2.6", "by": "pip", "pip": "torch"}


def test_what_cannot_be_seen_has_not_drifted(release: Release) -> None:
    prefix = prefix_module.Prefix(release.path)
    prefix.hidden("conda-meta is not readable for this account")
    prefix.stems = {}
    assert drift_module.drift(prefix, release.record, release.built) == []


def test_no_password_of_a_channel_is_drift(release: Release) -> None:
    record = record_of(release.path, TRAITLETS)
    record.write_text(record.read_text().replace("127.0.0.1:8123", "ada:secret@example.org"))
    os.utime(record, (release.built + 9, release.built + 9))
    [(_, _, now, _)] = release.drift()
    assert now.startswith("http://***@example.org/")


def test_the_record_survives_json(release: Release) -> None:
    release.record = json.loads(json.dumps(release.record))
    assert release.drift() == []
