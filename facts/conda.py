"""What is in conda's root: read from its files, conda itself is not started."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox.program import answer, question


class EnvironmentReleases(TypedDict):
    """One environment: the release that its link names, and those that are complete.

    `plain` says that envs/NAME is a directory made by hand and not a link of ours.
    """

    current: str | None
    plain: bool
    complete: list[str]


class CondaState(TypedDict):
    """Whether conda is installed and root's alone, and the releases of every environment."""

    installed: bool
    owned: bool
    environments: dict[str, EnvironmentReleases]


class CondaReleases(FactBase[CondaState]):
    """Conda and the releases of its environments below a root.

    ```
    {
        "installed": True,
        "owned": True,
        "environments": {
            "python3": {"current": "5d0c…", "plain": False, "complete": ["5d0c…", "91ab…"]},
        },
    }
    ```

    Args:
        root: conda's, /opt/conda by default.
    """

    def command(self, root: str = "/opt/conda") -> StringCommand:
        return question("conda_state", root=root)

    @staticmethod
    def default() -> CondaState:
        return {"installed": False, "owned": True, "environments": {}}

    def process(self, output: list[str]) -> CondaState:
        return answer(output, CondaState)
