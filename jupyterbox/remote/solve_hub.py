"""Print what the hub's requirements come to today, as JSON, and whether a release has just that.

Arguments: releases (their directory), current (the one whose uv solves), declared (the release that
the settings ask for), requirements (the text that is solved), python_index.
"""

import json
import os
import re
import subprocess
import sys

from hub_releases import normal
from old_releases import by_use
from reading import Unreadable, read_json

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
LINES = 12  # of what uv said, shown when it failed


def solve(prefix, requirements, index):
    """The newest packages that go together, each with its hashes, as a requirements file."""
    done = subprocess.run(
        [f"{prefix}/bin/uv", "--no-config", "--system-certs", "--quiet", "pip", "compile", "-"]
        + ["--generate-hashes", "--no-header", "--no-build", "--no-cache"]
        + ["--python", "/usr/bin/python3", "--default-index", index],
        input=requirements,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-LINES:])
        sys.exit(f"the hub's requirements cannot be solved:\n{said}")
    return done.stdout


def with_these(releases, current, declared, packages):
    """The release for these settings, last used, that has just these packages; None for none."""
    for name in by_use(releases, current):
        try:
            record = read_json(os.path.join(releases, name, "release.json"))
            has = {normal(package): version for package, version in record["packages"].items()}
        except (Unreadable, LookupError, TypeError, AttributeError):
            continue
        if record.get("declared", name) == declared and packages.items() <= has.items():
            return name
    return None


def newest(releases, current, declared, requirements, python_index):
    """What comes of solving, and where that is already."""
    solved = solve(os.path.join(releases, current), requirements, python_index)
    packages = {normal(name): version for name, version in PIN.findall(solved)}
    return {
        "requirements": solved,
        "release": with_these(releases, current, declared, packages),
    }


if __name__ == "__main__":
    print(json.dumps(newest(**json.loads(sys.argv[1]))))
