"""Print the CUDA that each global conda environment carries, told from names of files, as JSON.

Arguments: root (conda's). With it comes what the driver's files say; nothing is asked of that.
"""

import json
import os
import re
import sys
from pathlib import Path

from answering import answer
from driver_files import PASSTHROUGH, loaded, nvidia_gpus, userspace
from prefix import Prefix
from reading import Unreadable, entries

# Their versions are CUDA's.
RUNTIMES = re.compile(r"cuda-version|cudatoolkit|cuda-cudart|nvidia-cuda-runtime(?:-cu[0-9]+)?")
CUDA = re.compile(r"([0-9]+)\.([0-9]+)(?:\..*)?")
# What was built with a CUDA says so: conda's packages in their builds, `cuda126_py312h2a1b3c4_0`
# or `py3.11_cuda12.1_cudnn8_0`, wheels in their versions, `2.7.1+cu126` or `0.4.16+cuda12.cudnn89`.
BUILD = re.compile(r"(?:^|_)cuda_?(?:([0-9]{1,2})\.([0-9]+)|([0-9]{2,3}))(?=_|py|$)")
LOCAL = re.compile(r"\+cu(?:da)?(?:([0-9]{1,2})\.([0-9]+)|([0-9]{2,3}))(?=\.|$)")


def environments(root):
    """The environments of a root that are there, by name: `base` is its own."""
    try:
        names = entries(root / "envs")
    except Unreadable:
        names = []
    paths = {"base": root, **{name: root / "envs" / name for name in names}}
    return {
        name: {"prefix": str(path), "path": os.path.realpath(path), "carries": carries(path)}
        for name, path in paths.items()
        if (path / "conda-meta").is_dir()
    }


def carries(path):
    """The packages that bring a CUDA, or were built with one: name, version, and which."""
    prefix = Prefix(os.path.realpath(path))
    conda = {(name, *found) for name, found in prefix.stems.items()}
    wheels = {(*package, "") for package in prefix.python_packages().values()}
    return [
        {"name": name, "version": version, "cuda": cuda}
        for name, version, build in sorted(conda | wheels)
        if (cuda := cuda_of(name, version, build))
    ]


def cuda_of(name, version, build):
    """The CUDA of a package, `12.6`; None for one that has none to do with it."""
    if RUNTIMES.fullmatch(name):
        match = CUDA.fullmatch(version)
        return match and f"{match[1]}.{match[2]}"
    match = BUILD.search(build) or LOCAL.search(version)
    if not match:
        return None
    if match[1]:
        return f"{match[1]}.{match[2]}"
    # `cuda12` is any of 12, `cu92` is 9.2.
    digits = match[3] + "0" if match[3] in ("10", "11", "12", "13", "14") else match[3]
    return f"{digits[:-1]}.{digits[-1]}"


def state(root):
    """The environments, and what there is for them to compute on."""
    return {
        "gpus": [gpu["id"] for gpu in nvidia_gpus() if gpu["driver"] not in PASSTHROUGH],
        "loaded": loaded(),
        "userspace": userspace(),
        "environments": environments(root),
    }


if __name__ == "__main__":
    # The root may be a link to a larger disk.
    answer(state(Path(os.path.realpath(json.loads(sys.argv[1])["root"]))))
