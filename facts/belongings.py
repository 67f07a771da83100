"""What of this project is on a box, and who lives on it: what a removal decides on."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import answer, question


class Inhabitant(TypedDict):
    """A process that runs from something of ours; `server` is the unit of a user's server."""

    pid: int
    name: str
    user: str | None
    server: str | None


class BelongingsState(TypedDict):
    """What is there of ours, and the processes that live on it.

    `directories` go with all that is in them; `by_hand` are environments that somebody has made in
    a conda of ours, or in the place of one of ours; `mounts` are where something is mounted in the
    directories; `journal` is what operations/journal.py has noted, by kind.
    """

    files: list[str]
    directories: list[str]
    by_hand: list[str]
    mounts: list[str]
    journal: dict[str, list[str]]
    users: list[Inhabitant]


class Belongings(FactBase[BelongingsState]):
    """What of Jupyterbox is on the box. Needs root.

    ```
    {"files": ["/etc/pam.d/jupyterhub", …], "directories": ["/opt/conda", "/opt/jupyterhub", …],
     "by_hand": [], "mounts": [],
     "journal": {"conda": ["/opt/conda"], "package": ["curl", "git"]},
     "users": [{"pid": 4711, "name": "python3", "user": "ada",
                "server": "jupyter-ada-singleuser.service"}]}
    ```

    Args:
        root: conda's.
        env: ask for this environment alone: its link, and its releases.
        files: paths that are ours, whatever lies there.
    """

    def command(
        self, root: str = "/opt/conda", env: str | None = None, files: list[str] | None = None
    ) -> StringCommand:
        if env:
            return question("belongings", conda=root, name=env)
        return question(
            "belongings",
            files=files or [],
            directories=[layout.ROOT, layout.CACHE, layout.STATE],
            conda=root,
            profile=layout.PROFILE,
            journal=layout.JOURNAL,
            units=[layout.HUB_UNIT, layout.PROXY_UNIT],
        )

    @staticmethod
    def default() -> BelongingsState:
        return {
            "files": [],
            "directories": [],
            "by_hand": [],
            "mounts": [],
            "journal": {},
            "users": [],
        }

    def process(self, output: list[str]) -> BelongingsState:
        return answer(output, BelongingsState)
