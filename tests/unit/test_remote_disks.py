"""File systems: which of what is mounted they are, and when they are nearly full."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine import recorded
from tests.unit.remote import module

disks: Any = module("disks")
mountinfo: Any = module("mountinfo")
homes: Any = module("homes")

GB = 1 << 10


class Mounts:
    """A mountinfo file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "mountinfo"
        self.path.write_text("")
        self.number = 0

    def add(
        self, place: Any, kind: str, device: str, *, number: str = "", root: str = "/", **more: str
    ) -> None:
        """Mount something."""
        self.number += 1
        flags, options = more.get("flags", "rw,relatime"), more.get("options", "rw")
        place = str(place).replace(" ", "\\040")
        with self.path.open("a", newline="\n") as file:
            file.write(
                f"{self.number} 1 {number or f'8:{self.number}'} {root} {place} {flags} shared:1 - "
                f"{kind} {device} {options}\n"
            )

    @property
    def found(self) -> list[Any]:
        """Which of them are disks."""
        systems: list[Any] = disks.file_systems(mountinfo.mounts(self.path))
        return systems

    @property
    def places(self) -> list[str]:
        return [each["mount"] for each in self.found]

    @property
    def answered(self) -> Any:
        return disks.disks(self.path)


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    return Mounts(tmp_path)


# --- which they are ---


def test_a_real_box_has_one(mounts: Mounts) -> None:
    mounts.path.write_text(recorded("box/mountinfo"))
    [disk] = mounts.found
    assert (disk["mount"], disk["device"], disk["type"]) == ("/", "/dev/vda", "ext4")


def test_what_keeps_no_files_is_none(mounts: Mounts) -> None:
    mounts.add("/", "ext4", "/dev/sda2")
    mounts.add("/proc", "proc", "proc")
    mounts.add("/dev", "devtmpfs", "udev")
    mounts.add("/run", "tmpfs", "tmpfs")
    mounts.add("/net", "autofs", "systemd-1")
    mounts.add("/snap/core/1", "squashfs", "/dev/loop0")
    mounts.add("/media/cdrom", "iso9660", "/dev/sr0")
    mounts.add("/var/lib/lxcfs", "fuse.lxcfs", "lxcfs")
    mounts.add("/var/lib/docker/overlay2/x/merged", "overlay", "overlay")
    mounts.add("/boot/efi", "vfat", "/dev/sda1")
    mounts.add("/tank", "zfs", "tank")
    mounts.add("/data", "nfs4", "filer:/export")
    assert mounts.places == ["/", "/boot/efi", "/data", "/tank"]


def test_the_root_is_one_whatever_it_is(mounts: Mounts) -> None:
    mounts.add("/", "overlay", "overlay")
    assert mounts.places == ["/"]


def test_a_disk_is_told_once_where_it_is_whole(mounts: Mounts) -> None:
    mounts.add("/", "ext4", "/dev/sda2", number="8:2")
    mounts.add("/opt", "xfs", "/dev/sdb1", number="8:17", root="/opt")
    mounts.add("/data/disk", "xfs", "/dev/sdb1", number="8:17")
    mounts.add("/etc/hosts", "ext4", "/dev/sda2", number="8:2", root="/hosts")
    assert [(each["mount"], each["places"]) for each in mounts.found] == [
        ("/", ["/", "/etc/hosts"]),
        ("/data/disk", ["/opt", "/data/disk"]),
    ]


def test_of_several_at_one_place_the_last_one_is_seen(mounts: Mounts) -> None:
    mounts.add("/", "ext4", "/dev/sda2")
    mounts.add("/home", "ext4", "/dev/sdb1")
    mounts.add("/home", "nfs4", "filer:/home")
    assert [each["device"] for each in mounts.found] == ["/dev/sda2", "filer:/home"]


def test_names_are_as_they_are(mounts: Mounts) -> None:
    mounts.add("/", "ext4", "/dev/sda2")
    mounts.add("/data/a b\\134c", "ext4", "/dev/mapper/a\\040b")
    assert mounts.found[1]["mount"] == "/data/a b\\c"
    assert mounts.found[1]["device"] == "/dev/mapper/a b"


def test_read_only_is_what_the_mount_or_its_disk_is(mounts: Mounts) -> None:
    mounts.add("/", "ext4", "/dev/sda2", options="rw,errors=remount-ro")
    mounts.add("/a", "ext4", "/dev/sdb1", flags="ro,relatime")
    mounts.add("/b", "ext4", "/dev/sdc1", options="ro")
    assert [each["read_only"] for each in mounts.found] == [False, True, True]


# --- what is free ---


def test_what_is_free_is_what_people_can_fill(mounts: Mounts, tmp_path: Path) -> None:
    mounts.add(tmp_path, "ext4", "/dev/sda2")
    [disk], skipped, problems = mounts.answered
    real = os.statvfs(tmp_path)
    assert disk["mount"] == str(tmp_path)
    assert disk["size_mb"] == real.f_blocks * real.f_frsize // 2**20
    assert abs(disk["free_mb"] - real.f_bavail * real.f_frsize // 2**20) < 1000
    assert disk["inodes"] == (real.f_files or None)
    assert (skipped, problems) == ({}, [])


def test_one_that_is_not_there_any_more_is_named(mounts: Mounts, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    mounts.add(gone, "nfs4", "filer:/export")
    [disk], skipped, [problem] = mounts.answered
    assert (disk["size_mb"], disk["inodes"]) == (None, None)
    assert skipped == {str(gone): f"{gone} is not there"}
    assert problem["problem"] == f"{gone} is not there (nfs4 from filer:/export)."
    assert problem["cure"].endswith(f"`sudo umount --lazy {gone}`.")


@pytest.mark.parametrize(("mount", "may_go"), [("/", False), ("/home", False), ("/data", True)])
def test_what_the_box_needs_is_not_to_be_unmounted(mount: str, may_go: bool) -> None:
    disk = {"mount": mount, "type": "nfs4", "device": "filer:/x"}
    cure = module("disks").silent(disk, "it hangs")["cure"]
    assert ("umount" in cure) is may_go


def test_one_that_does_not_answer_is_named_and_the_others_answer(
    mounts: Mounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = disks.usage
    monkeypatch.setattr(homes, "TIMEOUT", 0.3)
    monkeypatch.setattr(
        disks, "usage", lambda mount: time.sleep(60) if mount == "/dead" else ask(mount)
    )
    mounts.add(tmp_path, "ext4", "/dev/sda2")
    mounts.add("/dead", "nfs4", "filer:/export")
    found, skipped, [problem] = mounts.answered
    assert {each["mount"]: each["free_mb"] is None for each in found} == {
        "/dead": True,
        str(tmp_path): False,
    }
    assert skipped == {"/dead": "/dead did not answer within 0 s"}
    assert problem["problem"] == "/dead did not answer within 0 s (nfs4 from filer:/export)."


def test_one_that_is_not_for_this_account_is_nobodys_problem(
    mounts: Mounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "statvfs", refuse)
    mounts.add("/home/ada/mnt", "cifs", "//filer/ada")
    [disk], skipped, problems = mounts.answered
    assert disk["free_mb"] is None
    assert skipped == {"/home/ada/mnt": "/home/ada/mnt is not readable for this account"}
    assert problems == []


# --- what is wrong ---


@pytest.mark.parametrize(
    ("size", "free", "full"),
    [
        (100 * GB, 5 * GB - 1, True),
        (100 * GB, 5 * GB, False),
        (10 * GB, GB - 1, True),
        (10 * GB, GB, False),
        # A large disk has room at 5 %, and a small one never has 1 GB.
        (100_000 * GB, 10 * GB, False),
        (100_000 * GB, 10 * GB - 1, True),
        (500, 50, False),
        (500, 49, True),
        (500, 0, True),
    ],
)
def test_nearly_full_is_little_for_its_size(size: int, free: int, full: bool) -> None:
    assert disks.is_nearly_full({"size_mb": size, "free_mb": free}) == full


@pytest.mark.parametrize(
    ("inodes", "free", "lacks"),
    [
        (1_000_000, 49_999, True),
        (1_000_000, 50_000, False),
        (400_000_000, 100_000, False),
        (400_000_000, 99_999, True),
        (None, None, False),
    ],
)
def test_inodes_run_out(inodes: int | None, free: int | None, lacks: bool) -> None:
    assert disks.lacks_inodes({"inodes": inodes, "inodes_free": free}) == lacks


def full(mount: str) -> Any:
    """A disk without space, as its process answers."""
    return {"size_mb": 1000, "free_mb": 1, "inodes": 10, "inodes_free": 0}, None, False


Answering = Callable[[Any], None]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Have every disk answer so."""
    return lambda usage: monkeypatch.setattr(disks, "usage", usage)


def test_a_disk_that_is_full_is_a_problem_where_the_box_needs_it(
    mounts: Mounts, answering: Answering
) -> None:
    answering(full)
    mounts.add("/home", "xfs", "/dev/sdb1")
    mounts.add("/my data", "xfs", "/dev/sdc1")
    _, _, [problem] = mounts.answered
    assert problem["problem"] == "/home is nearly full: 1 MB of 1000 MB are free."
    assert "du -xm --max-depth=3 /home " in problem["cure"]


def test_a_disk_counts_for_all_the_places_where_it_is_mounted(
    mounts: Mounts, answering: Answering
) -> None:
    answering(full)
    mounts.add("/my data", "xfs", "/dev/sdc1", number="8:33")
    mounts.add("/opt", "xfs", "/dev/sdc1", number="8:33", root="/opt")
    _, _, [problem] = mounts.answered
    assert problem["problem"].startswith("/my data is nearly full")
    assert "--max-depth=3 '/my data' " in problem["cure"]


def test_a_disk_without_inodes_is_a_problem(mounts: Mounts, answering: Answering) -> None:
    plenty = {"size_mb": 100_000, "free_mb": 90_000}
    answering(lambda mount: ({**plenty, "inodes": 1000, "inodes_free": 3}, None, False))
    mounts.add("/var", "ext4", "/dev/sdb1")
    _, _, [problem] = mounts.answered
    assert problem["problem"] == (
        "/var can take only 3 more files: the rest of its 1000 inodes are used."
    )


def test_a_disk_that_takes_nothing_is_a_problem_but_for_boot(
    mounts: Mounts, answering: Answering
) -> None:
    answering(lambda mount: ({"size_mb": 900, "free_mb": 800, "inodes": None}, None, False))
    mounts.add("/", "ext4", "/dev/sda2", options="ro")
    mounts.add("/boot", "ext4", "/dev/sda1", options="ro")
    mounts.add("/data", "ext4", "/dev/sdb1", options="ro")
    _, _, problems = mounts.answered
    assert [each["problem"] for each in problems] == ["/ is mounted read-only."]


# --- whatever is mounted ---

NAME = st.text(st.characters(exclude_characters="\n\t \\", exclude_categories=["Cs"]))


@given(place=NAME, device=NAME, root=NAME)
def test_any_names_are_read(
    place: str, device: str, root: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mounts = Mounts(tmp_path_factory.mktemp("mounts"))
    mounts.add(f"/{place}", "nfs4", device, root=f"/{root}")
    [found] = mounts.found
    assert (found["mount"], found["device"]) == (f"/{place}", device)


def test_names_that_are_no_text_are_read(mounts: Mounts) -> None:
    mounts.add("/NAME", "ext4", "/dev/sdb1")
    mounts.path.write_bytes(mounts.path.read_bytes().replace(b"NAME", b"\xff\xfe"))
    assert mounts.places == ["/\udcff\udcfe"]
