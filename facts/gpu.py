"""NVIDIA GPUs: the driver's state, what the GPUs do, and which environments can use them."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.driver_evidence import (
    Flags,
    Sections,
    driver_version,
    evidence_of,
    flags_of,
    together,
)
from facts.preflight import split_sections
from facts.problem import Problem
from jupyterbox.driver_states import (
    FOREIGN,
    Evidence,
    PciFunction,
    State,
    breaks_at_boot,
    drives_some,
    gpus,
    kernel,
    misfit,
    verdict,
)
from jupyterbox.nvidia import (
    WITHOUT_OLD,
    Version,
    dotted,
    flavours,
    highest_cuda,
    parsed,
    serves,
)
from jupyterbox.program import PROGRAMS, answer, question


class Driver(TypedDict):
    """The state of the driver, with the kind of it, what tells so, and what to do."""

    state: State
    kind: str | None
    cure: str
    flags: Flags
    evidence: Evidence
    problems: list[Problem]


class NvidiaDriver(FactBase[Driver]):
    """What state NVIDIA's driver is in, told from files: no root, and no GPU is touched.

    ```
    {
        "state": "mismatch", "kind": "reboot_cures",
        "cure": "Reboot, into kernel 6.8.0-151-generic: the one that runs has no module to reload.",
        "flags": {
            "flavour": "open", "source": "ubuntu", "next_boot_broken": False,
            "reload_pending": False, "reboot_required": True, "held": False, "unguarded": True,
            "persistence": None, "uvm_missing": False,
        },
        "evidence": {
            "devices": [{"address": "0000:07:00.0", "id": "10de:2504", "kind": "gpu",
                         "driver": "nvidia", "answers": True}],
            "loaded": "580.173.02", "on_disk": None, "userspace": "580.178.04",
            "flavour": "open", "flavour_on_disk": None,
            "kernels": [
                {"release": "6.8.0-136-generic", "running": True, "next": False, "module": None},
                {"release": "6.8.0-151-generic", "running": False, "next": True,
                 "module": "580.178.04"},
            ],
            "file": None, "signer": None, "secure_boot": False, "trusted": None,
            "dkms_key": {"certificate": "/var/lib/shim-signed/mok/MOK.der", "enrolled": None},
            "headers": False, "dkms": False, "unfinished": [],
            "packages": [{"name": "nvidia-utils-580-server", "held": False,
                          "version": "580.178.04-0ubuntu0.24.04.1"}, …],
            "repositories": [],
        },
        "problems": [{"problem": "Module 580.173.02 is loaded and …", "cure": "Reboot, into …"}],
    }
    ```

    `state` is one of no_hardware, passthrough, bus_lost, no_driver, foreign_driver, module_missing,
    not_loaded, mismatch, init_failed, healthy; jupyterbox/driver_states.py has the rules, and the
    kinds. A driver whose files all agree is `healthy` here; whether its GPUs answer, `Gpus` asks.
    """

    def command(self) -> str:
        return (PROGRAMS / "nvidia_driver.sh").read_text()

    @staticmethod
    def default() -> Driver:
        return _driver({"running": []})

    def process(self, output: list[str]) -> Driver:
        sections = split_sections(output)
        if "os" not in sections or "end" not in sections:
            raise FactProcessError(f"not an answer: {output[:1]!r}")
        return _driver(sections)


def _driver(sections: Sections) -> Driver:
    """What the sections of an answer amount to."""
    evidence = evidence_of(sections)
    found = verdict(evidence)
    flags = flags_of(sections, evidence)
    if found.state == "foreign_driver" or found.kind == "reboot_cures":
        flags["reboot_required"] = True
    problems: list[Problem] = []
    if found.problem:
        problems.append({"problem": found.problem, "cure": found.cure})
    if found.state not in ("no_hardware", "passthrough"):
        told = found.state in ("no_driver", "module_missing")
        if not told and found.kind not in ("neither_cures", "split"):
            problems += boot_problems(evidence, flags)
        problems += _unfinished_problems(evidence)
        problems += _guard_problems(evidence, flags)
        problems += _other_problems(evidence, flags)
    return {
        "state": found.state,
        "kind": found.kind,
        "cure": found.cure,
        "flags": flags,
        "evidence": evidence,
        "problems": problems,
    }


def boot_problems(evidence: Evidence, flags: Flags) -> Iterator[Problem]:
    """Whether the next boot breaks what works now, or will once it is mended."""
    following = kernel(evidence, "next")
    if breaks_at_boot(evidence):
        flavour = evidence["flavour_on_disk"]
        yield {
            "problem": f"The next boot breaks the driver: the {flavour} module is on disk, which "
            "drives none of its GPUs.",
            "cure": f"Install the {evidence['flavour']} flavour again before the box reboots.",
        }
    elif flags["next_boot_broken"] and following:
        module = f"module {following['module']}" if following["module"] else "no module"
        release, userspace = following["release"], evidence["userspace"]
        yield {
            "problem": f"The next boot breaks the driver: kernel {release} has {module}, and the "
            f"libraries are {userspace}.",
            "cure": f"Install module {userspace} for kernel {release} before the box reboots.",
        }


def _unfinished_problems(evidence: Evidence) -> Iterator[Problem]:
    """What dpkg has left half way."""
    found = evidence["unfinished"]
    if found:
        named = ", ".join(f"{package['name']} ({package['state']})" for package in found[:4])
        more = " ..." if found[4:] else ""
        yield {
            "problem": f"dpkg has not finished with {named}{more}: apt installs nothing more that "
            "depends on it.",
            "cure": "`dpkg --configure -a`; where that fails, it says why, and `apt-get remove` "
            "takes off what cannot be installed.",
        }


def _guard_problems(evidence: Evidence, flags: Flags) -> Iterator[Problem]:
    """Whether an upgrade may split what belongs together."""
    packages = together(evidence["packages"])
    free = [package["name"] for package in packages if not package["held"]]
    if any(package["held"] for package in packages) and not flags["held"]:
        named = ", ".join(free[:4]) + (" ..." if len(free) > 4 else "")
        yield {
            "problem": f"Only some of the driver's packages are held, and not {named}: an upgrade "
            "splits module and libraries, or brings a kernel without a module.",
            "cure": "Hold all of them with `apt-mark hold`, or none.",
        }
    elif flags["unguarded"]:
        yield {
            "problem": "unattended-upgrades may replace the driver under the module that runs: "
            "new programs fail on the GPU then.",
            "cure": "Name the driver and the kernels in Unattended-Upgrade::Package-Blacklist, "
            "and upgrade them together, with a reboot.",
        }


def _other_problems(evidence: Evidence, flags: Flags) -> Iterator[Problem]:
    """What else is in the way of CUDA."""
    if flags["uvm_missing"] and evidence["loaded"] == evidence["userspace"]:
        yield {
            "problem": "The module nvidia_uvm is not loaded: CUDA fails in every notebook.",
            "cure": "`modprobe nvidia_uvm`, and name nvidia-uvm in /etc/modules-load.d.",
        }
    if drives_some(evidence):
        for gpu in gpus(evidence):
            yield from _left_out(gpu, evidence)
    for repository in evidence["repositories"]:
        if repository["archive"] == "ppa":
            yield {
                "problem": f"{repository['file']} names the PPA graphics-drivers, whose drivers "
                "replace those of Ubuntu's own archive.",
                "cure": "Remove it: Ubuntu's archive has all that a server needs.",
            }


def _left_out(gpu: PciFunction, evidence: Evidence) -> Iterator[Problem]:
    """Why CUDA cannot use a GPU while the driver drives another one."""
    address, driver = gpu["address"], gpu["driver"]
    foreign = FOREIGN.get(driver or "")
    if foreign:
        problem = f"GPU {address} is driven by {foreign}: CUDA cannot use it."
        cure = f"If it shall compute: blacklist {foreign} in /etc/modprobe.d, run "
        cure += "`update-initramfs -u`, and reboot."
    elif misfit(evidence, gpu):
        [other] = flavours(gpu["id"])
        problem = f"GPU {address} takes the {other} module, and the {evidence['flavour']} one is "
        problem += "loaded: CUDA cannot use it."
        cure = (
            f"Install the {other} flavour of the driver, if it drives the other GPUs, and reboot."
        )
    elif driver is None:
        problem = f"Module {evidence['loaded']} is loaded and does not drive GPU {address}."
        cure = DMESG
    else:
        return
    if driver != "nvidia" and not flavours(gpu["id"]):
        cure = "Nothing, if it is for a display: no driver of today drives GPUs before Maxwell."
    yield {"problem": problem, "cure": cure}


class Instance(TypedDict):
    """A part of a GPU that MIG has split; `uuid` is what CUDA_VISIBLE_DEVICES takes."""

    index: int | None
    uuid: str | None
    profile: str | None
    gpu_instance: int | None
    memory_mb: int | None
    memory_used_mb: int | None


class Process(TypedDict):
    """A process that computes on a GPU, or on one instance of it; `server` is a notebook's unit."""

    pid: int
    name: str | None
    memory_mb: int | None
    gpu_instance: int | None
    user: str | None
    server: str | None


class Gpu(TypedDict):
    """A GPU that NVIDIA's driver drives; `None` for what it does not say.

    `index` is CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID; `mig` is `None` for one that cannot.
    """

    address: str
    index: int | None
    uuid: str | None
    model: str | None
    lost: bool
    memory_mb: int | None
    memory_used_mb: int | None
    utilization_percent: int | None
    temperature_c: int | None
    power_w: float | None
    persistence: bool | None
    mig: bool | None
    instances: list[Instance]
    processes: list[Process]


class _GpuUse(TypedDict):
    gpus: list[Gpu]
    not_asked: str | None
    said: list[str] | None


class GpuUse(TypedDict):
    """The GPUs, and how many of them are lost.

    `state` is the driver's by what nvidia-smi said, in `NvidiaDriver`'s words; `None` where it did
    not answer, or was not asked, for the reason that `not_asked` has.
    """

    gpus: list[Gpu]
    lost: int
    state: State | None
    not_asked: str | None
    problems: list[Problem]


class Gpus(FactBase[GpuUse]):
    """What the GPUs do: memory, load, temperature, MIG, and who computes on them.

    ```
    {
        "gpus": [
            {"address": "0000:07:00.0", "index": 0, "uuid": "GPU-37037c3f-…",
             "model": "NVIDIA RTX 4000 SFF Ada Generation", "lost": False,
             "memory_mb": 20475, "memory_used_mb": 3534, "utilization_percent": 0,
             "temperature_c": 38, "power_w": 15.2, "persistence": True, "mig": None,
             "instances": [],
             "processes": [{"pid": 4937, "name": "python", "memory_mb": 160, "gpu_instance": None,
                            "user": "ada", "server": "jupyter-ada-singleuser.service"}]},
        ],
        "lost": 0, "state": "healthy", "not_asked": None, "problems": [],
    }
    ```

    nvidia-smi is asked, for at most 45 s, only while a module is loaded that the libraries belong
    to: as root it would load one. Without root, processes of others may have no name.
    """

    def command(self) -> StringCommand:
        return question("gpu_use")

    @staticmethod
    def default() -> GpuUse:
        return {"gpus": [], "lost": 0, "state": None, "not_asked": None, "problems": []}

    def process(self, output: list[str]) -> GpuUse:
        found = answer(output, _GpuUse)
        state, problems = _said(found)
        return {
            "gpus": found["gpus"],
            "lost": sum(gpu["lost"] for gpu in found["gpus"]),
            "state": state,
            "not_asked": found["not_asked"],
            "problems": problems,
        }


REBOOT = "Reboot, or switch the box off and on: until then CUDA may fail on its other GPUs, too."
DMESG = "`sudo dmesg | grep NVRM` says why."
SAYINGS: tuple[tuple[str, State, str], ...] = (
    # What nvidia-smi says when it fails, what that means, and what to do.
    ("Driver/library version mismatch", "mismatch", "facts.gpu.NvidiaDriver tells what cures it."),
    ("couldn't communicate with the NVIDIA driver", "not_loaded", "Run `modprobe nvidia`."),
    ("No devices were found", "init_failed", DMESG),
    ("Insufficient Permissions", "init_failed", "See the modes of /dev/nvidia*."),
    ("Failed to initialize NVML", "init_failed", DMESG),
    ("device handle for GPU", "bus_lost", REBOOT),
    ("GPU is lost", "bus_lost", REBOOT),
)


def _said(found: _GpuUse) -> tuple[State | None, list[Problem]]:
    """The driver's state by what nvidia-smi said, and what is wrong."""
    if found["not_asked"]:
        return None, list(_unasked(found["not_asked"]))
    if found["said"] is None:
        problem = "nvidia-smi did not answer within 45 s."
        return None, [{"problem": problem, "cure": f"{DMESG} Persistence makes it faster."}]
    lost = [gpu["address"] for gpu in found["gpus"] if gpu["lost"]]
    if lost:
        problem = f"{len(lost)} of {len(found['gpus'])} GPUs lost: {', '.join(lost)}."
        return "bus_lost", [{"problem": problem, "cure": REBOOT}]
    said = " ".join(found["said"])[:200].rstrip(". ")
    for saying, state, cure in SAYINGS:
        if saying in said:
            return state, [{"problem": f"nvidia-smi fails: {said}.", "cure": cure}]
    if any(gpu["index"] is not None for gpu in found["gpus"]):
        return "healthy", []
    problem = f"nvidia-smi tells of no GPU: {said or 'it says nothing'}."
    return None, [{"problem": problem, "cure": "Run it on the box to see what it says."}]


def _unasked(reason: str) -> Iterator[Problem]:
    """What is wrong where nvidia-smi was not asked, but for what `NvidiaDriver` tells."""
    if "not installed" in reason:
        yield {
            "problem": f"The GPUs' use cannot be told: {reason}.",
            "cure": "Install nvidia-utils-..., or nvidia-smi on Debian, of the driver's version.",
        }
    if "hangs" in reason:
        yield {"problem": f"The driver does not answer: {reason}.", "cure": REBOOT}


class Carried(TypedDict):
    """A package that brings a CUDA, or was built with one."""

    name: str
    version: str
    cuda: str


class CudaEnvironment(TypedDict):
    """An environment, the highest CUDA that it carries, and whether the driver serves that.

    `served` is `None` where there is nothing to serve, or nobody knows; `why` says why.
    """

    prefix: str
    path: str
    cuda: str | None
    carries: list[Carried]
    served: bool | None
    why: str


class _Carrying(TypedDict):
    prefix: str
    path: str
    carries: list[Carried]


class _CondaCuda(TypedDict):
    gpus: list[str]
    loaded: str | None
    userspace: str | None
    environments: dict[str, _Carrying]


class CondaCudaAnswer(TypedDict):
    """The environments by name; the version of the driver's libraries, and its highest CUDA.

    `gpus` is how many NVIDIA GPUs the box has for them.
    """

    gpus: int
    driver: str | None
    cuda: str | None
    environments: dict[str, CudaEnvironment]
    problems: list[Problem]


class CondaCuda(FactBase[CondaCudaAnswer]):
    """Which global environments can compute on the GPU: the CUDA of each, and the driver's.

    ```
    {
        "gpus": 1, "driver": "535.261.03", "cuda": "12.2",
        "environments": {
            "torch": {
                "prefix": "/opt/conda/envs/torch", "path": "/opt/conda/releases/torch/5d0c…",
                "cuda": "13.0",
                "carries": [{"name": "torch", "version": "2.9.1+cu130", "cuda": "13.0"}, …],
                "served": False,
                "why": "CUDA 13.0 needs a driver 580 or newer, and 535.261.03 is installed",
            },
        },
        "problems": [{"problem": "environment 'torch' cannot …", "cure": "Install a driver …"}],
    }
    ```

    Told from names of files: no driver is asked, no Python is started.

    Args:
        root: conda's, /opt/conda by default.
    """

    def command(self, root: str = "/opt/conda") -> StringCommand:
        return question("conda_cuda", root=root)

    @staticmethod
    def default() -> CondaCudaAnswer:
        return {"gpus": 0, "driver": None, "cuda": None, "environments": {}, "problems": []}

    def process(self, output: list[str]) -> CondaCudaAnswer:
        found = answer(output, _CondaCuda)
        environments = {
            name: _served(environment, found) for name, environment in found["environments"].items()
        }
        driver = driver_version([found["userspace"] or ""])
        highest = highest_cuda(driver) if driver else None
        return {
            "gpus": len(found["gpus"]),
            "driver": driver,
            "cuda": dotted(highest) if highest else None,
            "environments": environments,
            "problems": list(_cuda_problems(environments)) if driver else [],
        }


def _served(environment: _Carrying, box: _CondaCuda) -> CudaEnvironment:
    """An environment, and whether the box's driver serves it."""
    versions = [cuda for package in environment["carries"] if (cuda := parsed(package["cuda"]))]
    highest = max(versions, default=None)
    served, why = _verdict(highest, box)
    return {
        "prefix": environment["prefix"],
        "path": environment["path"],
        "cuda": dotted(highest) if highest else None,
        "carries": environment["carries"],
        "served": served,
        "why": why,
    }


def _verdict(cuda: Version | None, box: _CondaCuda) -> tuple[bool | None, str]:
    """Whether what was built with a CUDA can compute on a box, and why."""
    if cuda is None:
        return None, "it carries no CUDA"
    if not box["gpus"]:
        return None, "the box has no NVIDIA GPU"
    driver = driver_version([box["userspace"] or ""])
    if driver is None:
        return False, "NVIDIA's driver is not installed"
    if box["loaded"] != driver:
        return False, f"module {box['loaded'] or '(none)'} is loaded and the libraries are {driver}"
    if cuda >= WITHOUT_OLD and all("open" not in flavours(device) for device in box["gpus"]):
        return False, f"CUDA {dotted(cuda)} has no code for GPUs before Turing, as this box has"
    return serves(driver, cuda)


def _cuda_problems(environments: dict[str, CudaEnvironment]) -> Iterator[Problem]:
    """The environments that cannot compute on the GPU; of the driver itself tells NvidiaDriver."""
    for name, environment in environments.items():
        if environment["served"] is False and environment["why"].startswith("CUDA"):
            yield {
                "problem": f"environment {name!r} cannot use the GPU: {environment['why']}.",
                "cure": "Install a newer driver, or declare the environment with an older CUDA.",
            }
