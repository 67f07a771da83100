"""cuda_versions: which versions of the driver NVIDIA's repository has, by its index."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.unit.remote import module

# Names and versions as in NVIDIA's index for Ubuntu 24.04; shortened.
INDEX = """\
Package: libnvidia-compute-580
Architecture: amd64
Version: 580.95.05-0ubuntu1

Package: cuda-toolkit-13-0
Version: 13.0.2-1

Package: libnvidia-compute
Version: 590.44.01-1ubuntu1

Package: libnvidia-compute-580
Version: 580.82.07-0ubuntu1

Package: libnvidia-compute-dev
Version: 1.0
"""


def test_only_the_drivers_libraries_count(tmp_path: Path) -> None:
    (tmp_path / "Packages.gz").write_bytes(gzip.compress(INDEX.encode()))
    assert module("cuda_versions").ask(f"file://{tmp_path}", "") == [
        "580.82.07-0ubuntu1",
        "580.95.05-0ubuntu1",
        "590.44.01-1ubuntu1",
    ]


@pytest.mark.parametrize("content", [None, b"", b"no gzip", gzip.compress(INDEX.encode())[:50]])
def test_an_index_that_cannot_be_had_tells_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "Packages.gz").write_bytes(content)
    assert module("cuda_versions").ask(f"file://{tmp_path}", "") == []
