"""What is in the way of a reload of NVIDIA's driver."""

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


class Held(TypedDict):
    """The processes that hold the driver, and what of the kernel does, a noun each."""

    processes: list[Holder]
    kernel: list[str]


class DeviceHolders(FactBase[Held]):
    """Who has one of NVIDIA's devices open, in which unit; and what of the kernel is in the way.

    ```
    {
        "processes": [{"pid": 4937, "name": "python", "user": "ada",
                       "server": "jupyter-ada-singleuser.service",
                       "unit": "jupyter-ada-singleuser.service"}],
        "kernel": ["the module gdrdrv", "the console, which is on NVIDIA's frame buffer"],
    }
    ```

    The driver cannot be reloaded under any of them. Needs root.
    """

    def command(self) -> StringCommand:
        return question("device_holders")

    @staticmethod
    def default() -> Held:
        return {"processes": [], "kernel": []}

    def process(self, output: list[str]) -> Held:
        return answer(output, Held)
