"""Kernelspecs: those published to every user, and those that environments bring."""

from __future__ import annotations

from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox import layout
from jupyterbox.program import answer, question

Kernelspec = dict[str, Any]
"""A kernel.json: argv, display_name, language, env, metadata, ..."""


class Offer(TypedDict):
    """An environment's real prefix and the kernelspecs in its share/jupyter/kernels."""

    prefix: str
    specs: dict[str, Kernelspec]


class KernelspecState(TypedDict):
    """The published kernelspecs by name (`None` where a kernel.json is none), and the offers."""

    published: dict[str, Kernelspec | None]
    offered: dict[str, Offer]


class PublishedKernelspecs(FactBase[KernelspecState]):
    """Published kernelspecs, and what the current releases of some environments bring.

    ```
    {
        "published": {"python3": {"argv": ["/opt/conda/releases/…/bin/python", …], …}},
        "offered": {"python3": {"prefix": "/opt/conda/releases/…", "specs": {"python3": {…}}}},
    }
    ```

    Args:
        conda_root: where conda lives.
        environments: whose kernelspecs to read.
    """

    def command(
        self, conda_root: str = "/opt/conda", environments: list[str] | None = None
    ) -> StringCommand:
        return question(
            "kernelspec_state",
            kernels=layout.KERNELS,
            conda_root=conda_root,
            environments=environments or [],
        )

    @staticmethod
    def default() -> KernelspecState:
        return {"published": {}, "offered": {}}

    def process(self, output: list[str]) -> KernelspecState:
        return answer(output, KernelspecState)
