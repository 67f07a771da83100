"""What a hub is: its releases, its secrets, its units, whether it answers."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import answer, question


class HubRelease(TypedDict):
    """A complete release; `proxy` is the digest of its node and configurable-http-proxy."""

    proxy: str | None


class Unit(TypedDict):
    """A unit; `newer` names what it reads and has not read yet, `runs_from` its release."""

    exists: bool
    enabled: bool
    active: bool
    reload: bool
    runs_from: str | None
    newer: list[str]


class HubState(TypedDict):
    """Everything that the deploy decides on, in one answer.

    `python` is the system's, which a release is built on; `secrets` are the files that are there
    and closed to everybody but root; `files` has the sha256 of what the units read.
    """

    python: str | None
    current: str | None
    releases: dict[str, HubRelease]
    secrets: list[str]
    units: dict[str, Unit]
    files: dict[str, str | None]


class Hub(FactBase[HubState]):
    """The hub's releases, secrets and units.

    ```
    {
        "python": "3.13",
        "current": "3a94…",
        "releases": {"3a94…": {"proxy": "77c1…"}},
        "secrets": ["proxy.env", "cookie_secret"],
        "units": {"jupyterhub.service": {"exists": True, "enabled": True, "active": True,
                  "reload": False, "runs_from": None, "newer": []}, …},
        "files": {"/etc/systemd/system/jupyterhub.service": "e1c9…", …},
    }
    ```
    """

    def command(self) -> StringCommand:
        return question("hub_state", root=layout.ROOT, state_dir=layout.STATE, reads=layout.READS)

    @staticmethod
    def default() -> HubState:
        return {
            "python": None,
            "current": None,
            "releases": {},
            "secrets": [],
            "units": {},
            "files": {},
        }

    def process(self, output: list[str]) -> HubState:
        return answer(output, HubState)


class HubHealth(FactBase[bool]):
    """Whether the hub answers through the proxy.

    Args:
        url: its health page, as seen from the box.
    """

    def command(self, url: str) -> StringCommand:
        probe = question("wait_for_hub", url=url, units=[], timeout=0)
        return StringCommand(probe, ">/dev/null 2>&1 && echo yes || echo no")

    @staticmethod
    def default() -> bool:
        return False

    def process(self, output: list[str]) -> bool:
        return output[-1:] == ["yes"]
