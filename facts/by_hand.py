"""What was made by hand, as the article has it, where a deploy makes its own."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import answer, question


class Sets(TypedDict):
    """An option that a configuration sets; `value` is of those alone that decide something."""

    option: str
    line: int
    value: str | None


class HubByHand(TypedDict):
    """A hub that was made by hand; `None` for what of it is not there.

    `taken_over` says that ours is in its place already, and only what it has left lies about;
    `venv` that it is in /opt/jupyterhub; `elsewhere` is the program that its unit starts instead,
    and `overridden` the drop-in that says what it starts. `misses` is the path of a database that
    is not there, `other_database` where it is said that it uses no sqlite file. `users` are those
    that it knows, `servers` the accounts whose processes end with its unit.
    """

    taken_over: bool
    venv: bool
    unit: str | None
    overridden: str | None
    config: str | None
    database: str | None
    cookie_secret: str | None
    proxy_pid: str | None
    users: list[str]
    servers: list[str]
    sets: list[Sets]
    elsewhere: str | None
    misses: str | None
    other_database: str | None


class EnvironmentByHand(TypedDict):
    """What a plain environment lacks of what is declared, and the processes that run from it."""

    lacks: list[str]
    used_by: list[str]


class PlainEnvironment(FactBase[EnvironmentByHand]):
    """Whether an environment that was made by hand holds what is declared; nothing is solved.

    ```
    {"lacks": ["numpy>=2"], "used_by": ["python (process 4711, ada)"]}
    ```

    Args:
        prefix: the environment's.
        conda: specs for conda.
        pip: specs for the Python index.
        stems: the packages of a lock, `NAME-VERSION-BUILD` each: these and no others.
    """

    def command(
        self, prefix: str, conda: list[str], pip: list[str], stems: list[str]
    ) -> StringCommand:
        return question("holding", prefix=prefix, conda=conda, pip=pip, stems=stems)

    @staticmethod
    def default() -> EnvironmentByHand:
        return {"lacks": [], "used_by": []}

    def process(self, output: list[str]) -> EnvironmentByHand:
        return answer(output, EnvironmentByHand)


class ByHandState(TypedDict):
    """A hub made by hand, and whether /opt/jupyterhub/bin leads to the current release."""

    hub: HubByHand | None
    commands: bool


class ByHand(FactBase[ByHandState]):
    """A hub that was made by hand in the article's places: what a deploy takes over. Needs root.

    ```
    {
        "hub": {
            "taken_over": False, "venv": True,
            "unit": "/etc/systemd/system/jupyterhub.service", "overridden": None,
            "config": "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py",
            "database": "/jupyterhub.sqlite", "cookie_secret": "/jupyterhub_cookie_secret",
            "proxy_pid": "/jupyterhub-proxy.pid", "users": ["ada", "bob"], "servers": ["ada"],
            "sets": [{"option": "Spawner.default_url", "line": 1234, "value": "/lab"}],
            "elsewhere": None, "misses": None, "other_database": None,
        },
        "commands": False,
    }
    ```
    """

    def command(self) -> StringCommand:
        return question("by_hand", root=layout.ROOT, unit=layout.unit_file(layout.HUB_UNIT))

    @staticmethod
    def default() -> ByHandState:
        return {"hub": None, "commands": False}

    def process(self, output: list[str]) -> ByHandState:
        return answer(output, ByHandState)
