"""The state of NVIDIA's driver: its probe runs unchanged on boxes of every kind.

What is on a box comes from recordings where there are any. A test named `synthetic` is of a state
that no recording shows: its files are made up after what people have reported of it.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError

from facts.driver_evidence import evidence_of
from facts.driver_setup import DriverSetup
from facts.gpu import NvidiaDriver
from jupyterbox.driver_states import RULES, Evidence, Kernel, PciFunction, verdict
from jupyterbox.nvidia import Flavour
from jupyterbox.settings import REPOSITORY
from tests.unit.nvidia_box import KERNEL, NvidiaBox, said

NEXT = "6.8.0-151-generic"
OLD, NEW = "580.173.02", "580.178.04"
GT_710, GTX_1070, RTX_3060, RTX_5090, GB10 = "128b", "1b81", "2504", "2b85", "2e12"
UNGUARDED = 'APT::Periodic::Unattended-Upgrade "1";\n'
DEBIAN_MODPROBE = "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"
PREBUILT = said("dpkg-l/prebuilt-modules-580-open-hwe-24.04.txt").splitlines()


@pytest.fixture
def box(tmp_path: Path) -> NvidiaBox:
    return NvidiaBox(tmp_path)


def driver(box: NvidiaBox) -> Any:
    """What the fact says; the probe starts nothing that may load a module or touch a GPU."""
    found = box.ask(NvidiaDriver)
    assert box.started == []
    return found


def state(found: Any) -> tuple[str, str | None]:
    """The state and its kind; one sentence tells what to do, and one, if need be, what is wrong."""
    for sentence in (found["cure"], *(p["problem"] for p in found["problems"])):
        assert sentence.endswith(".") and "None" not in sentence, sentence
    return found["state"], found["kind"]


def works(box: NvidiaBox, version: str = NEW, flavour: Flavour = "open") -> None:
    """Make it a box whose driver works."""
    box.device("0000:07:00.0", RTX_3060)
    box.load(version, flavour)
    box.module(version, flavour=flavour)
    box.libraries(version)


def problems(found: Any) -> str:
    """All that is wrong, as one text."""
    return " ".join(problem["problem"] for problem in found["problems"])


# --- states ---


def test_no_hardware(box: NvidiaBox) -> None:
    box.device("0000:07:00.1", "228e", driver="snd_hda_intel", kind="0403")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("no_hardware", None)
    assert found["evidence"]["userspace"] == NEW
    assert found["flags"]["next_boot_broken"] is None
    assert found["problems"] == []


def test_passthrough(box: NvidiaBox) -> None:
    box.lspci("vfio-pci__quadro-t500")
    box.device("0000:81:00.0", "22a3", driver="vfio-pci", kind="0680")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("passthrough", None)
    kinds = [device["kind"] for device in found["evidence"]["devices"]]
    assert kinds == ["gpu", "nvswitch"]
    assert found["flags"]["next_boot_broken"] is None
    assert found["problems"] == []


def test_bus_lost_synthetic(box: NvidiaBox) -> None:
    works(box)
    box.device("0000:b3:00.0", "26b5", lost=True)
    found = driver(box)
    assert state(found) == ("bus_lost", None)
    assert "GPU 0000:b3:00.0 fell off the bus." in problems(found)


def test_no_driver_under_nouveau(box: NvidiaBox) -> None:
    box.lspci("nouveau__geforce-9600m-gt")
    found = driver(box)
    assert state(found) == ("no_driver", "nouveau")


@pytest.mark.parametrize("name", ["nova_core", "NovaCore"])
def test_no_driver_under_nova_synthetic(box: NvidiaBox, name: str) -> None:
    box.device("0000:01:00.0", RTX_3060, driver=name)
    found = driver(box)
    assert state(found) == ("no_driver", "nova_core")


def test_no_driver_synthetic(box: NvidiaBox) -> None:
    box.device("0000:01:00.0", RTX_3060, driver=None)
    found = driver(box)
    assert state(found) == ("no_driver", None)


def test_a_module_without_libraries_is_no_driver_synthetic(box: NvidiaBox) -> None:
    box.device("0000:01:00.0", RTX_3060)
    box.load(NEW)
    found = driver(box)
    assert state(found) == ("no_driver", "no_libraries")


def test_foreign_driver(box: NvidiaBox) -> None:
    """What said `already bound to NovaCore` was this card, with the driver beside it."""
    assert "0000:01:00.0 is already bound to NovaCore" in said(
        "dmesg/bound-to-novacore__ubuntu26.04.txt"
    )
    box.device("0000:01:00.0", RTX_3060, driver="NovaCore")
    box.module(NEW)
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("foreign_driver", None)
    assert found["flags"]["reboot_required"] is True
    assert "Blacklist nova_core" in found["cure"]


def test_a_display_of_nouveau_beside_a_driver_that_works_synthetic(box: NvidiaBox) -> None:
    works(box)
    box.lspci("nouveau__geforce-9600m-gt")
    found = driver(box)
    assert state(found) == ("healthy", None)
    assert problems(found) == "GPU 0000:01:00.0 is driven by nouveau: CUDA cannot use it."
    [problem] = found["problems"]
    assert "no driver of today drives GPUs before Maxwell" in problem["cure"]
    box.device("0000:02:00.0", GTX_1070, driver="nouveau")
    found = driver(box)
    assert "blacklist nouveau" in found["problems"][1]["cure"]


def test_module_missing_after_a_new_kernel(box: NvidiaBox) -> None:
    recorded = said("multi/kernel-upgraded-without-modules__dgx-spark-580-open.txt")
    kernel = re.search(r"uname -r\n(\S+)", recorded)
    package = re.search(r"ii +(linux-modules-nvidia-\S+)", recorded)
    assert kernel and package
    box.kernel(kernel[1], running=True)
    box.packages([f"ii {package[1]} 6.17.0-1014.14"])
    box.device("000f:01:00.0", GB10, driver=None)
    box.libraries("580.95.05")
    found = driver(box)
    assert state(found) == ("module_missing", "other_kernel")
    assert "6.17.0-1018-nvidia" in found["cure"]


@pytest.mark.parametrize(
    ("packages", "headers", "kind"),
    [
        (["ii nvidia-kernel-dkms 550.163.01-2"], False, "no_headers"),
        (["ii nvidia-kernel-dkms 550.163.01-2"], True, "not_built"),
        (["ii libcuda1 550.163.01-2"], True, "not_installed"),
        (["ii nvidia-headless-no-dkms-580 580.95.05-0ubuntu1"], True, "not_installed"),
        (["rc nvidia-kernel-dkms 550.163.01-2"], True, "not_installed"),
    ],
)
def test_module_missing_synthetic(
    box: NvidiaBox, packages: list[str], headers: bool, kind: str
) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.libraries("550.163.01")
    box.packages(packages)
    if headers:
        box.headers()
    found = driver(box)
    assert state(found) == ("module_missing", kind)


def test_module_missing_but_for_the_next_kernel_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.libraries(NEW)
    box.kernel(NEXT)
    box.module(NEW, NEXT)
    found = driver(box)
    assert state(found) == ("module_missing", "reboot_cures")
    assert found["flags"]["reboot_required"] is True
    assert found["cure"] == f"Reboot, into kernel {NEXT}."
    box.module(OLD, NEXT)
    assert state(driver(box)) == ("module_missing", "not_installed")


def test_not_loaded_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.module(NEW)
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("not_loaded", None)


def test_not_loaded_and_split_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.module(OLD)
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("not_loaded", "split")
    assert f"Module {OLD} is not loaded, and the libraries are {NEW}" in problems(found)
    assert "modprobe" not in found["cure"]
    assert found["cure"].startswith(f"Install module {NEW} for kernel {KERNEL}")
    # Where the kernel that boots next has it, nothing need be installed.
    box.kernel(NEXT)
    box.module(NEW, NEXT)
    found = driver(box)
    assert state(found) == ("not_loaded", "reboot_cures")
    assert found["cure"] == f"Reboot, into kernel {NEXT}."


def test_a_module_that_is_not_loaded_has_no_libraries_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.module(NEW)
    found = driver(box)
    assert state(found) == ("no_driver", "no_libraries")
    assert found["cure"].startswith(f"Install the libraries of driver {NEW}")


SIGNED = said("modinfo/nvidia-dkms-signed__535.129.03.txt")
SIGNED_WITH = "61:e0:9a:71:83:7c:41:fb:a6:77:8b:3d:cf:c4:88:d1:93:87:1d:15"
LISTED = said("mokutil-list-enrolled/canonical-and-dkms__ubuntu22.04.txt")
ENROLLED = LISTED.replace(
    "33:9c:20:c4:6f:3f:f0:d4:72:ce:33:d1:db:b8:f4:66:2e:cc:f0:56", SIGNED_WITH
)
SIGNER = re.compile(r"(?m)^signer: .*$")


@pytest.mark.parametrize(
    ("module", "listed", "trusted"),
    [
        (SIGNED, LISTED, False),
        # Of no box were both the module and the list recorded: its key's number is put there.
        (SIGNED, ENROLLED, True),
        (SIGNED, "MokListRT is empty\n", False),
        (SIGNED, "", None),
        (SIGNER.sub("signer:         Canonical Ltd. Kernel Module Signing", SIGNED), LISTED, True),
        (SIGNED[: SIGNED.index("sig_id")], ENROLLED, False),
        (SIGNER.sub("signer:", SIGNED), LISTED, None),
    ],
)
def test_not_loaded_under_secure_boot(
    box: NvidiaBox, module: str, listed: str, trusted: bool | None
) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.write(f"fake/modinfo/{KERNEL}/nvidia", module)
    box.libraries("535.129.03")
    box.secure_boot(listed)
    found = driver(box)
    assert found["evidence"]["trusted"] is trusted
    assert state(found) == ("not_loaded", "secure_boot" if trusted is False else None)


def test_what_secure_boot_refuses_is_cured_at_the_console(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.write(f"fake/modinfo/{KERNEL}/nvidia", SIGNED)
    box.libraries("535.129.03")
    box.secure_boot(LISTED)
    found = driver(box)
    assert problems(found).endswith(
        "refuses what ubuntu-server Secure Boot Module Signature key has signed."
    )
    assert "`mokutil --import /var/lib/shim-signed/mok/MOK.der`" in found["cure"]


def test_without_secure_boot_nobody_asks_who_signed(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.module(NEW)
    box.libraries(NEW)
    box.says("mokutil", said("mokutil-sb-state/no-efi.txt"))
    found = driver(box)
    assert state(found) == ("not_loaded", None)
    assert found["evidence"]["trusted"] is None
    assert found["evidence"]["dkms_key"]["enrolled"] is None


def test_without_validation_in_shim_nothing_is_refused_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.write(f"fake/modinfo/{KERNEL}/nvidia", SIGNED)
    box.libraries("535.129.03")
    box.secure_boot(LISTED)
    # The second line as mokutil's source has it; nobody recorded both.
    enabled = said("mokutil-sb-state/enabled.txt")
    box.write("fake/says/mokutil-state", f"{enabled}SecureBoot validation is disabled in shim\n")
    found = driver(box)
    assert found["evidence"]["secure_boot"] is False
    assert state(found) == ("not_loaded", None)


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(
    ("system", "tested", "enrolled"),
    [
        ("debian", said("mokutil-test-key/enrolled.txt"), True),
        ("ubuntu", said("mokutil-test-key/not-enrolled.txt"), False),
        # As mokutil's source has them.
        ("ubuntu", "/mok/MOK.der is already in the enrollment request\n", False),
        ("debian", "/var/lib/dkms/mok.pub is already in db\n", None),
        ("debian", "", None),
    ],
)
def test_whether_the_key_of_dkms_is_enrolled(
    box: NvidiaBox, system: str, tested: str, code: int, enrolled: bool | None
) -> None:
    """mokutil's exit status for an enrolled one was 1, and is 0 since June 2025."""
    paths = {"debian": "var/lib/dkms/mok.pub", "ubuntu": "var/lib/shim-signed/mok/MOK.der"}
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.system(system)
    box.write(paths[system], "")
    box.secure_boot(LISTED, tested, code)
    key = driver(box)["evidence"]["dkms_key"]
    assert key == {"certificate": f"/{paths[system]}", "enrolled": enrolled}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("/root/site.der", "/root/site.der"),
        ('"/root/site.der"', "/root/site.der"),
        ('"/root/${kernelver}/mok.der"', f"/root/{KERNEL}/mok.der"),
    ],
)
def test_the_key_of_dkms_may_be_somewhere_else_synthetic(
    box: NvidiaBox, value: str, path: str
) -> None:
    box.write("etc/dkms/framework.conf", "# mok_certificate=/no\n")
    box.write("etc/dkms/framework.conf.d/site.conf", f"mok_certificate={value}\n")
    box.secure_boot(LISTED, said("mokutil-test-key/enrolled.txt"))
    key = driver(box)["evidence"]["dkms_key"]
    # None is made before DKMS has built its first module, and none of those is enrolled.
    assert key == {"certificate": path, "enrolled": False}
    box.write(path[1:], "")
    assert driver(box)["evidence"]["dkms_key"]["enrolled"] is True


def test_secure_boot_by_the_firmware_where_mokutil_is_missing_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.module(NEW)
    box.libraries(NEW)
    variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    box.write(variable, b"\6\0\0\0\1")
    found = driver(box)
    assert state(found) == ("not_loaded", "secure_boot")
    # Who may sign, nobody can tell there: modprobe does.
    box.module(NEW, signer="DKMS module signing key", key=SIGNED_WITH.upper())
    found = driver(box)
    assert (found["evidence"]["secure_boot"], found["evidence"]["trusted"]) == (True, None)
    assert state(found) == ("not_loaded", None)
    box.write(variable, b"\6\0\0\0\0")
    assert driver(box)["evidence"]["secure_boot"] is False


def test_not_loaded_for_want_of_the_other_flavour_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", GTX_1070, driver=None)
    box.module(NEW, flavour="open")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("not_loaded", "wrong_flavour")
    assert "takes the proprietary one" in problems(found)


def test_mismatch_that_neither_reload_nor_reboot_cures(box: NvidiaBox) -> None:
    """Of this box the module on disk was not recorded: a reboot brought the old one back."""
    name = "multi/mismatch-ubuntu24.04-gtx1070__module-550.78-userspace-535.154.05.txt"
    recorded = said(name)
    nvrm = re.search(r"^NVRM version.*\n", recorded, re.MULTILINE)
    assert nvrm
    box.device("0000:02:00.0", GTX_1070)
    box.load("550.78", nvrm=nvrm[0])
    box.module("550.78", flavour="proprietary")
    box.libraries("535.154.05")
    box.packages(line for line in recorded.splitlines() if line.startswith("ii"))
    found = driver(box)
    assert state(found) == ("mismatch", "neither_cures")
    assert found["flags"]["flavour"] == "proprietary"
    assert found["flags"]["next_boot_broken"] is True


def test_mismatch_that_a_reload_cures(box: NvidiaBox) -> None:
    """As unattended-upgrades left it: library 580.178.04, module 580.173.02 still loaded."""
    assert NEW.startswith(said("nvidia-smi-fail/mismatch-new-form__lib-580.178.txt").split()[-1])
    box.device("0000:07:00.0", RTX_3060)
    nvrm = said("proc-driver-nvidia-version/proprietary__580.173.02-ubuntu24.04.txt")
    box.load(OLD, nvrm=nvrm)
    box.module(NEW, flavour="proprietary")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("mismatch", "reload_cures")
    assert found["flags"]["reload_pending"] is True


@pytest.mark.parametrize("on_disk", [None, OLD])
def test_mismatch_that_a_reboot_cures_synthetic(box: NvidiaBox, on_disk: str | None) -> None:
    """As a full upgrade leaves it, which brings the next kernel and removes this one's modules."""
    box.device("0000:07:00.0", RTX_3060)
    box.load(OLD)
    box.libraries(NEW)
    box.kernel(NEXT)
    box.module(NEW, NEXT)
    if on_disk:
        box.module(on_disk)
    found = driver(box)
    assert state(found) == ("mismatch", "reboot_cures")
    assert found["flags"]["reboot_required"] is True
    assert NEXT in found["cure"]


def test_a_reload_cures_now_and_the_next_boot_breaks_it_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060)
    box.load(OLD)
    box.module(NEW)
    box.libraries(NEW)
    box.kernel(NEXT)
    found = driver(box)
    assert state(found) == ("mismatch", "reload_cures")
    assert f"kernel {NEXT} has no module" in problems(found)


def test_init_failed_for_want_of_the_open_flavour_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_5090)
    box.load(NEW, "proprietary")
    box.module(NEW, flavour="proprietary")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("init_failed", "wrong_flavour")


def test_init_failed_that_a_reload_cures_synthetic(box: NvidiaBox) -> None:
    """The right flavour was installed in place of the one that runs."""
    box.device("0000:07:00.0", RTX_5090, driver=None)
    box.load(NEW, "proprietary")
    box.module(NEW, flavour="open")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("init_failed", "reload_cures")
    assert problems(found).endswith("the open one, which drives GPU 0000:07:00.0, is on disk.")


@pytest.mark.parametrize(("runs", "on_disk"), [("open", "proprietary"), ("proprietary", "open")])
def test_the_other_flavour_of_the_same_version_waits_for_a_reload_synthetic(
    box: NvidiaBox, runs: Flavour, on_disk: Flavour
) -> None:
    works(box, flavour=runs)
    assert driver(box)["flags"]["reload_pending"] is False
    box.module(NEW, flavour=on_disk)
    found = driver(box)
    assert state(found) == ("healthy", "other_flavour")
    assert found["flags"]["reload_pending"] is True
    assert (found["flags"]["flavour"], found["evidence"]["flavour_on_disk"]) == (runs, on_disk)
    assert problems(found).startswith(f"The {runs} module {NEW} runs, and the {on_disk} one")
    assert found["cure"] == "Reload the module once nothing holds it, or reboot."


def test_the_other_flavour_on_disk_drives_nothing_here_synthetic(box: NvidiaBox) -> None:
    works(box)
    box.device("0000:b3:00.0", RTX_5090)
    box.module(NEW, flavour="proprietary")
    # One that it drives is enough.
    assert state(driver(box)) == ("healthy", "other_flavour")
    shutil.rmtree(box.box / "sys/bus/pci/devices/0000:07:00.0")
    found = driver(box)
    assert state(found) == ("healthy", None)
    assert found["flags"]["next_boot_broken"] is True
    [problem] = found["problems"]
    assert problem["problem"].startswith("The next boot breaks the driver: the proprietary module")
    assert problem["cure"] == "Install the open flavour again before the box reboots."


def test_init_failed_for_gpus_that_the_driver_has_not_taken_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", RTX_3060, driver=None)
    box.load(NEW)
    box.module(NEW)
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("init_failed", "not_bound")
    assert "does not drive GPU 0000:07:00.0" in problems(found)


@pytest.mark.parametrize(
    ("device", "bound", "problem", "cure"),
    [
        ("26b5", None, f"Module {NEW} is loaded and does not drive GPU 0000:b3:00.0.", "dmesg"),
        (GT_710, None, f"Module {NEW} is loaded and does not drive GPU 0000:b3:00.0.", "display"),
        (GTX_1070, None, "GPU 0000:b3:00.0 takes the proprietary module", "the proprietary flav"),
        (GTX_1070, "nvidia", "GPU 0000:b3:00.0 takes the proprietary module", "and reboot."),
    ],
)
def test_a_gpu_left_out_beside_one_that_works_is_a_problem_and_no_state_synthetic(
    box: NvidiaBox, device: str, bound: str | None, problem: str, cure: str
) -> None:
    works(box)
    box.device("0000:b3:00.0", device, driver=bound)
    found = driver(box)
    assert state(found) == ("healthy", None)
    [told] = found["problems"]
    assert told["problem"].startswith(problem) and cure in told["cure"]


def test_an_old_gpu_says_nothing_about_flavours_synthetic(box: NvidiaBox) -> None:
    box.device("0000:07:00.0", GTX_1070, driver=None)
    box.device("0000:b3:00.0", GT_710, driver=None)
    box.module(NEW, flavour="open")
    box.libraries(NEW)
    found = driver(box)
    assert state(found) == ("not_loaded", "wrong_flavour")
    assert problems(found).endswith("takes the proprietary one to drive GPU 0000:07:00.0.")


@pytest.mark.parametrize(
    ("nvrm", "version", "flavour"),
    [
        ("open__580.95.05-ubuntu22.04", "580.95.05", "open"),
        ("open__615.71.09", "615.71.09", "open"),
        ("proprietary__580.173.02-ubuntu24.04", OLD, "proprietary"),
    ],
)
def test_healthy(box: NvidiaBox, nvrm: str, version: str, flavour: Flavour) -> None:
    box.lspci("nvidia-in-use__rtx3080-plus-audio")
    box.lspci("nvidia-in-use__rtx3060")
    box.load(version, nvrm=said(f"proc-driver-nvidia-version/{nvrm}.txt"))
    box.module(version, flavour=flavour)
    box.libraries(version)
    found = driver(box)
    assert state(found) == ("healthy", None)
    assert [d["address"] for d in found["evidence"]["devices"]] == ["0000:07:00.0", "0000:3e:00.0"]
    assert found["flags"]["flavour"] == flavour
    assert found["problems"] == []


@pytest.mark.parametrize("name", ["open__580.95.05-ubuntu22.04", "open__615.71.09"])
def test_what_the_driver_says_of_itself_has_its_version(name: str) -> None:
    nvrm = said(f"proc-driver-nvidia-version/{name}.txt").splitlines()
    assert evidence_of({"nvrm": nvrm})["loaded"] == re.search("[0-9.]+[0-9]", name)[0]  # type: ignore[index]


def test_the_evidence_of_a_box(box: NvidiaBox) -> None:
    works(box)
    box.packages(["ii libnvidia-compute-580-server:amd64 580.178.04-0ubuntu0.24.04.1"])
    box.kernel("6.8.0-9-generic")
    found = driver(box)
    assert found["evidence"] == {
        "devices": [
            {
                "address": "0000:07:00.0",
                "id": "10de:2504",
                "kind": "gpu",
                "driver": "nvidia",
                "answers": True,
            }
        ],
        "loaded": NEW,
        "on_disk": NEW,
        "userspace": NEW,
        "flavour": "open",
        "flavour_on_disk": "open",
        "kernels": [
            {"release": "6.8.0-9-generic", "running": False, "next": False, "module": None},
            {"release": KERNEL, "running": True, "next": True, "module": NEW},
        ],
        "file": f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko",
        "signer": None,
        "secure_boot": None,
        "trusted": None,
        "dkms_key": {"certificate": "/var/lib/shim-signed/mok/MOK.der", "enrolled": None},
        "headers": False,
        "dkms": False,
        "packages": [
            {
                "name": "libnvidia-compute-580-server",
                "version": "580.178.04-0ubuntu0.24.04.1",
                "held": False,
            }
        ],
        "unfinished": [],
        "repositories": [],
    }


def test_a_module_as_modinfo_tells_of_it() -> None:
    lines = said("modinfo/nvidia-open-dkms__590.44.01-truncated.txt").splitlines()
    found = evidence_of({"module": lines})
    assert found["file"] == "/lib/modules/6.8.0-90-generic/updates/dkms/nvidia.ko"
    assert found["flavour"] == "open"


def test_debians_modules_have_names_of_their_own(box: NvidiaBox) -> None:
    """nvidia-kernel-support 550.163.01-2 has this line in /etc/nvidia/current."""
    works(box, "550.163.01")
    (box.box / f"fake/modinfo/{KERNEL}/nvidia").unlink()
    box.module("550.163.01", name="nvidia-current")
    found = driver(box)
    assert found["evidence"]["on_disk"] is None
    box.write("etc/modprobe.d/nvidia.conf", f"# of Debian's\n{DEBIAN_MODPROBE}")
    found = driver(box)
    assert found["evidence"]["on_disk"] == "550.163.01"
    assert found["flags"]["next_boot_broken"] is False


def test_a_container_has_no_kernel(box: NvidiaBox) -> None:
    works(box)
    (box.box / f"boot/vmlinuz-{KERNEL}").unlink()
    (box.box / f"fake/modinfo/{KERNEL}/nvidia").unlink()
    found = driver(box)
    assert state(found) == ("healthy", None)
    assert found["flags"]["next_boot_broken"] is None


def test_cudas_newer_library_on_top_of_the_drivers(box: NvidiaBox) -> None:
    works(box)
    lines = (box.box / "fake/says/ldconfig").read_text()
    box.write("usr/local/cuda/compat/libcuda.so.595.84", "")
    compat = "\tlibcuda.so.1 (libc6,x86-64) => /usr/local/cuda/compat/libcuda.so.595.84\n"
    box.says("ldconfig", compat + lines)
    found = driver(box)
    assert found["evidence"]["userspace"] == NEW


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("iU", "unpacked"),
        ("iF", "half-configured"),
        ("iW", "triggers-awaited"),
        ("iH", "half-installed"),
    ],
)
def test_packages_that_dpkg_has_left_half_way_synthetic(
    box: NvidiaBox, letters: str, state: str
) -> None:
    works(box)
    rows = [f"{letters} nvidia-kernel-dkms {NEW}-1", f"ii libcuda1 {NEW}-1"]
    box.packages([*rows, "iF unattended-upgrades 2.9.1", "rc nvidia-smi 1-1"])
    found = driver(box)
    assert found["evidence"]["unfinished"] == [
        {"name": "nvidia-kernel-dkms", "version": f"{NEW}-1", "state": state}
    ]
    assert [package["name"] for package in found["evidence"]["packages"]] == ["libcuda1"]
    [problem] = found["problems"]
    assert f"not finished with nvidia-kernel-dkms ({state})" in problem["problem"]
    assert problem["cure"].startswith("`dpkg --configure -a`")


def test_a_kernel_that_dpkg_has_left_half_way_synthetic(box: NvidiaBox) -> None:
    """As a module that does not build for it leaves it."""
    works(box)
    box.packages(["iF linux-image-6.8.0-151-generic 6.8.0-151.151"])
    assert "linux-image-6.8.0-151-generic (half-configured)" in problems(driver(box))
    shutil.rmtree(box.box / "sys/bus/pci/devices")
    assert driver(box)["problems"] == []


# --- flags ---


def test_the_next_boot_is_broken(box: NvidiaBox) -> None:
    works(box)
    found = driver(box)
    assert found["flags"]["next_boot_broken"] is False
    box.kernel(NEXT)
    found = driver(box)
    assert found["flags"]["next_boot_broken"] is True
    assert found["problems"] == [
        {
            "problem": f"The next boot breaks the driver: kernel {NEXT} has no module, and the "
            f"libraries are {NEW}.",
            "cure": f"Install module {NEW} for kernel {NEXT} before the box reboots.",
        }
    ]
    box.module(OLD, NEXT)
    found = driver(box)
    assert f"has module {OLD}" in problems(found)
    box.module(NEW, NEXT)
    found = driver(box)
    assert found["problems"] == []


@pytest.mark.parametrize(
    ("version", "system", "archive", "source"),
    [
        ("580.178.04-0ubuntu0.24.04.1", "ubuntu", None, "ubuntu"),
        ("580.178.04-0ubuntu0.24.04.1", "ubuntu", "cuda", "ubuntu"),
        ("580.178.04-0ubuntu1", "ubuntu", "cuda", "cuda"),
        ("580.178.04-1", "debian", "cuda", "cuda"),
        ("580.178.04-2", "debian", None, "debian"),
        ("580.178.04-1~deb12u1", "debian", "cuda", "debian"),
        ("580.178.04-0ubuntu0~gpu24.04.1", "ubuntu", "ppa", "ppa"),
        ("570.1-1", "ubuntu", "cuda", None),
    ],
)
def test_where_the_packages_are_from(
    box: NvidiaBox, version: str, system: str, archive: str | None, source: str | None
) -> None:
    works(box)
    box.system(system)
    box.packages([f"ii libnvidia-compute-580 {version}", "ii nvidia-settings 580.178.04-1"])
    lines = {
        "cuda": "deb https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/ /",
        "ppa": "deb https://ppa.launchpadcontent.net/graphics-drivers/ppa/ubuntu/ noble main",
    }
    if archive:
        box.write(f"etc/apt/sources.list.d/{archive}.list", f"{lines[archive]}\n")
    found = driver(box)
    assert found["flags"]["source"] == source


def test_what_nvidias_own_installer_leaves(box: NvidiaBox) -> None:
    works(box)
    found = driver(box)
    assert found["flags"]["source"] is None
    box.write("usr/bin/nvidia-uninstall", "")
    found = driver(box)
    assert found["flags"]["source"] == "runfile"


def test_the_ppa_is_reported(box: NvidiaBox) -> None:
    works(box)
    box.write("etc/apt/sources.list.d/a.list", "# deb http://ppa/graphics-drivers/ppa noble main\n")
    found = driver(box)
    assert found["problems"] == []
    name = "/etc/apt/sources.list.d/graphics-drivers-ubuntu-ppa-noble.sources"
    uri = "URIs: https://ppa.launchpadcontent.net/graphics-drivers/ppa/ubuntu/"
    box.write(name[1:], f"Types: deb\n{uri}\n")
    found = driver(box)
    assert found["evidence"]["repositories"] == [{"archive": "ppa", "file": name}]
    assert problems(found).startswith(f"{name} names the PPA")


@pytest.mark.parametrize("off", ["Enabled: no", "enabled:  False ", "ENABLED: 0"])
def test_an_archive_that_is_switched_off_is_none_synthetic(box: NvidiaBox, off: str) -> None:
    name = "/etc/apt/sources.list.d/cuda.sources"
    stanza = "Types: deb\nURIs: https://developer.download.nvidia.com/compute/cuda\nSuites: /\n"
    box.write(name[1:], f"{stanza}{off}\n")
    assert driver(box)["evidence"]["repositories"] == []
    # That is the paragraph's own, and not the file's.
    box.write(name[1:], f"{stanza}Enabled: yes\n\n{stanza}{off}\n\n{stanza}# {off}\n")
    assert driver(box)["evidence"]["repositories"] == [{"archive": "cuda", "file": name}]
    box.write(name[1:], stanza.replace("URIs", "#URIs"))
    assert driver(box)["evidence"]["repositories"] == []


BLACKLIST = ["nvidia-", "libnvidia-", "xserver-xorg-video-nvidia", "linux-modules", "linux-image"]


def guarded(box: NvidiaBox, blacklist: list[str], hold: Callable[[str], bool]) -> Any:
    """The flags of a box whose driver is the recorded one, so blacklisted and so held."""
    works(box, "580.95.05")
    names = [row.split()[1:3] for row in [*PREBUILT, "ii linux-image-generic 6.14.0-37.37"]]
    names += [["unattended-upgrades", "2.9.1"], ["linux-image-6.14.0-37-generic", "6.14.0-37.37"]]
    box.packages(f"{'hi' if hold(name) else 'ii'} {name} {version}" for name, version in names)
    patterns = " ".join(f'"{pattern}";' for pattern in blacklist)
    blacklisted = f"Unattended-Upgrade::Package-Blacklist {{ {patterns} }};\n"
    box.write("etc/apt/apt.conf.d/50unattended-upgrades", UNGUARDED + blacklisted)
    found = driver(box)
    return found["flags"]


@pytest.mark.parametrize(
    ("blacklist", "unguarded"),
    [
        ([], True),
        (["nvidia-"], True),
        (BLACKLIST[:-1], True),
        (BLACKLIST, False),
        (["(", "lib)", *BLACKLIST], False),
        ([".*"], False),
    ],
)
def test_unattended_upgrades_by_its_blacklist(
    box: NvidiaBox, blacklist: list[str], unguarded: bool
) -> None:
    assert guarded(box, blacklist, lambda name: False)["unguarded"] is unguarded
    found = driver(box)
    assert ("unattended-upgrades may replace" in problems(found)) is unguarded


def test_libraries_of_two_architectures_are_two_packages(box: NvidiaBox) -> None:
    box.libraries("580.178.04")
    version = "580.178.04-0ubuntu0.24.04.1"
    box.packages(
        [
            f"hi libnvidia-compute-580-server:amd64 {version}",
            f"ii libnvidia-compute-580-server:i386 {version}",
            f"hi nvidia-utils-580-server {version}",
        ]
    )
    packages = box.ask(NvidiaDriver)["evidence"]["packages"]
    assert {package["name"]: package["held"] for package in packages} == {
        "libnvidia-compute-580-server": True,
        "libnvidia-compute-580-server:i386": False,
        "nvidia-utils-580-server": True,
    }


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        (r"none", False),
        (r"(lib)?nvidia", False),
        (r"(lib|xserver-xorg-video-)?nvidia|linux-modules", False),
        (r"(lib|xserver-xorg-video-)?nvidia|linux-modules|linux-image-generic", True),
    ],
)
def test_only_all_that_belongs_together_is_held(box: NvidiaBox, hold: str, held: bool) -> None:
    flags = guarded(box, [], lambda name: bool(re.match(hold, name)))
    assert flags["held"] is held
    assert flags["unguarded"] is not held
    found = driver(box)
    assert ("Only some of the driver's packages are held" in problems(found)) is (
        not held and hold != "none"
    )


def test_modules_of_dkms_let_kernels_come(box: NvidiaBox) -> None:
    works(box)
    rows = [f"hi nvidia-dkms-580 {NEW}-1", f"hi libnvidia-compute-580:amd64 {NEW}-1"]
    box.packages([*rows, "ii linux-image-generic 6.8.0-136.136"])
    found = driver(box)
    assert found["flags"]["held"] is True


def test_unattended_upgrades_that_does_not_run(box: NvidiaBox) -> None:
    works(box)
    package = f"ii libnvidia-compute-580 {NEW}-0ubuntu0.24.04.1"
    box.write("etc/apt/apt.conf.d/20auto-upgrades", UNGUARDED)
    box.packages([package])
    found = driver(box)
    assert found["flags"]["unguarded"] is False
    box.packages([package, "ii unattended-upgrades 2.9.1"])
    found = driver(box)
    assert found["flags"]["unguarded"] is True
    for off in ('APT::Periodic::Unattended-Upgrade "0";', 'APT::Periodic::Enable "0";'):
        box.write("etc/apt/apt.conf.d/99off", f"{off}\n")
        found = driver(box)
        assert found["flags"]["unguarded"] is False


@pytest.mark.parametrize(
    ("state", "option", "persistence"),
    [
        ("active", "--verbose", True),
        ("active", "--no-persistence-mode --verbose", False),
        ("inactive", "--verbose", None),
    ],
)
def test_persistence_is_what_the_daemon_was_told_synthetic(
    box: NvidiaBox, state: str, option: str, persistence: bool | None
) -> None:
    works(box)
    argv = f"/usr/bin/nvidia-persistenced --user nvpd {option}"
    start = f"ExecStart={{ path=/usr/bin/nvidia-persistenced ; argv[]={argv} ; pid=81 }}"
    box.says("systemctl", f"ActiveState={state}\n{start}\n")
    found = driver(box)
    assert found["flags"]["persistence"] is persistence


def test_the_module_for_cuda_is_missing(box: NvidiaBox) -> None:
    works(box)
    (box.box / "dev/nvidia-uvm").unlink()
    found = driver(box)
    assert found["flags"]["uvm_missing"] is True
    assert "nvidia_uvm is not loaded" in problems(found)


def test_a_reboot_is_required(box: NvidiaBox) -> None:
    works(box)
    found = driver(box)
    assert found["flags"]["reboot_required"] is False
    box.write("run/reboot-required", "*** System restart required ***\n")
    found = driver(box)
    assert found["flags"]["reboot_required"] is True


def test_a_box_without_any_of_these_commands(box: NvidiaBox) -> None:
    for name in ("modinfo", "ldconfig", "mokutil", "systemctl", "dpkg-query", "apt-config"):
        box.command(name, "#!/bin/sh\necho missing >&2\nexit 127\n")
    lines = box.output(NvidiaDriver().command())
    assert NvidiaDriver().process(lines)["state"] == "no_hardware"


# --- rules ---

VERSIONS = [None, OLD, NEW]
FLAVOURS = ["open", "proprietary", None]
DRIVERS = [None, "nvidia", "nouveau", "NovaCore", "vfio-pci"]


def a_gpu(driver: str | None, device: str, answers: bool) -> PciFunction:
    address = "0000:07:00.0"
    return {
        "address": address,
        "id": f"10de:{device}",
        "kind": "gpu",
        "driver": driver,
        "answers": answers,
    }


def a_kernel(release: str, running: bool, module: str | None) -> Kernel:
    return {"release": release, "running": running, "next": not running, "module": module}


def every_evidence() -> list[Evidence]:
    """What there can be, as far as rules look at it."""
    nothing = evidence_of({})
    found: list[Evidence] = [nothing]
    for loaded, on_disk, following, libraries in itertools.product(VERSIONS, repeat=4):
        for driver, device in itertools.product(DRIVERS, [GTX_1070, RTX_3060, RTX_5090]):
            for answers, flavour, another in itertools.product([True, False], FLAVOURS, FLAVOURS):
                found.append(
                    {
                        **nothing,
                        "devices": [a_gpu(driver, device, answers)],
                        "loaded": loaded,
                        "on_disk": on_disk,
                        "userspace": libraries,
                        "flavour": flavour,  # type: ignore[typeddict-item]
                        "flavour_on_disk": another,  # type: ignore[typeddict-item]
                        "kernels": [a_kernel("1", True, on_disk), a_kernel("2", False, following)],
                    }
                )
    return found


def test_there_is_a_state_for_whatever_there_is() -> None:
    seen = set()
    for evidence in every_evidence():
        found = verdict(evidence)
        seen.add((found.state, found.kind))
        assert found.cure.endswith(".") and not re.search(r"None|[{}]|GPU [^0]", found.cure)
        assert (
            found.problem.endswith(".")
            or found.state in ("no_hardware", "passthrough")
            or (found.state == "healthy")
        )
        assert not re.search(r"None|[{}]| GPU [^0]", found.problem), (found, evidence)
    others = {"other_kernel", "no_headers", "not_built", "secure_boot"}
    assert seen == {(rule.state, rule.kind) for rule in RULES if rule.kind not in others}


def test_the_manual_has_every_state_and_every_kind() -> None:
    manual = (REPOSITORY / "docs/operating.md").read_text()
    rows = [line for line in manual.splitlines() if line.startswith("| `")]
    for rule in RULES:
        [row] = [row for row in rows if f"`{rule.state}`" in row.split("|")[1]]
        assert rule.kind is None or f"`{rule.kind}`" in row, rule


# --- garbage ---

WORDS = """
    580.95.05 6.8.0-31-generic ii hi iF nvidia-utils-580 driver= config=ffff 0000:07:00.0 0x030000
    0x2504 Unattended-Upgrade::Package-Blacklist:: "("; ² Module /x/libcuda.so.580.1 cuda= : =
    license: signer: sig_key: SecureBoot enabled is already enrolled 61:e0:9a exec= runs= /x:1
"""
LINE = st.text() | st.lists(st.sampled_from([*WORDS.split(), "9" * 5000]), max_size=6).map(" ".join)


@pytest.mark.parametrize("cls", [NvidiaDriver, DriverSetup])
@given(data=st.data())
def test_garbage_in_sections_is_an_answer_all_the_same(cls: Any, data: st.DataObject) -> None:
    names = re.findall(r"section (\w+);", cls().command())
    assert len(names) > 8 and names[-1] != "end"
    sections = {name: data.draw(st.lists(LINE, max_size=3)) for name in [*names, "end"]}
    output = [line for name, lines in sections.items() for line in (f"@@{name}", *lines)]
    assert cls().process(output).keys() == cls().default().keys()


@given(output=st.lists(st.text()))
def test_garbage_is_not_an_answer(output: list[str]) -> None:
    with pytest.raises(FactProcessError):
        NvidiaDriver().process(output)


def test_an_answer_that_breaks_off_is_none(box: NvidiaBox) -> None:
    lines = box.output(NvidiaDriver().command())
    with pytest.raises(FactProcessError):
        NvidiaDriver().process(lines[:-1])
