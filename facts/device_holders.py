"""Who is in the way of a reload of NVIDIA's driver."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox.program import answer, question


class Holder(TypedDict):
    """A process that has a GPU open; `server` is the unit of the notebook that it belongs to."""

    pid: int
    name: str
    user: str | None
    server: str | None
    unit: str | None


class DeviceHolders(FactBase[list[Holder]]):
    """The processes that have one of /dev/nvidia* open, whose they are, and in which unit.

    The driver cannot be reloaded before they have ended. Needs root.
    """

    def command(self) -> StringCommand:
        return question("device_holders")

    @staticmethod
    def default() -> list[Holder]:
        return []

    def process(self, output: list[str]) -> list[Holder]:
        return answer(output, list[Holder])
