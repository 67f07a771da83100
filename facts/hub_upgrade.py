"""What an upgrade of the hub would bring."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import answer, question


class HubSolution(TypedDict):
    """The hub's packages as they go together today; `release` has just these, if one does."""

    requirements: str
    release: str | None


class NewestHub(FactBase[HubSolution]):
    """What the hub's requirements come to today, solved by the uv of a release on the box.

    ```
    {"requirements": "alembic==1.18.4 \\\n    --hash=sha256:…", "release": None}
    ```

    Args:
        current: the release whose uv solves.
        declared: the release that the settings ask for: another answer to them is looked for.
        requirements: what is solved, as a requirements.in.
        python_index: where packages come from.
    """

    def command(
        self, current: str, declared: str, requirements: str, python_index: str
    ) -> StringCommand:
        return question(
            "solve_hub",
            releases=layout.RELEASES,
            current=current,
            declared=declared,
            requirements=requirements,
            python_index=python_index,
        )

    @staticmethod
    def default() -> HubSolution:
        return {"requirements": "", "release": None}

    def process(self, output: list[str]) -> HubSolution:
        return answer(output, HubSolution)
