"""A box as a whole: what a person asks first of it."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.problem import Problem
from jupyterbox.program import answer, question


class OperatingSystem(TypedDict):
    """As /etc/os-release has it."""

    id: str
    version: str
    name: str


class Memory(TypedDict):
    """What there is, and what programs can still have."""

    total_mb: int
    available_mb: int
    swap_mb: int
    swap_free_mb: int


class Disk(TypedDict):
    """A file system; `None` for what it does not say, `inodes` also where there is no limit."""

    mount: str
    device: str
    type: str
    read_only: bool
    size_mb: int | None
    free_mb: int | None
    inodes: int | None
    inodes_free: int | None


class Gpu(TypedDict):
    """A graphics processor; only NVIDIA's driver says which model, and only while it is loaded."""

    address: str
    vendor: str
    model: str | None
    id: str
    driver: str | None
    driver_version: str | None


class FailedUnit(TypedDict):
    """A systemd unit that has failed; `result` is systemd's word for how."""

    unit: str
    since: str | None
    result: str


class SecurityUpdate(TypedDict):
    """A package of which an archive of security updates has a newer version."""

    package: str
    installed: str
    available: str
    archive: str
    held: bool


class Updates(TypedDict):
    """The security updates that wait: `None` where nobody can tell, as of `asked_at`.

    `unattended_at` is when unattended-upgrades last did its work; `None` where it is not set to.
    """

    security: list[SecurityUpdate] | None
    archives: list[str]
    asked_at: str | None
    unattended_at: str | None


class SystemAnswer(TypedDict):
    """A box; `skipped` says why something is `None`, by its name or its mount."""

    os: OperatingSystem
    hostname: str
    kernel: str
    architecture: str
    virtualization: str | None
    booted_at: str | None
    uptime_seconds: int
    cores: int
    load: list[float]
    memory: Memory
    disks: list[Disk]
    gpus: list[Gpu]
    reboot_pending: list[str]
    failed_units: list[FailedUnit] | None
    updates: Updates
    clock_synchronized: bool | None
    skipped: dict[str, str]
    problems: list[Problem]


class System(FactBase[SystemAnswer]):
    """What a person asks first of a box.

    ```
    {
        "os": {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"},
        "hostname": "lab", "kernel": "6.12.57+deb13-amd64", "architecture": "x86_64",
        "virtualization": "none",
        "booted_at": "2026-11-02T06:12:40+00:00", "uptime_seconds": 1843211,
        "cores": 64, "load": [3.12, 2.87, 2.51],
        "memory": {"total_mb": 515720, "available_mb": 402113, "swap_mb": 0, "swap_free_mb": 0},
        "disks": [
            {"mount": "/", "device": "/dev/nvme0n1p2", "type": "ext4", "read_only": False,
             "size_mb": 938214, "free_mb": 610332, "inodes": 62513152, "inodes_free": 60113401},
        ],
        "gpus": [
            {"address": "0000:62:00.0", "vendor": "NVIDIA", "model": "NVIDIA H100 80GB HBM3",
             "id": "10de:2330", "driver": "nvidia", "driver_version": "580.95.05"},
        ],
        "reboot_pending": ["libc6 asked for it"],
        "failed_units": [
            {"unit": "backup.service", "since": "2026-11-23T03:00:04+00:00", "result": "timeout"},
        ],
        "updates": {
            "security": [
                {"package": "openssl", "installed": "3.5.4-1~deb13u1",
                 "available": "3.5.4-1~deb13u2", "archive": "trixie-security", "held": False},
            ],
            "archives": ["trixie-security"],
            "asked_at": "2026-11-23T06:31:02+00:00",
            "unattended_at": None,
        },
        "clock_synchronized": True,
        "skipped": {"/data": "/data did not answer within 2 s"},
        "problems": [...],
    }
    ```

    Each file system is told once: those of disks and of servers, not the kernel's own, images or
    what is in memory. The versions of updates are told from the package lists that apt has, which
    are as of `asked_at`; one that is held is no problem. A clock that nobody sets by
    systemd-timesyncd is `None`, as it is in a container.
    """

    def command(self) -> StringCommand:
        return question("system_state")

    @staticmethod
    def default() -> SystemAnswer:
        return {
            "os": {"id": "", "version": "", "name": ""},
            "hostname": "",
            "kernel": "",
            "architecture": "",
            "virtualization": None,
            "booted_at": None,
            "uptime_seconds": 0,
            "cores": 0,
            "load": [],
            "memory": {"total_mb": 0, "available_mb": 0, "swap_mb": 0, "swap_free_mb": 0},
            "disks": [],
            "gpus": [],
            "reboot_pending": [],
            "failed_units": None,
            "updates": {
                "security": None,
                "archives": [],
                "asked_at": None,
                "unattended_at": None,
            },
            "clock_synchronized": None,
            "skipped": {},
            "problems": [],
        }

    def process(self, output: list[str]) -> SystemAnswer:
        return answer(output, SystemAnswer)
