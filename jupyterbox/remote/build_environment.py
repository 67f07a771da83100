"""Build one release of a conda environment beside those that run, and record what it holds.

Arguments: root, name, id, conda, pip, channels, lock (an @EXPLICIT file, or null), mirror (what
stands before the names of channels), python_index, hub (a release of the hub, which has uv and
what speaks to kernels; it may be on its way), cache (for wheels), variables (of its kernels),
unlike (the release that it is to differ from, or null), by. Runs on the Python of the hub's venv.
"""

import glob
import hashlib
import json
import os
import site
import sys
import time
from pathlib import Path

from drift import baseline
from kernel_trial import check_kernels
from old_releases import being_built
from pip_packages import check_pip_packages, install_pip_packages, pip_record
from prefix import Prefix
from reasons import conda_reason
from release import Failure, Unneeded, alone, build, record, run

PATIENCE = 100  # tenths of a second without anybody who builds the hub
FIELDS = ("name", "version", "build", "channel", "subdir", "fn", "url", "md5", "sha256")


def install_conda_packages(release, spec):
    """Have conda solve and install, or install what a lock says."""
    command = [f"{spec['root']}/bin/conda", "create", "--yes", "--json", "--prefix", str(release)]
    env = {"CONDA_REGISTER_ENVS": "false", "CONDA_REMOTE_MAX_RETRIES": "3"}
    if spec["lock"]:
        command += ["--file", spec["lock"]]
        what = "installing from its lock"
    else:
        for channel in spec["channels"]:
            command += ["--channel", channel]
        command += ["--override-channels", *spec["conda"]]
        what = f"solving and installing {' '.join(spec['conda'])}"
    # Two that unpack the same package into conda's cache would get into each other's way.
    with alone(release.parents[1] / ".conda.lock", "conda, which is at another environment"):
        code, out, err = run(command, what, env)
    if code:
        raise Failure(conda_reason(out, err))


def reach_hub(hub):
    """Have what the hub's release brings, as soon as it is complete.

    Raises:
        Failure: nobody builds it any more.
    """
    (directory, name), missed = os.path.split(hub), 0
    while not os.path.exists(f"{hub}/release.json"):
        # Whoever builds it may just be beginning, or ending.
        missed = 0 if being_built(directory, name) else missed + 1
        if missed > PATIENCE:
            raise Failure(f"it needs the hub's release {name}, which is not there")
        time.sleep(0.1)
    for packages in glob.glob(f"{glob.escape(hub)}/lib/python3*/site-packages"):
        site.addsitedir(packages)


def contents(release, spec):
    """What is in it, from conda's and pip's own records."""
    prefix = Prefix(release)
    records = [prefix.record(stem) for stem in prefix.files]
    if prefix.problems:
        raise Failure(prefix.problems[0])
    marks = baseline(prefix)
    return {
        "packages": [{key: one.get(key) for key in FIELDS} for one in in_order(records)],
        "python": marks,
        "pip": pip_record(release, spec, marks),
    }


def in_order(records):
    """Conda's records, each after those that it depends on: so a lock must name them."""
    by_name, found = {record["name"]: record for record in records}, {}

    def add(name):
        if name not in by_name or name in found:
            return
        found[name] = None
        for spec in by_name[name].get("depends") or []:
            needed = spec.split()[0]
            # On Anaconda's channels Python depends on pip, which depends on Python.
            if (name, needed) != ("python", "pip"):
                add(needed)
        found[name] = found.pop(name)

    for name in sorted(by_name):
        add(name)
    return [by_name[name] for name in found]


def refuse_the_same(release, spec, found):
    """Stop where a new solve came to the packages of the release that it is to differ from."""
    if not spec["unlike"]:
        return
    then = json.loads((release.parent / spec["unlike"] / "release.json").read_text())
    # One without a mirror was recorded before locks were known, and cannot be locked.
    if "mirror" in then and packages(then) == packages(found):
        raise Unneeded(f"release {spec['unlike']} has the newest packages already")


def packages(found):
    """What makes one release another, of what is recorded of it."""
    conda = [(p["name"], p["version"], p["build"], p["sha256"]) for p in found["packages"]]
    return sorted(conda, key=str), sorted(found["python"])


def fill(release, spec):
    """Install everything, see whether its kernels start, and record what is there."""
    install_conda_packages(release, spec)
    reach_hub(spec["hub"])
    install_pip_packages(release, spec)
    found = contents(release, spec)
    refuse_the_same(release, spec, found)
    check_pip_packages(release, spec)
    check_kernels(release, spec)
    declared = {key: spec[key] for key in ("conda", "pip", "channels")}
    if spec["lock"]:
        declared["lock"] = hashlib.sha256(Path(spec["lock"]).read_bytes()).hexdigest()
    about = {"id": spec["id"], "environment": spec["name"], "by": spec["by"]}
    about |= {"declared": declared, "mirror": spec["mirror"]}
    record(release, {**about, **found})


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    # The root may be a link to a larger disk. Its kernels name the real path, so it has no other.
    release = Path(os.path.realpath(spec["root"]), "releases", spec["name"], spec["id"])
    build(f"environment {spec['name']}", release, lambda: fill(release, spec))
