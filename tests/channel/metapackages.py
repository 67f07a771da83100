"""Packages that hold no files: what depends on what is all they say."""

from __future__ import annotations

from .condapkg import Package
from .recipe import ABI_TAG, PYTHON_MINOR, PYTHON_TAG, Machine


def metapackages(machine: Machine) -> list[Package]:
    """The channel's packages without files.

    Args:
        machine: for which kind of machine.

    Returns:
        python_abi, anaconda, and two packages that cannot be installed together.
    """
    return [
        Package(
            "python_abi",
            PYTHON_MINOR,
            f"0_{ABI_TAG}",
            "noarch",
            constrains=(f"python {PYTHON_MINOR}.* *_cpython",),
            license="BSD-3-Clause",
        ),
        Package(
            "anaconda",
            "2026.10",
            f"{PYTHON_TAG}_0",
            machine.conda,
            depends=(
                f"python {PYTHON_MINOR}.*",
                "ipykernel",
                "ipywidgets",
                "numpy",
                "pandas",
                "pip",
                "setuptools",
                "six",
                "wheel",
            ),
            license="BSD-3-Clause",
            arch=machine.arch,
        ),
        *(
            Package(name, "1.0", "0", "noarch", (spec,), license="BSD-3-Clause")
            for name, spec in (("needs-old-six", "six <1.17"), ("needs-new-six", "six >=1.17"))
        ),
    ]
