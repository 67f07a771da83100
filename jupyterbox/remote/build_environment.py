"""Build one release of a conda environment beside those that run, and record what it holds.

Arguments: root, name, id, conda, pip, channels, lock (an @EXPLICIT file, or null), python_index,
uv, by.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from drift import baseline
from prefix import Prefix
from release import Failure, build, record, run

CACHE = "/opt/jupyterhub/cache"


def last_line(text):
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def conda_reason(stdout, stderr):
    """Conda's own error as one sentence."""
    try:
        error = json.loads(stdout)
    except (ValueError, RecursionError):
        error = None
    if not isinstance(error, dict):
        # A malformed spec: conda cannot write that error as JSON, and ends in a traceback of it.
        raised = re.findall(r"^conda\.exceptions\.\w+: (.+)$", stderr, re.MULTILINE)
        return raised[-1] if raised else last_line(stderr or stdout)
    try:
        return described(next(iter(error.get("errors") or []), error))
    except (AttributeError, IndexError, KeyError, TypeError):
        # Another conda may describe its errors otherwise.
        return last_line(stderr or str(error.get("error", "")))


def described(error):
    """An error that conda wrote as JSON."""
    kind = str(error.get("exception_name", ""))
    message = error.get("message") or error.get("error", "")
    # Less the lines of the tree that a solver draws.
    lines = [line.strip(" -\u251c\u2514\u2502\u2500") for line in message.splitlines()]
    lines = [line for line in lines if line]
    if kind == "PackagesNotFoundInChannelsError":
        packages = ", ".join(map(repr, error["packages"]))
        channels = ", ".join(re.findall(r"^  - (.+)$", error["channels_formatted"], re.MULTILINE))
        return f"no package {packages} in {channels}"
    if "Unsatisfiable" in kind:
        ends = (":", ",", "require")
        clauses = [line if line.endswith(ends) else f"{line};" for line in lines]
        return "its packages exclude each other: " + " ".join(clauses).partition(": ")[2]
    if "ToS" in kind:
        return f"{lines[1]} asks for its Terms of Service, see Conda.accept_anaconda_terms"
    said = lines[0] if lines else kind
    url = error.get("url") or ""
    return said if url in said else f"{said} ({url})"


def uv_reason(stderr):
    """What uv says of its error: that, the first and the last of its causes."""
    _, found, error = stderr.partition("error: ")
    if not found:
        return last_line(stderr)
    said = error.split("\n\nhint:")[0].splitlines()
    causes = [line.partition("cause: ")[2] for line in said if line.startswith("  cause: ")]
    if "[stderr]" in error:
        # A package that does not build says why in its last line.
        causes.append(said[-1].strip())
    return ": ".join(dict.fromkeys([said[0], *causes[:1], *causes[-1:]]))


def install_conda_packages(release, spec):
    """Have conda solve and install, or install what a lock says."""
    command = [f"{spec['root']}/bin/conda", "create", "--yes", "--json", "--prefix", str(release)]
    env = {"CONDA_REGISTER_ENVS": "false", "CONDA_REMOTE_MAX_RETRIES": "3"}
    if spec["lock"]:
        code, out, err = run([*command, "--file", spec["lock"]], "installing from its lock", env)
    else:
        for channel in spec["channels"]:
            command += ["--channel", channel]
        command += ["--override-channels", *spec["conda"]]
        code, out, err = run(command, f"solving and installing {' '.join(spec['conda'])}", env)
    if code:
        raise Failure(conda_reason(out, err))


def install_pip_packages(release, spec):
    """Add packages from the Python index; what conda installed stays as it is.

    uv would replace a package that conda installed and leave conda's record of it behind, so every
    version that is there is given to it as a constraint.
    """
    uv = [spec["uv"], "--no-config", "--system-certs", "pip"]
    python = ["--python", f"{release}/bin/python"]
    # Closed to users: uv's lock file in there is open to everybody, and who holds it stops a build.
    Path(CACHE).mkdir(mode=0o700, parents=True, exist_ok=True)
    env = {"UV_CACHE_DIR": f"{CACHE}/uv"}
    listed = subprocess.run(
        [*uv, "list", "--format", "json", *python],
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
    )
    there = json.loads(listed.stdout) if listed.returncode == 0 else []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("".join(f"{p['name']}=={p['version']}\n" for p in there))
        constraints.flush()
        code, _, err = run(
            [*uv, "install", *python, "--default-index", spec["python_index"]]
            + ["--constraints", constraints.name, "--compile-bytecode", "--break-system-packages"]
            + ["--link-mode", "copy", *spec["pip"]],
            f"installing {' '.join(spec['pip'])} from the Python index",
            env,
        )
    if code:
        raise Failure(f"pip packages: {uv_reason(err)}")


def register_kernels(release):
    """Run what packages from the Python index bring to register their kernels, bash_kernel's say.

    A wheel runs nothing when it is installed, so some leave `python -m PACKAGE.install` to people.
    """
    for info in pip_packages(release):
        for program in re.findall(r"^([^/,\n]+)/install\.py,", read(info / "RECORD"), re.MULTILINE):
            source = read(info.parent / program / "install.py")
            if "install_kernel_spec" not in source or "--sys-prefix" not in source:
                continue
            code, _, err = run(
                [f"{release}/bin/python", "-I", "-m", f"{program}.install", "--sys-prefix"],
                f"registering the kernel of {program}",
            )
            if code:
                raise Failure(f"{program} does not register its kernel: {last_line(err)}")


def check(release):
    """Refuse a release that could not start a kernel."""
    specs = glob.glob(f"{release}/share/jupyter/kernels/*/kernel.json")
    if not specs:
        raise Failure("nothing in it brings a kernel: add ipykernel, r-irkernel or another")
    for path in specs:
        try:
            program = json.loads(Path(path).read_text())["argv"][0]
        except (ValueError, KeyError, TypeError, IndexError):
            raise Failure(f"its kernel {Path(path).parent.name} is no kernelspec") from None
        if not (shutil.which(program, path=f"{release}/bin") or os.access(program, os.X_OK)):
            raise Failure(
                f"its kernel {Path(path).parent.name} starts {program}, which is not there"
            )
    if glob.glob(f"{release}/lib/python3*/site-packages/ipykernel"):
        code, _, err = run(
            [f"{release}/bin/python", "-I", "-c", "import ipykernel.kernelapp"], "checking"
        )
        if code:
            raise Failure(f"ipykernel does not import: {last_line(err)}")


def contents(release):
    """What is in it, from conda's and pip's own records."""
    fields = ("name", "version", "build", "channel", "subdir", "fn", "url", "md5", "sha256")
    prefix = Prefix(release)
    records = [prefix.record(stem) for stem in prefix.files]
    if prefix.problems:
        raise Failure(prefix.problems[0])
    return {
        "packages": [{key: record.get(key) for key in fields} for record in records],
        "python": baseline(prefix),
    }


def pip_packages(release):
    """The dist-info directories of what conda did not install."""
    infos = map(Path, glob.glob(f"{release}/lib/python3*/site-packages/*.dist-info"))
    return [info for info in infos if read(info / "INSTALLER").strip() not in ("conda", "")]


def read(path):
    """A file's text; nothing where there is no such file."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def fill(release, spec):
    """Install everything, see whether a kernel would start, and record what is there."""
    install_conda_packages(release, spec)
    if spec["pip"]:
        install_pip_packages(release, spec)
        register_kernels(release)
    check(release)
    declared = {key: spec[key] for key in ("conda", "pip", "channels")}
    if spec["lock"]:
        declared["lock"] = hashlib.sha256(Path(spec["lock"]).read_bytes()).hexdigest()
    about = {"id": spec["id"], "environment": spec["name"], "by": spec["by"]}
    record(release, {**about, "declared": declared, **contents(release)})


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    # The root may be a link to a larger disk. Its kernels name the real path, so it has no other.
    release = Path(os.path.realpath(spec["root"]), "releases", spec["name"], spec["id"])
    build(f"environment {spec['name']}", release, lambda: fill(release, spec))
