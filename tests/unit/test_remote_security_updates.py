"""Security updates: what apt itself would install, told from the lists that it has."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine import recorded
from tests.unit.remote import module

dpkg: Any = module("dpkg")
reading: Any = module("reading")
security_updates: Any = module("security_updates")

NOBLE = "security.ubuntu.com_ubuntu_dists_noble-security_"
NOW = 1_800_000_000.0
DAY = 24 * 3600.0


def heads(recording: str) -> dict[str, str]:
    """The first lines of Release files, by their names."""
    parts = re.split(r"^==> (.*) <==\n", recorded(f"box/{recording}"), flags=re.MULTILINE)
    return {
        os.path.basename(name): text for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


class Apt:
    """What apt and dpkg have on a box: that of a real one, to be changed."""

    def __init__(self, folder: Path) -> None:
        self.lists, self.status = folder / "lists", folder / "status"
        self.lists.mkdir()
        for name, text in heads("releases-noble").items():
            (self.lists / name).write_text(text)
        self.packages = self.lists / f"{NOBLE}main_binary-amd64_Packages"
        self.packages.write_text(recorded("box/security-packages"))
        self.status.write_text(recorded("box/dpkg-status"))

    @property
    def installed(self) -> Any:
        return dpkg.Packages(self.status)

    def waiting(self) -> Any:
        found, archives, self.asked = security_updates.waiting(self.installed, str(self.lists))
        assert archives == ["noble-security"]
        return found

    @property
    def names(self) -> list[str]:
        return [each["package"] for each in self.waiting()]


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    return Apt(tmp_path)


# --- which wait ---


def test_what_waits_is_what_apt_says_it_would_install_or_is_kept_from(apt: Apt) -> None:
    said = recorded("box/simulated")
    upgrades = re.findall(r"^Inst (\S+) \[(\S+)\] \((\S+) .*-security", said, re.MULTILINE)
    kept = re.findall(r"^  (.*)$", said.partition("kept back:\n")[2], re.MULTILINE)[0].split()
    waiting = apt.waiting()
    assert upgrades == [
        (each["package"], each["installed"], each["available"])
        for each in waiting
        if not each["held"]
    ]
    assert kept == [each["package"] for each in waiting if each["held"]] == ["less"]
    assert {each["archive"] for each in waiting} == {"noble-security"}


def test_what_is_as_new_as_the_archive_does_not_wait(apt: Apt) -> None:
    assert "dpkg" in apt.packages.read_text()
    assert "dpkg" not in apt.names


def test_what_was_removed_does_not_wait(apt: Apt) -> None:
    text = apt.status.read_text()
    apt.status.write_text(
        text.replace("Package: gzip\nEssential: yes\nStatus: install ok installed", "Package: gzip")
    )
    assert apt.names == ["less", "libexpat1"]
    apt.status.write_text(text.replace("hold ok installed", "deinstall ok config-files"))
    assert apt.names == ["gzip", "libexpat1"]


def test_another_architecture_is_another_package(apt: Apt) -> None:
    foreign = apt.packages.read_text().replace("Architecture: amd64", "Architecture: i386")
    (apt.lists / f"{NOBLE}main_binary-i386_Packages").write_text(foreign)
    assert apt.names == ["gzip", "less", "libexpat1"]
    [stanza] = [s for s in apt.status.read_text().split("\n\n") if "Package: libexpat1\n" in s]
    with apt.status.open("a") as file:
        file.write("\n" + stanza.replace("Architecture: amd64", "Architecture: i386") + "\n\n")
    assert apt.names == ["gzip", "less", "libexpat1", "libexpat1:i386"]


def test_what_runs_on_any_architecture_is_the_boxs_own(apt: Apt) -> None:
    [stanza] = [s for s in apt.status.read_text().split("\n\n") if "Package: gzip\n" in s]
    changed = stanza.replace("Architecture: amd64", "Architecture: all")
    apt.status.write_text(apt.status.read_text().replace(stanza, changed))
    assert "gzip" in apt.names


def test_of_several_lists_the_newest_version_counts(apt: Apt) -> None:
    newer = "Package: gzip\nArchitecture: amd64\nVersion: 2.0-1\n"
    (apt.lists / f"{NOBLE}universe_binary-amd64_Packages").write_text(newer)
    assert {each["package"]: each["available"] for each in apt.waiting()}["gzip"] == "2.0-1"


def test_lists_of_other_archives_do_not_count(apt: Apt) -> None:
    newer = "Package: bash\nArchitecture: amd64\nVersion: 9\n"
    name = "archive.ubuntu.com_ubuntu_dists_noble-updates_main_binary-amd64_Packages"
    (apt.lists / name).write_text(newer)
    assert "bash" not in apt.names


def test_it_is_as_of_when_the_archive_last_answered(apt: Apt) -> None:
    apt.waiting()
    assert apt.asked == (apt.lists / f"{NOBLE}InRelease").stat().st_ctime


def test_lists_may_be_packed(apt: Apt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "apt-helper"
    helper.write_text('#!/bin/sh\n[ "$1" = cat-file ] && exec gzip -dc "$2"\n')
    helper.chmod(0o755)
    monkeypatch.setattr(security_updates, "HELPER", str(helper))
    packed = apt.packages.with_name(f"{apt.packages.name}.gz")
    packed.write_bytes(gzip.compress(apt.packages.read_bytes()))
    apt.packages.unlink()
    assert apt.names == ["gzip", "less", "libexpat1"]
    packed.write_bytes(b"no gzip")
    with pytest.raises(reading.Unreadable, match="cannot be unpacked"):
        apt.waiting()


def test_an_archive_whose_lists_were_removed_cannot_tell(apt: Apt) -> None:
    apt.packages.unlink()
    with pytest.raises(reading.Unreadable, match="no package list of noble-security"):
        apt.waiting()


def test_a_list_that_cannot_be_read_is_named(apt: Apt) -> None:
    apt.packages.unlink()
    apt.packages.mkdir()
    with pytest.raises(reading.Unreadable, match="_Packages is not a regular file"):
        apt.waiting()


@given(garbage=st.binary())
def test_whatever_a_list_says_is_read(
    garbage: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    apt = Apt(tmp_path_factory.mktemp("apt"))
    apt.packages.write_bytes(apt.packages.read_bytes() + b"Package: gzip\n" + garbage)
    apt.status.write_bytes(apt.status.read_bytes() + b"Package: gzip\n" + garbage)
    apt.waiting()


# --- of which archive ---


@pytest.mark.parametrize(
    ("recording", "security"),
    [("releases-trixie", ["trixie-security"]), ("releases-noble", ["noble-security"])],
)
def test_archives_of_security_updates_are_told_from_others(
    recording: str, security: list[str]
) -> None:
    archives = map(security_updates.security_archive, heads(recording).values())
    assert [archive for archive in archives if archive] == security


@pytest.mark.parametrize(
    ("release", "archive"),
    [
        # What Ubuntu's ESM is called, Debian's of old, and a mirror that names nothing else.
        (
            "Origin: UbuntuESMApps\nLabel: UbuntuESMApps\nSuite: noble-apps-security\n"
            "Codename: noble\n",
            "noble-apps-security",
        ),
        (
            "Origin: UbuntuESM\nLabel: UbuntuESM\nSuite: jammy-infra-security\nCodename: jammy\n",
            "jammy-infra-security",
        ),
        ("Label: Debian-Security\nSuite: oldoldstable\nCodename: buster\n", "buster"),
        ("Label: Debian-Security\n", "Debian-Security"),
        ("Label: security\nSuite: stable\n", None),
        ("Description: \nSHA256:\n" + " 0 main\n" * 999 + "Label: Debian-Security\n", None),
        ("", None),
    ],
)
def test_archives_by_their_names(release: str, archive: str | None) -> None:
    assert security_updates.security_archive(release) == archive


def test_a_box_without_lists_cannot_tell(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(recorded("box/dpkg-status"))
    installed = dpkg.Packages(tmp_path / "status")
    for lists in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(reading.Unreadable, match="no package list of a security archive"):
            security_updates.waiting(installed, str(lists))


def test_a_box_without_dpkg_cannot_tell() -> None:
    found, reason, problems = security_updates.updates(None)
    assert (found["security"], reason, problems) == (None, "dpkg's packages cannot be read", [])


# --- which are worth a word ---


def problems(found: list[Any], asked: float = NOW, ran: float | None = None) -> list[str]:
    """What is wrong, at NOW."""
    return [each["problem"] for each in security_updates.problems(found, asked, ran, NOW)]


def update(name: str, held: bool = False) -> dict[str, Any]:
    return {"package": name, "held": held}


def test_updates_that_wait_are_a_problem_and_held_ones_are_a_decision() -> None:
    assert problems([]) == problems([update("a", held=True)]) == []
    assert problems([update("a"), update("b", held=True)]) == ["Security updates wait: a."]
    many = [update(f"p{number}") for number in range(9)]
    assert problems(many) == ["Security updates wait: p0, p1, p2, p3, p4 and 4 more."]


@pytest.mark.parametrize(
    ("asked", "ran", "silent"),
    [
        (NOW, None, False),
        # It has yet to see them.
        (NOW - 3600, NOW - DAY, True),
        # It has left them.
        (NOW - DAY, NOW - 3600, False),
        # It has stopped to run.
        (NOW - 3600, NOW - 3 * DAY, False),
    ],
)
def test_updates_that_install_themselves_are_none(
    asked: float, ran: float | None, silent: bool
) -> None:
    assert (problems([update("a")], asked, ran) == []) == silent


def test_an_answer_that_is_old_is_a_problem() -> None:
    assert problems([], NOW - 14 * DAY) == []
    assert problems([], NOW - 15 * DAY) == [
        "The last answer of a security archive is 15 days old: newer updates are not known."
    ]


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ('APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";', True),
        ('APT { Periodic { Unattended-Upgrade "1"; }; };', True),
        ('APT::Periodic::Unattended-Upgrade "0";', False),
        ('// APT::Periodic::Unattended-Upgrade "1";', False),
        ('Unattended-Upgrade::Mail "root";', False),
        ("", False),
    ],
)
def test_unattended_upgrades_run_where_apt_is_set_to(tmp_path: Path, text: str, runs: bool) -> None:
    stamp = tmp_path / "upgrade-stamp"
    configuration = tmp_path / "apt.conf.d"
    configuration.mkdir()
    (configuration / "20auto-upgrades").write_text(text)
    paths = (str(configuration), str(stamp))
    assert security_updates.unattended(*paths) is None
    stamp.touch()
    os.utime(stamp, (NOW, NOW))
    assert security_updates.unattended(*paths) == (NOW if runs else None)


def test_the_last_file_says_whether_unattended_upgrades_run(tmp_path: Path) -> None:
    (tmp_path / "20on").write_text('APT::Periodic::Unattended-Upgrade "1";\n')
    (tmp_path / "50off").write_text('APT::Periodic::Unattended-Upgrade "0";\n')
    assert security_updates.unattended(str(tmp_path), str(tmp_path)) is None


# --- versions ---

ORDER = [
    *(
        "0~~",
        "0~",
        "0",
        "0.9",
        "0.9a",
        "0.9+",
        "1~rc1",
        "1",
        "1-0.1",
        "1-1~bpo12+1",
        "1-1",
        "1-1.1",
    ),
    *("1-2", "1-10", "1a-1", "1+deb13u1", "1.0-1", "1:0", "1:0-1", "2:0"),
]


def test_versions_have_an_order() -> None:
    assert all(dpkg.rank(one) < dpkg.rank(next_one) for one, next_one in pairwise(ORDER))


@pytest.mark.parametrize(("one", "same"), [("0:1", "1"), ("1.00", "1.0"), ("1", "1-0"), ("", "0")])
def test_versions_may_be_equal(one: str, same: str) -> None:
    assert dpkg.rank(one) == dpkg.rank(same)


VERSION = st.from_regex(r"\A([0-2]:)?[0-9][0-9a-c.+~]{0,5}(-[0-9a-c+.~]{1,4})?\Z")


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is Debian's")
@given(one=VERSION, other=VERSION)
def test_the_order_is_dpkgs(one: str, other: str) -> None:
    for relation, holds in (
        ("lt", dpkg.rank(one) < dpkg.rank(other)),
        ("eq", dpkg.rank(one) == dpkg.rank(other)),
    ):
        done = subprocess.run(["dpkg", "--compare-versions", one, relation, other])
        assert (done.returncode == 0) == holds, relation


@given(one=st.text(), other=st.text())
def test_any_versions_can_be_compared(one: str, other: str) -> None:
    assert (dpkg.rank(one) <= dpkg.rank(other)) or (dpkg.rank(one) > dpkg.rank(other))
