"""What a deploy wants to know of a box before it changes anything there."""

from __future__ import annotations

import re

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.turn import TurnState, turn_command, turn_of
from jupyterbox.layout import WORKSPACE
from jupyterbox.program import answer, question


class Listener(TypedDict):
    """A listening TCP socket; its processes are unknown without root, or in another container."""

    address: str
    port: int
    process: str | None
    pids: list[int]


class Filesystem(TypedDict):
    """Where a path lies, and what is free there, in MB."""

    mount: str
    free_mb: int


class System(TypedDict):
    """A box as it is found; empty strings where it does not say."""

    os: str
    version: str
    codename: str
    name: str
    architecture: str
    init: str
    filesystems: dict[str, Filesystem]
    listeners: list[Listener]
    ours: list[int]
    turn: TurnState


def split_sections(output: list[str]) -> dict[str, list[str]]:
    """Split lines at `@@name` lines into sections by name."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output:
        if line.startswith("@@"):
            current = sections.setdefault(line[2:].strip(), [])
        elif line.strip():
            current.append(line)
    return sections


def parse_os_release(lines: list[str]) -> dict[str, str]:
    """Read os-release(5): values may stand in quotes."""
    return {key: value.strip("\"'") for key, value in parse_pairs(lines).items()}


def parse_pairs(lines: list[str]) -> dict[str, str]:
    """Read `NAME=VALUE` lines."""
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def parse_listeners(lines: list[str]) -> list[Listener]:
    """Read `ss -Hltnp`: state, queues, local address, peer, and the processes if known."""
    listeners: list[Listener] = []
    for line in lines:
        fields = line.split()
        if len(fields) < 5 or not fields[3].rpartition(":")[2].isdigit():
            continue
        address, _, port = fields[3].rpartition(":")
        processes = re.findall(r'\("([^"]*)",pid=(\d+)', line)
        listeners.append(
            {
                "address": address.strip("[]"),
                "port": int(port),
                "process": processes[0][0] if processes else None,
                "pids": [int(pid) for _, pid in processes],
            }
        )
    return listeners


def parse_filesystems(lines: list[str]) -> dict[str, Filesystem]:
    """Read `PATH KILOBYTES MOUNT` lines, by path."""
    filesystems: dict[str, Filesystem] = {}
    for line in lines:
        path, _, rest = line.partition(" ")
        kilobytes, _, mount = rest.partition(" ")
        if kilobytes.isdigit():
            filesystems[path] = {"mount": mount, "free_mb": int(kilobytes) // 1024}
    return filesystems


def parse_system(output: list[str]) -> System:
    """Read what `Preflight` asks.

    Raises:
        FactProcessError: when it is not an answer of that command.
    """
    sections = split_sections(output)
    if "os" not in sections or "listeners" not in sections:
        raise FactProcessError(f"not an answer: {output[:1]!r}")
    release = parse_os_release(sections["os"])
    first = {name: lines[0].strip() for name, lines in sections.items() if lines}
    return {
        "os": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "name": release.get("PRETTY_NAME", ""),
        "architecture": first.get("architecture", ""),
        "init": first.get("init", ""),
        "filesystems": parse_filesystems(sections.get("free", [])),
        "listeners": parse_listeners(sections.get("listeners", [])),
        "ours": [int(pid) for pid in sections.get("ours", []) if pid.isdigit() and pid != "0"],
        "turn": turn_of(sections.get("turn", [])),
    }


PREFLIGHT = r"""
PATH=$PATH:/usr/sbin:/sbin
echo @@os; cat /etc/os-release 2>/dev/null
echo @@architecture; dpkg --print-architecture 2>/dev/null || uname -m
echo @@init; cat /proc/1/comm
echo @@free; for path in {paths}; do
  there=$path; while [ ! -e "$there" ]; do there=${{there%/*}}; [ "$there" ] || there=/; done
  echo "$path $(df -Pk "$there" | awk 'NR == 2 {{ print $4, $6 }}')"; done
echo @@listeners; ss -Hltnp 2>/dev/null
echo @@ours; grep -lE '/({units})$' /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3
echo @@turn
"""


class Preflight(FactBase[System]):
    """The box as a deploy finds it: system, architecture, init, space, ports, whose turn it is.

    ```
    {"os": "debian", "version": "13", "codename": "trixie", "architecture": "amd64",
     "init": "systemd", "filesystems": {"/opt": {"mount": "/", "free_mb": 18221}},
     "listeners": [{"address": "0.0.0.0", "port": 8000, "process": "node", "pids": [812]}],
     "ours": [812], ...}
    ```

    Args:
        paths: where free space is asked for; one that is not there yet counts for its parent.
        units: whose processes are `ours`.
        by: who takes the turn if it is free, as for `Turn`, which this asks by the way.
        seen: what was `held` when the run was planned, if it was.
        process: the run's own, where it is on the box.
    """

    def command(
        self,
        paths: list[str] | None = None,
        units: list[str] | None = None,
        by: str | None = None,
        seen: str | None = None,
        process: int | None = None,
    ) -> str:
        asked = PREFLIGHT.format(
            paths=" ".join(paths or ["/opt"]),
            units="|".join(map(re.escape, units or ["no unit"])),
        )
        return asked + turn_command(by, seen, process)

    @staticmethod
    def default() -> System:
        return {
            "os": "",
            "version": "",
            "codename": "",
            "name": "",
            "architecture": "",
            "init": "",
            "filesystems": {},
            "listeners": [],
            "ours": [],
            "turn": turn_of([]),
        }

    def process(self, output: list[str]) -> System:
        return parse_system(output)


class AccessState(TypedDict):
    """Who logs in, what sudo says without a password, and the mode and owner of the workspace."""

    uid: str
    user: str
    sudo: str
    workspace: str


class Access(FactBase[AccessState]):
    """How the account that logs in becomes root, asked without becoming root.

    ```
    {"uid": "1000", "user": "ops", "sudo": "yes", "workspace": "700 ops"}
    ```

    `sudo` is `yes`, or what it says when it is not to ask for a password.

    Args:
        workspace: a directory below the home; its mode and owner come back, or nothing.
    """

    def command(self, workspace: str = WORKSPACE) -> str:
        return (
            "echo uid=$(id -u); echo user=$(id -un); "
            f"echo workspace=$(stat -c '%a %U' ~/{workspace} 2>/dev/null); "
            "command -v sudo >/dev/null || echo 'sudo=the box has no sudo'; "
            "command -v sudo >/dev/null && if said=$(sudo -n true 2>&1); then echo sudo=yes; "
            "else echo sudo=$said; fi; :"
        )

    @staticmethod
    def default() -> AccessState:
        return {"uid": "", "user": "", "sudo": "", "workspace": ""}

    def process(self, output: list[str]) -> AccessState:
        said = parse_pairs(output)
        if not said.get("uid", "").isdigit():
            raise FactProcessError(f"not an answer: {output[:1]!r}")
        return {
            "uid": said["uid"],
            "user": said.get("user", ""),
            "sudo": said.get("sudo", ""),
            "workspace": said.get("workspace", ""),
        }


class BecomesRoot(FactBase[bool]):
    """Whether a command that asks to run as root does."""

    def command(self) -> str:
        return "id -u"

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output[-1:] == ["0"]


class UrlProblems(FactBase[dict[str, str]]):
    """Which of some URLs do not answer from the box, and why; `{}` when all do.

    ```
    {"https://conda.example.org/": "404"}
    ```

    Any answer of the server's counts, but 404 and 5xx. A box without Python cannot be asked:
    it answers `{}`, and the step that fetches will say so.

    Args:
        urls: what is asked for, 10 s each, all at once.
        ca: PEM text of authorities that the box will trust after this deploy.
    """

    def command(self, urls: list[str], ca: str = "") -> StringCommand:
        return question("check_urls", urls=urls, ca=ca)

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def process(self, output: list[str]) -> dict[str, str]:
        return answer(output, dict[str, str])


class RejectsSha1Keys(FactBase[bool]):
    """Whether the box's apt rejects a repository key whose self-signature is SHA1.

    apt 2.9.19 and later verify with sqv where it is installed; its default policy has rejected
    SHA1 since 2026-02-01 (seen on Debian 13: apt 3.0.4 with sqv 1.3.0).
    """

    def command(self) -> str:
        return "if command -v sqv >/dev/null 2>&1; then echo yes; else echo no; fi"

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output[-1:] == ["yes"]
