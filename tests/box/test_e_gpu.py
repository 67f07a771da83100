"""GPUs on a real box that has none: facts of every kind of state, and a driver's real packages.

The states are synthetic: files made up of names and versions that there are, but of no box; rows of
packages are recorded ones. The packages, and all that is done with them, are Debian's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facts.driver_setup import FILES
from tests.box.conftest import Operator, Settings
from tests.box.nvidia import hardware, nvidia
from tests.box.test_d_facts import asked
from tests.unit.nvidia_box import NvidiaBox, said

pytestmark = pytest.mark.once

NEXT = "6.8.0-151-generic"
OLD, NEW = "580.173.02", "580.178.04"
ADDRESS, RTX_3060 = "0000:07:00.0", "2504"


def device(driver: str | None) -> Callable[[NvidiaBox], None]:
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


# --- a driver's packages ---


DEBIANS = "550.163.01"
PACKAGES = "dpkg-query -W -f '${Package} ${Version} ${Architecture}\\n' | sort"
# Real headers come with a compiler and a kernel, and then the module is built for minutes: this one
# stands for them. Everything of NVIDIA's is Debian's own.
HEADERS = """
set -e
cp -a /etc/apt /root/apt.before
mkdir -p /root/headers/DEBIAN
printf '%s\\n' 'Package: linux-headers-amd64' 'Version: 999' 'Architecture: amd64' \
    'Maintainer: nobody' 'Description: stands for headers' > /root/headers/DEBIAN/control
dpkg-deb --build /root/headers /root/headers.deb && dpkg -i /root/headers.deb
"""
NEWER = """
set -e
mkdir /srv/newer && cd /srv/newer
echo '{packages}' | while read -r name version architecture; do
    mkdir -p $name/DEBIAN
    printf '%s\\n' "Package: $name" 'Version: 999.1-1' "Architecture: $architecture" \
        'Maintainer: nobody' 'Description: a newer driver' > $name/DEBIAN/control
    dpkg-deb --build $name .
done
dpkg-scanpackages . > Packages
echo 'deb [trusted=yes] file:/srv/newer ./' > /etc/apt/sources.list.d/newer.list
apt-get -qq update
"""
CLEAN = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -y --allow-change-held-packages purge {packages}
rm -rf /etc/apt /srv/newer /root/headers* {files}
mv /root/apt.before /etc/apt
systemctl daemon-reload; systemctl reset-failed; apt-get -qq update
"""


def declaring_a_driver(box: Operator) -> Settings:
    """The demo's settings, and the driver that Debian 13 has."""
    return {**box.settings(), "gpu": {"branch": DEBIANS.partition(".")[0]}}


def test_a_box_that_has_no_gpu_to_drive_gets_no_driver(box: Operator, tmp_path: Path) -> None:
    settings = declaring_a_driver(box)
    assert box.changed(settings) == []
    with hardware(box, tmp_path, device("vfio-pci")):
        assert box.changed(settings) == []


@pytest.fixture(scope="module")
def installed(
    box: Operator, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """The box with a GPU, on which a deploy has installed the driver: the operations it took."""
    if pytestconfig.getoption("--release") != "trixie":
        pytest.skip("the packages of one release are 100 MB; those of others are unit-tested")
    before = box.sh(PACKAGES).splitlines()
    box.sh(HEADERS)
    try:
        # Without a module, nothing drives it.
        with hardware(box, tmp_path_factory.mktemp("nvidia"), device(None)):
            yield box.changed(declaring_a_driver(box))
    finally:
        new = [line.split()[0] for line in box.sh(PACKAGES).splitlines() if line not in before]
        box.sh(CLEAN.format(packages=" ".join(new), files=" ".join(FILES)))
        assert box.sh(PACKAGES).splitlines() == before


def of_the_driver(box: Operator) -> list[str]:
    """The packages of the driver's version, with that and their architecture."""
    return [line for line in box.sh(PACKAGES).splitlines() if f" {DEBIANS}-" in line]


def upgraded_by(box: Operator, command: str) -> set[str]:
    """The packages that apt would install anew or remove."""
    said = box.sh(f"apt-get --simulate {command}")
    return {*re.findall(r"^(?:Inst|Remv) (\S+)", said, re.MULTILINE)}


def test_debians_own_driver_is_installed_and_told_as_it_is(
    box: Operator, installed: list[str]
) -> None:
    assert "GPU | Install driver 550" in installed
    names = {line.split()[0] for line in of_the_driver(box)}
    assert names >= {"libcuda1", "libnvidia-ml1", "nvidia-smi"}
    found = asked(box, "facts.gpu.NvidiaDriver", user="ops")
    # The machine's kernel is its host's, for which there are no headers.
    assert (found["state"], found["evidence"]["userspace"]) == ("module_missing", DEBIANS)
    assert (found["evidence"]["loaded"], found["evidence"]["on_disk"]) == (None, None)
    flags = found["flags"]
    assert (flags["source"], flags["held"], flags["unguarded"]) == ("debian", True, False)


def test_a_later_deploy_refuses_what_it_cannot_mend(box: Operator, installed: list[str]) -> None:
    # For this kernel apt has no headers.
    for settings in (declaring_a_driver(box), box.settings()):
        run = box.pyinfra("-y", "deploy.py", settings=settings)
        assert run.returncode != 0
        assert "- the GPU's driver is broken (module_missing): " in run.stderr


def test_no_upgrade_splits_it(box: Operator, installed: list[str]) -> None:
    packages = of_the_driver(box)
    names = {line.split()[0] for line in packages}
    box.sh(NEWER.format(packages="\n".join(packages)))
    assert upgraded_by(box, "--ignore-hold dist-upgrade") >= names
    for command in ("upgrade", "dist-upgrade"):
        assert upgraded_by(box, command) & names == set()
    unattended = box.sh("apt-config dump Unattended-Upgrade::Package-Blacklist")
    patterns = re.findall(r'Blacklist:: "(.*)";', unattended)
    assert all(any(re.match(pattern, name) for pattern in patterns) for name in names)
    box.sh("rm /etc/apt/sources.list.d/newer.list && apt-get -qq update")


def test_verify_says_what_cuda_says_in_every_python_kernel(
    box: Operator, installed: list[str]
) -> None:
    run = box.pyinfra("-y", "tasks/verify.py")
    assert run.returncode != 0
    said = run.stdout + run.stderr
    for kernel in ("anaconda3", "python3"):
        assert re.search(rf"ok    kernel {kernel} ", said)
        [row] = re.findall(rf"FAIL  CUDA in {kernel} .*", said)
        # NVIDIA's own library, which finds no GPU behind these files.
        assert "cuInit returns 100: it sees no GPU" in row
        assert "the driver serves CUDA 12.4" in row
    assert re.search(rf"FAIL  GPU {ADDRESS} .*no driver drives it", said)
    assert said.count("FAIL") == 3
