"""What a lock is made of: the packages that the current releases of environments were built of."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from jupyterbox.program import answer, question


class CondaFile(TypedDict):
    """The file that a package of conda's came in."""

    url: str | None
    md5: str | None
    sha256: str | None


class PipPackage(TypedDict):
    """A package from the Python index; `source` is its own URL, if it came from one.

    `hashes` are the sha256 of its file: of several, where nothing tells them apart.
    """

    name: str
    version: str
    source: str | None
    hashes: list[str]


class ReleaseRecord(TypedDict):
    """A release. `mirror` stood before the names of channels when it was built.

    It and `pip` are `None` for releases that were built before they were recorded.
    """

    release: str
    mirror: str | None
    conda: list[CondaFile]
    pip: list[PipPackage] | None


class ReleaseRecords(FactBase[dict[str, ReleaseRecord | None]]):
    """The current releases of environments, by name; `None` where there is no complete one.

    ```
    {
        "python3": {
            "release": "5d0c…", "mirror": "https://conda.anaconda.org",
            "conda": [{"url": "https://conda.anaconda.org/conda-forge/…", "md5": "…", …}],
            "pip": [{"name": "rich", "version": "15.0.0", "source": None, "hashes": ["33bd…"]}],
        },
    }
    ```

    Args:
        root: conda's, /opt/conda by default.
        environments: their names, with commas between them.
    """

    def command(self, root: str = "/opt/conda", environments: str = "") -> StringCommand:
        names = [name for name in environments.split(",") if name]
        return question("release_records", root=root, environments=names)

    @staticmethod
    def default() -> dict[str, ReleaseRecord | None]:
        return {}

    def process(self, output: list[str]) -> dict[str, ReleaseRecord | None]:
        return answer(output, dict[str, ReleaseRecord | None])
