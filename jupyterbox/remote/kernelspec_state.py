"""Print the published kernelspecs, and those that each environment's current release brings.

Arguments: kernels (the published ones' directory), conda_root, environments.
"""

import json
import os
import sys
from pathlib import Path

from kernelspec import read_spec
from reading import Unreadable


def spec_in(directory):
    """A kernelspec's content; None for what is none."""
    try:
        return read_spec(directory)
    except Unreadable:
        return None


def specs(directory):
    """The kernelspecs in a directory, by name."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    return {name: spec_in(directory / name) for name in names if (directory / name).is_dir()}


def state(kernels, conda_root, environments):
    """What is published, and what the environments bring."""
    offered = {}
    for name in environments:
        prefix = Path(os.path.realpath(Path(conda_root, "envs", name)))
        found = specs(prefix / "share/jupyter/kernels")
        offered[name] = {
            "prefix": str(prefix),
            "specs": {key: spec for key, spec in found.items() if spec is not None},
        }
    return {"published": specs(Path(kernels)), "offered": offered}


if __name__ == "__main__":
    print(json.dumps(state(**json.loads(sys.argv[1]))))
