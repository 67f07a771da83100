"""Packages from the Python index in a release: installed by uv, and recorded with their hashes."""

import glob
import itertools
import json
import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from prefix import installed, normal
from reasons import last_line, uv_reason
from release import Failure, run, say
from wheel_cache import wheel_cache


def install_pip_packages(release, spec):
    """Add those that a lock pins, then those that are declared loosely."""
    if locked := locked_requirements(spec):
        with lines(locked) as path:
            asked = ["--no-deps", "--require-hashes", "--requirements", path]
            run_install(release, spec, asked, "installing pip packages from the lock")
    if spec["pip"]:
        there = [f"{p['name']}=={p['version']}" for p in listed(release, spec)]
        # uv would replace a package that conda installed and leave conda's record of it behind, so
        # every version that is there is given to it as a constraint.
        with lines(there) as path:
            asked = ["--constraints", path, *spec["pip"]]
            what = f"installing {' '.join(spec['pip'])} from the Python index"
            run_install(release, spec, asked, what)
    if locked or spec["pip"]:
        register_kernels(release)


def locked_requirements(spec):
    """The lines of a lock that are for pip; conda skips them."""
    text = Path(spec["lock"]).read_text() if spec["lock"] else ""
    return re.findall(r"^# pip (.+)$", text, re.MULTILINE)


@contextmanager
def lines(requirements):
    """The path of a file of them, for uv."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}\n" for line in requirements))
        file.flush()
        yield file.name


def uv(spec, *words):
    """uv's command line."""
    return [f"{spec['hub']}/bin/uv", "--no-config", "--system-certs", "pip", *words]


def run_install(release, spec, asked, what):
    """Have uv install into a release."""
    with wheel_cache(spec["cache"], "uv") as cache:
        command = uv(
            spec,
            *("install", "--python", f"{release}/bin/python"),
            *("--default-index", spec["python_index"], "--cache-dir", str(cache)),
            *("--compile-bytecode", "--break-system-packages", "--link-mode", "copy"),
            *asked,
        )
        code, _, err = run(command, what)
    if code:
        raise Failure(f"pip packages: {uv_reason(err)}")


def listed(release, spec):
    """The Python packages in a release, conda's and others, as uv lists them."""
    asked = ("list", "--no-cache", "--format", "json", "--python", f"{release}/bin/python")
    done = subprocess.run(uv(spec, *asked), capture_output=True)
    return json.loads(done.stdout) if done.returncode == 0 else []


def register_kernels(release):
    """Run what packages from the Python index bring to register their kernels, bash_kernel's say.

    A wheel runs nothing when it is installed, so some leave `python -m PACKAGE.install` to people.
    """
    for info in infos(release):
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


def infos(release):
    """The dist-info directories of what conda did not install."""
    found = map(Path, glob.glob(f"{release}/lib/python3*/site-packages/*.dist-info"))
    return [info for info in found if read(info / "INSTALLER").strip() not in ("conda", "")]


def read(path):
    """A file's text; nothing where there is no such file."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def check_pip_packages(release, spec):
    """Refuse a release in which a package from the index lacks what it requires.

    Of what conda's own packages say to pip about each other conda's solver knows better.
    """
    if not glob.glob(f"{release}/lib/python3*/site-packages"):
        return
    command = uv(spec, "check", "--no-cache", "--python", f"{release}/bin/python")
    _, _, err = run(command, "checking that the Python packages fit")
    ours = {installed(info.name)[0] for info in infos(release)}
    for package, sentence in re.findall(
        r"^The package `([^`]+)` (requires .+)$", err, re.MULTILINE
    ):
        said = f"{package} {sentence}".replace("`", "")
        if normal(package) in ours:
            raise Failure(f"pip packages: {said}")
        say(f"conda's {said}, says pip")


def pip_record(release, spec, marks):
    """What came from the index: name, version and the hash of the file that it came in.

    Args:
        marks: in site-packages, by the conda package that they belong to; None is pip's.
    """
    pinned = dict(map(pin, locked_requirements(spec)))
    packages = [package(info) for info in infos(release) if marks.get(info.name) is None]
    for one in packages:
        one["hashes"] = pinned.get(one["name"], [])
    unknown = [one for one in packages if not one["hashes"] and one["has_file"]]
    files = published(release, spec, unknown) if unknown else {}
    for one in unknown:
        one["hashes"] = chosen(files.get(one["name"], []), one["tags"])
    keys = ("name", "version", "source", "hashes")
    return [{key: one[key] for key in keys} for one in sorted(packages, key=lambda p: p["name"])]


def pin(requirement):
    """A line of a lock: the name and its hashes."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
    return normal(name), re.findall(r"--hash=sha256:([0-9a-f]+)", requirement)


def package(info):
    """An installed package: its tags, its URL if it has one, and whether it came in one file."""
    name, version = installed(info.name)
    tags = {tuple(tag.split("-")) for tag in re.findall(r"^Tag: (\S+)", read(info / "WHEEL"), re.M)}
    direct = read(info / "direct_url.json")
    source = json.loads(direct) if direct else {"archive_info": {}}
    return {
        "name": name,
        "version": version,
        "tags": tags,
        "source": source.get("url"),
        "has_file": "archive_info" in source,
    }


def published(release, spec, packages):
    """What the index has of some packages: files with their hashes, by the package's name."""
    wanted = [
        f"{p['name']} @ {p['source']}" if p["source"] else f"{p['name']}=={p['version']}"
        for p in packages
    ]
    with lines(wanted) as path, wheel_cache(spec["cache"], "uv") as cache:
        command = uv(
            spec,
            *("compile", "--no-deps", "--generate-hashes", "--format", "pylock.toml", "--quiet"),
            *("--python", f"{release}/bin/python", "--default-index", spec["python_index"]),
            *("--no-header", "--cache-dir", str(cache), path),
        )
        code, out, err = run(command, "asking the Python index for hashes")
    if code:
        say(f"without hashes, this release cannot be locked: {uv_reason(err)}")
        return {}
    # A box with Python 3.10 has no tomllib.
    found = {}
    for part in out.split("[[packages]]")[1:]:
        name = re.search(r'^name = "([^"]+)"', part, re.MULTILINE)[1]
        pairs = re.findall(r'url = "([^"]+)"[^\n]*?sha256 = "([0-9a-f]{64})"', part)
        found[normal(name)] = [(unquote(url.rpartition("/")[2]), digest) for url, digest in pairs]
    return found


def chosen(files, tags):
    """The hash of the file that uv has chosen; of all that it may have, where nothing tells.

    Args:
        files: names and hashes, of all wheels that fit the box and of the source.
        tags: of what is installed, which are its wheel's.
    """
    wheels = [(name, digest) for name, digest in files if name.endswith(".whl")]
    same = [digest for name, digest in wheels if wheel_tags(name) == tags]
    return same or [digest for _, digest in wheels or files]


def wheel_tags(name):
    """The tags in the name of a wheel, each written out."""
    return set(itertools.product(*(part.split(".") for part in name[:-4].split("-")[-3:])))
