"""GPUs on a real box that has none: facts of every kind of state, and a driver's real packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box.conftest import Operator
from tests.box.nvidia import nvidia
from tests.box.test_d_facts import asked
from tests.unit.nvidia_box import NvidiaBox, said

NEXT = "6.8.0-151-generic"
OLD, NEW = "580.173.02", "580.178.04"
ADDRESS, RTX_3060 = "0000:07:00.0", "2504"


def device(driver: str | None = "nvidia") -> Callable[[NvidiaBox], None]:
    """A GPU with a driver, and nothing installed for it."""
    return lambda box: box.device(ADDRESS, RTX_3060, driver)


def healthy(box: NvidiaBox) -> None:
    """A driver that works."""
    box.device(ADDRESS, RTX_3060)
    box.load(NEW)
    box.libraries(NEW)
    box.module(NEW)


def grabbed(box: NvidiaBox) -> None:
    """A driver that is installed, and another one that was faster."""
    box.device(ADDRESS, RTX_3060, "nova_core")
    box.libraries(NEW)
    box.module(NEW)


def after_a_new_kernel(box: NvidiaBox) -> None:
    """Libraries, and modules for another kernel than the one that runs."""
    box.device(ADDRESS, RTX_3060, None)
    box.libraries(NEW)
    box.packages(said("dpkg-l/prebuilt-modules-580-open-hwe-24.04.txt").splitlines())


def upgraded(box: NvidiaBox) -> None:
    """Libraries and a module on disk that are newer than what runs."""
    healthy(box)
    box.load(OLD)


def upgraded_with_its_kernel(box: NvidiaBox) -> None:
    """The same, with the module for the kernel that boots next alone."""
    box.device(ADDRESS, RTX_3060)
    box.load(OLD)
    box.libraries(NEW)
    box.kernel(NEXT)
    box.module(NEW, NEXT)


def test_a_box_without_a_gpu_says_so(box: Operator) -> None:
    found = asked(box, "facts.gpu.NvidiaDriver", user="ops")
    assert (found["state"], found["evidence"]["devices"], found["problems"]) == (
        "no_hardware",
        [],
        [],
    )
    assert asked(box, "facts.gpu.Gpus")["gpus"] == []


@pytest.mark.parametrize(
    ("make", "state", "kind"),
    [
        (device("vfio-pci"), "passthrough", None),
        (device("nouveau"), "no_driver", "nouveau"),
        (grabbed, "foreign_driver", None),
        (after_a_new_kernel, "module_missing", "other_kernel"),
        (upgraded, "mismatch", "reload_cures"),
        (upgraded_with_its_kernel, "mismatch", "reboot_cures"),
        (healthy, "healthy", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_state_is_told_over_ssh(
    box: Operator,
    tmp_path: Path,
    make: Callable[[NvidiaBox], None],
    state: str,
    kind: str | None,
) -> None:
    with nvidia(box, tmp_path, make) as made:
        # An account that is not root is told the same.
        found = asked(box, "facts.gpu.NvidiaDriver", user="ops")
        assert (found["state"], found["kind"]) == (state, kind)
        assert found["cure"].endswith(".")
        assert made.started == []
    assert asked(box, "facts.gpu.NvidiaDriver")["state"] == "no_hardware"
