"""What NVIDIA's repository has, before apt knows it."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase

from jupyterbox.program import answer, question


class CudaVersions(FactBase[list[str]]):
    """The versions of the driver in NVIDIA's repository; `[]` where that cannot be told.

    ```
    ["580.95.05-1", "590.44.01-1"]
    ```

    Args:
        url: the repository's, for this system.
        ca: PEM text of authorities that the box will trust after this deploy.
    """

    def command(self, url: str, ca: str = "") -> StringCommand:
        return question("cuda_versions", url=url, ca=ca)

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return answer(output, list[str])
