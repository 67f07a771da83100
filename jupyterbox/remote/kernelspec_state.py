"""Print the published kernelspecs, and those that each environment's current release brings.

Arguments: kernels (the published ones' directory), conda_root, environments.
"""

import json
import os
import sys
from pathlib import Path

LIMIT = 1 << 20  # bytes; a kernelspec is a page of text


def read_spec(directory):
    """A kernelspec's content; None for what is none."""
    path = directory / "kernel.json"
    try:
        if path.stat().st_size > LIMIT:
            return None
        spec = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return spec if is_spec(spec) else None


def is_spec(content):
    """Whether it can be started: what is built on it later is of the types that it shall be."""
    if not isinstance(content, dict) or not isinstance(content.get("argv"), list):
        return False
    arguments, objects = content["argv"], [content.get(key, {}) for key in ("env", "metadata")]
    return (
        bool(arguments)
        and all(isinstance(argument, str) for argument in arguments)
        and all(isinstance(value, dict) for value in objects)
    )


def specs(directory):
    """The kernelspecs in a directory, by name."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    return {name: read_spec(directory / name) for name in names if (directory / name).is_dir()}


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
