"""Publish one kernelspec: its logos first, then kernel.json at one stroke.

Arguments: kernels (the directory), name, spec (the content of kernel.json), source (of the logos).
"""

import json
import os
import shutil
import sys
from pathlib import Path


def publish(kernels, name, spec, source):
    """Write a kernelspec where users' servers look for it."""
    directory = Path(kernels, name)
    directory.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(source):
        if entry.is_file() and entry.name != "kernel.json":
            shutil.copyfile(entry.path, directory / entry.name)
    unfinished = directory / ".kernel.json"
    unfinished.write_text(json.dumps(spec, indent=1) + "\n")
    os.rename(unfinished, directory / "kernel.json")


if __name__ == "__main__":
    os.umask(0o022)
    publish(**json.loads(sys.argv[1]))
