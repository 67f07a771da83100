"""The other flavour of the version that runs: what a deploy and a reload make of it.

These states are synthetic: made up of the names and versions of Ubuntu's packages, recorded of no
box.
"""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from facts.gpu import NvidiaDriver
from jupyterbox.settings import Gpu
from operations import gpu, gpu_reload
from tests.unit.engine import fact, plan, run
from tests.unit.gpu_says import KERNELS, RTX_5090, driver, holders, setup, works
from tests.unit.test_gpu_operations import problems
from tests.unit.test_gpu_reload import ADA

VERSION = "580.178.04"
PROPRIETARY = [
    f"ii linux-modules-nvidia-580-server-generic {KERNELS['noble']}",
    f"ii linux-modules-nvidia-580-server-{KERNELS['noble']} {KERNELS['noble']}",
    f"ii nvidia-headless-no-dkms-580-server {VERSION}-0ubuntu0.24.04.1",
    f"ii nvidia-utils-580-server {VERSION}-0ubuntu0.24.04.1",
]
SWAPPED = works(packages=PROPRIETARY, module="license: NVIDIA")
"""The open module runs, and the proprietary one has been installed in its place."""


@pytest.mark.parametrize(
    ("flavour", "installs"), [("proprietary", False), (None, False), ("open", True)]
)
def test_what_is_declared_is_compared_with_what_is_on_disk(
    flavour: str | None, installs: bool
) -> None:
    assert fact(NvidiaDriver, SWAPPED)["kind"] == "other_flavour"
    done = run(gpu.driver, flavour=flavour, says={**SWAPPED, **setup()})
    assert bool(done) is installs


def test_a_box_that_works_is_deployed_to_whoever_computes() -> None:
    for declared in (Gpu(flavour="proprietary"), Gpu(), None):
        assert problems(declared, SWAPPED, setup(), holders(ADA)) == []
    assert run(gpu_reload.reload, later=True, says={**SWAPPED, **holders(ADA)}) == []


def test_a_reload_brings_it_where_nobody_computes() -> None:
    assert plan(gpu_reload.reload, later=True, says={**SWAPPED, **holders()})
    assert plan(gpu_reload.reload, says={**SWAPPED, **holders()})
    with pytest.raises(OperationError, match="process 4937"):
        plan(gpu_reload.reload, says={**SWAPPED, **holders(ADA)})


def test_a_driver_that_only_the_flavour_on_disk_mends_is_reloaded() -> None:
    says: dict[Any, Any] = driver(
        gpus=[(RTX_5090, "")],
        loaded=VERSION,
        modules={KERNELS["noble"]: VERSION},
        libraries=VERSION,
        flavour="proprietary",
        module="license: Dual MIT/GPL",
        packages=[row.replace("580-server", "580-server-open") for row in PROPRIETARY],
    )
    assert fact(NvidiaDriver, says)["kind"] == "reload_cures"
    assert problems(Gpu(), says, setup(), holders()) == []
    assert plan(gpu_reload.reload, later=True, says={**says, **holders()})
