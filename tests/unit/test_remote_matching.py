"""Whether a version is what a spec asks for, without conda or pip."""

from __future__ import annotations

import pytest

from tests.unit.remote import module

matching = module("matching")

CONDA = {
    "python": ("3.11.2", "h1_cpython"),
    "numpy": ("2.1.0", "py311_0"),
    "r-base": ("4.4.1", "h9_0"),
}
PIP = {"torch": "2.4.0+cu121", "jax": "0.4.30"}


@pytest.mark.parametrize(
    "spec",
    [
        "python",
        "python=3.11",
        "python==3.11.2",
        "python 3.11.*",
        "python 3.11.2",
        "python>=3.9",
        "numpy>=2,<3",
        "numpy >= 2, < 3",
        "numpy<2|>=2.1",
        "numpy=2",
        "numpy=2.*",
        "numpy~=2.0",
        "numpy>2.1.0rc1",
        "numpy=2.1.0=py311_0",
        "numpy=2.1.0=py311*",
        "numpy=2.*=py311_0",
        "numpy 2.1.0 py311_0",
        "conda-forge::numpy",
        "r-base=4.4",
    ],
)
def test_what_conda_would_take(spec: str) -> None:
    assert matching.conda_meets(spec, CONDA)


@pytest.mark.parametrize(
    "spec",
    [
        "scipy",
        "python=3.1",
        "python==3.11",
        "python 3.11",
        "numpy >=2, <2.1",
        "numpy!=2.1.0",
        "numpy=2.1.0=py312*",
        # Not understood here.
        "numpy[version='>=2']",
        "numpy>=^2$",
    ],
)
def test_what_it_would_not_or_what_nobody_can_say(spec: str) -> None:
    assert not matching.conda_meets(spec, CONDA)


@pytest.mark.parametrize(
    "requirement",
    ["torch", "Torch>=2", "torch==2.4.0+cu121", "jax[cuda]>=0.4", "jax==0.4.*", "jax~=0.4.2"],
)
def test_what_pip_would_take(requirement: str) -> None:
    assert matching.pip_meets(requirement, PIP)


@pytest.mark.parametrize(
    "requirement",
    ["nope", "jax<0.4", "jax @ https://example.org/jax.whl", "jax>=0.4; python_version > '3'"],
)
def test_what_it_would_not(requirement: str) -> None:
    assert not matching.pip_meets(requirement, PIP)


def test_the_order_of_versions_is_condas() -> None:
    # The example in conda's documentation of VersionOrder.
    versions = ["0.4", "0.4.1.rc", "0.4.1", "0.5a1", "0.5b3", "0.5", "0.9.6", "0.960923", "1.0"]
    versions += ["1.1dev1", "1.1a1", "1.1", "1.1.post1", "1996.07.12", "1!0.4.1", "1!3.1.1.6"]
    for at, version in enumerate(versions):
        assert [matching.compare(version, other) for other in versions] == [
            (at > index) - (at < index) for index in range(len(versions))
        ], version
