"""What a box is: memory, units, GPUs, since when it is up, and why it waits for a reboot."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts.box import System, SystemAnswer
from jupyterbox.program import answer
from tests.unit.engine import recorded
from tests.unit.remote import call, module

clock: Any = module("clock")
dpkg: Any = module("dpkg")
gpus: Any = module("gpus")
reboot: Any = module("reboot")
system_state: Any = module("system_state")


def test_the_program_answers_on_this_machine() -> None:
    done = call("system_state")
    assert done.returncode == 0, done.stderr
    found = answer(done.stdout.splitlines(), SystemAnswer)
    system = os.uname()
    assert (found["kernel"], found["hostname"]) == (system.release, system.nodename)
    assert found["cores"] == os.cpu_count()
    assert found["memory"]["total_mb"] > found["memory"]["available_mb"] > 0
    assert "/" in [disk["mount"] for disk in found["disks"]]
    assert 0 < found["uptime_seconds"] <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_machine_without_any_tool_answers(tmp_path: Path) -> None:
    done = call("system_state", env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == System.default().keys()
    assert (found["virtualization"], found["failed_units"]) == (None, None)
    assert found["skipped"]["failed_units"] == "systemd does not answer"


# --- system and memory ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="A B"\nX', ("debian", "13", "A B")),
        ("ID='a'\nPRETTY_NAME=Sid", ("a", "", "Sid")),
        ("\0", ("", "", "")),
    ],
)
def test_the_system_is_what_it_says(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "os-release").write_text(text)
    found = system_state.os_release(str(tmp_path / "os-release"))
    assert (found["id"], found["version"], found["name"]) == expected


def test_a_system_that_does_not_say_is_empty(tmp_path: Path) -> None:
    assert system_state.os_release(str(tmp_path)) == {"id": "", "version": "", "name": ""}
    assert set(system_state.memory_state(str(tmp_path)).values()) == {0}


def test_memory_is_in_megabytes(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  4096 kB\nMemAvailable: 1024 kB\nHugePages_Total: 7\n")
    assert system_state.memory_state(str(meminfo)) == {
        "total_mb": 4,
        "available_mb": 1,
        "swap_mb": 0,
        "swap_free_mb": 0,
    }


@pytest.mark.parametrize(
    ("total", "available", "swap", "free", "exhausted"),
    [
        (4096, 204, 0, 0, True),
        (4096, 205, 0, 0, False),
        # Of much memory 5 % is much.
        (500_000, 1023, 0, 0, True),
        (500_000, 1024, 0, 0, False),
        (4096, 100, 8192, 819, True),
        (4096, 100, 8192, 820, False),
        (0, 0, 0, 0, False),
    ],
)
def test_memory_is_exhausted_when_swap_is(
    total: int, available: int, swap: int, free: int, exhausted: bool
) -> None:
    memory = {
        "total_mb": total,
        "available_mb": available,
        "swap_mb": swap,
        "swap_free_mb": free,
    }
    assert bool([*system_state.memory_problems(memory)]) == exhausted


# --- units ---


def failed(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> Any:
    """The failed units, where systemctl says so."""
    (folder / "said").write_text(says)
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\n[ "$1 $2 $TZ" = "show --state=failed UTC" ] && exec /bin/cat {folder}/said\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return system_state.failed_units()


def test_units_that_have_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = failed(tmp_path, monkeypatch, recorded("box/failed-two"))
    assert [(unit["unit"], unit["result"]) for unit in found] == [
        ("broken.service", "exit-code"),
        ("slow.service", "timeout"),
    ]
    for unit in found:
        moment = unit["since"].removesuffix("+00:00").replace("T", " ")
        assert f" {moment} UTC\n" in recorded("box/failed-two")
    first, _ = system_state.unit_problems(found)
    assert first["problem"] == "broken.service has failed (exit-code)."
    assert "systemctl status broken.service" in first["cure"]


def test_a_cure_can_be_typed() -> None:
    unit = {"unit": "mnt-a\\x20b.mount", "result": "", "since": None}
    [problem] = system_state.unit_problems([unit])
    assert problem["problem"] == "mnt-a\\x20b.mount has failed (no result)."
    assert "`systemctl status 'mnt-a\\x20b.mount'`" in problem["cure"]


def test_no_unit_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed(tmp_path, monkeypatch, recorded("box/failed-none")) == []


def test_without_systemd_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failed(tmp_path, monkeypatch, "") is None


# --- the clock ---


def test_a_container_is_up_since_its_first_process_is(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    fields = ["S", *["0"] * 18, str(int((up - 60) * os.sysconf("SC_CLK_TCK"))), "0"]
    stat.write_text(f"1 (a ) b) {' '.join(fields)}\n")
    assert 59 < clock.uptime(str(stat)) < 120


@pytest.mark.parametrize("text", ["", "1 (systemd) S 0", "1 (systemd) " + "x " * 30])
def test_a_first_process_that_is_hidden_is_as_old_as_the_kernel(tmp_path: Path, text: str) -> None:
    stat = tmp_path / "stat"
    stat.write_text(text)
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert up <= clock.uptime(str(stat)) < up + 60
    assert up <= clock.uptime(str(tmp_path / "nowhere")) < up + 60


def test_the_clock_is_right_once_timesyncd_has_set_it(tmp_path: Path) -> None:
    stamp = tmp_path / "timesync/synchronized"
    assert clock.is_synchronized(str(stamp)) is None
    stamp.parent.mkdir()
    assert clock.is_synchronized(str(stamp)) is False
    stamp.touch()
    assert clock.is_synchronized(str(stamp)) is True


@pytest.mark.parametrize(
    ("synchronized", "up", "wrong"),
    [(False, 601, True), (False, 599, False), (None, 9999, False), (True, 9999, False)],
)
def test_a_clock_that_nobody_has_set_is_a_problem_after_a_while(
    synchronized: bool | None, up: int, wrong: bool
) -> None:
    assert bool([*system_state.clock_problems(synchronized, up)]) == wrong


# --- GPUs ---

H100 = """\
Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 10
Bus Location: \t 0000:62:00.0
"""


class Bus:
    """The kernel's files about what is on the PCI bus."""

    def __init__(self, folder: Path) -> None:
        self.devices, self.modules, self.nvidia = (folder / n for n in ("pci", "module", "nvidia"))

    def add(self, address: str, ids: str, kind: str, driver: str = "") -> None:
        device = self.devices / address
        device.mkdir(parents=True)
        vendor, _, product = ids.partition(":")
        for name, text in {"vendor": vendor, "device": product, "class": kind}.items():
            (device / name).write_text(f"0x{text}\n")
        if driver:
            (self.modules / driver).mkdir(parents=True, exist_ok=True)
            (device / "driver").symlink_to(f"../../drivers/{driver}")

    @property
    def found(self) -> Any:
        return gpus.gpus(str(self.devices), str(self.modules), str(self.nvidia))


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    return Bus(tmp_path)


def test_a_box_without_gpus_has_none(bus: Bus) -> None:
    assert bus.found == []
    bus.add("0000:03:00.0", "1a03:2000", "030000", "ast")
    bus.add("0000:62:00.1", "10de:1aef", "040300", "snd_hda_intel")
    assert bus.found == []


def test_a_gpu_with_its_driver(bus: Bus) -> None:
    bus.add("0000:62:00.0", "10de:2330", "030200", "nvidia")
    (bus.modules / "nvidia/version").write_text("580.95.05\n")
    information = bus.nvidia / "0000:62:00.0/information"
    information.parent.mkdir(parents=True)
    information.write_text(H100)
    assert bus.found == [
        {
            "address": "0000:62:00.0",
            "vendor": "NVIDIA",
            "model": "NVIDIA H100 80GB HBM3",
            "id": "10de:2330",
            "driver": "nvidia",
            "driver_version": "580.95.05",
        }
    ]


def test_gpus_without_a_driver_and_of_other_vendors(bus: Bus) -> None:
    bus.add("0000:01:00.0", "10de:2684", "030000", "nouveau")
    bus.add("0000:41:00.0", "10de:2330", "030200")
    bus.add("0000:81:00.0", "1002:74a1", "120000", "amdgpu")
    bus.add("0000:c1:00.0", "8086:0bda", "038000", "xe")
    found = [(gpu["vendor"], gpu["driver"], gpu["driver_version"]) for gpu in bus.found]
    assert found == [
        ("NVIDIA", "nouveau", None),
        ("NVIDIA", None, None),
        ("AMD", "amdgpu", None),
        ("Intel", "xe", None),
    ]
    assert [gpu["model"] for gpu in bus.found] == [None] * 4


def test_a_device_that_says_nothing_is_none(bus: Bus) -> None:
    for name in ("empty", "odd"):
        (bus.devices / name).mkdir(parents=True)
    (bus.devices / "odd/vendor").write_text("0x10de\n")
    assert bus.found == []


# --- a reboot ---


class Uname(NamedTuple):
    """What a kernel says that it is."""

    release: str
    version: str = "#1 SMP PREEMPT_DYNAMIC"


class Kernels:
    """What is installed on a box, and what runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.boot = folder / "boot"
        self.boot.mkdir()
        self.status = folder / "status"
        self.status.write_text(recorded("box/dpkg-status"))

    def install(self, *names: str) -> None:
        for name in names:
            (self.boot / f"vmlinuz-{name}").touch()
            (self.boot / f"initrd.img-{name}").touch()

    def why(self, running: str, version: str = "#1 SMP") -> Any:
        """Why a reboot is pending, while this kernel runs."""
        self.monkeypatch.setattr(os, "uname", lambda: Uname(running, version))
        paths = (self.folder / name for name in ("reboot-required", "container", "boot"))
        return reboot.reasons(dpkg.Packages(self.status), *map(str, paths))


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    return Kernels(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("running", "installed", "newest"),
    [
        ("6.12.48+deb13-amd64", ["6.12.57+deb13-amd64", "6.12.48+deb13-amd64"], 0),
        ("6.1.0-9-amd64", ["6.1.0-9-amd64", "6.1.0-10-amd64"], 1),
        ("6.8.0-99-generic", ["6.8.0-100-generic", "6.14.0-33-generic", "6.8.0-99-generic"], 1),
        ("6.12~rc6-amd64", ["6.12.6-amd64"], 0),
        ("6.1.0-0.deb11.21-cloud-amd64", ["6.1.0-39-amd64", "6.1.0-0.deb11.22-cloud-amd64"], 1),
    ],
)
def test_a_newer_kernel_of_its_flavour_waits(
    kernels: Kernels, running: str, installed: list[str], newest: int
) -> None:
    kernels.install(*installed)
    assert kernels.why(running) == [f"kernel {installed[newest]} is installed, {running} runs"]


@pytest.mark.parametrize(
    ("running", "installed"),
    [
        ("6.12.48+deb13-amd64", ["6.12.48+deb13-amd64", "6.12.43+deb13-amd64"]),
        ("6.12.48+deb13-amd64", ["6.12.57+deb13-cloud-amd64", "6.12.57+deb13-rt-amd64"]),
        ("6.1.0-10-amd64", ["6.1.0-9-amd64", "6.1.0-11-amd64.dpkg-bak"]),
        ("6.12.48+deb13-amd64", []),
        ("6.12.48", ["6.12.57+deb13-amd64"]),
        ("garbage", ["6.12.57+deb13-amd64", "", "old"]),
    ],
)
def test_the_newest_kernel_runs(kernels: Kernels, running: str, installed: list[str]) -> None:
    kernels.install(*installed)
    assert kernels.why(running) == []


def test_a_newer_build_of_the_same_kernel_waits(kernels: Kernels) -> None:
    name, built = "6.1.0-39-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.148-1 (2025-08-26)"
    stanza = f"Package: linux-image-{name}\nStatus: install ok installed\nArchitecture: amd64\n"
    text = kernels.status.read_text()
    kernels.status.write_text(f"{text}{stanza}Version: 6.1.148-1\n\n")
    assert kernels.why(name, built) == []
    kernels.status.write_text(f"{text}{stanza}Version: 6.1.153-1\n\n")
    assert kernels.why(name, built) == [
        f"linux-image-{name} 6.1.153-1 is installed, 6.1.148-1 runs"
    ]


def test_a_container_runs_its_hosts_kernel(kernels: Kernels, tmp_path: Path) -> None:
    kernels.install("6.1.0-10-amd64")
    assert kernels.why("6.1.0-9-amd64")
    (tmp_path / "container").write_text("systemd-nspawn")
    assert kernels.why("6.1.0-9-amd64") == []


def test_packages_ask_for_a_reboot(kernels: Kernels, tmp_path: Path) -> None:
    (tmp_path / "reboot-required").write_text("*** System restart required ***\n")
    assert kernels.why("6.8.0-99-generic") == ["a package asked for it"]
    (tmp_path / "reboot-required.pkgs").write_text("libc6\nlinux-base\nlibc6\n")
    assert kernels.why("6.8.0-99-generic") == ["libc6, linux-base asked for it"]


def test_a_pending_reboot_is_one_problem() -> None:
    assert [*system_state.reboot_problems([])] == []
    [problem] = system_state.reboot_problems(["a asked for it", "kernel 2 is installed, 1 runs"])
    assert problem["problem"] == (
        "A reboot is pending: a asked for it; kernel 2 is installed, 1 runs."
    )


NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(running=NAME, names=st.lists(NAME.filter(lambda name: len(name.encode()) < 99)))
def test_kernels_of_any_name_can_be_compared(
    running: str, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    boot = tmp_path_factory.mktemp("boot")
    for name in names:
        (boot / f"vmlinuz-{name}").touch()
    reboot.newer_kernel(running, str(boot))
