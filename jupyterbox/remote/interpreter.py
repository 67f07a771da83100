"""What a kernelspec starts, and whether that can be: told from files, as whoever asks."""

import os
import re
import stat
import string
import sys

from reading import Unreadable, entries, read_text, why

# systemd's own, which users' servers have.
SERVER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Jupyter starts its own Python for these, whatever PATH says. The hub's is the system's.
SERVERS_PYTHON = {"python", "python3", f"python3.{sys.version_info[1]}"}

PYTHON = re.compile(r"(python|pypy)[\d.]*t?")
VERSION = re.compile(r"(python|pypy)\d+\.\d+t?")
MODULES = {
    "ipykernel": ["ipykernel/__init__.py"],
    "ipykernel_launcher": ["ipykernel/__init__.py", "ipykernel_launcher.py"],
}


def program_of(spec, directory, server, home):
    """The path of what Jupyter starts; a name that PATH does not have stays one.

    Args:
        spec: a kernelspec.
        directory: where it lies.
        server: the prefix of users' servers.
        home: of the account that starts it; None for any account.
    """
    name = spec["argv"][0]
    if name in SERVERS_PYTHON and os.path.exists(f"{server}/bin/python"):
        return f"{server}/bin/python"
    name = name.replace("{prefix}", server).replace("{resource_dir}", directory)
    if home and name.startswith("~/"):
        name = home + name[1:]
    if "/" in name:
        return name
    known = {"PATH": SERVER_PATH, **({"HOME": home} if home else {})}
    path = string.Template(spec.get("env", {}).get("PATH", "$PATH")).safe_substitute(known)
    for folder in path.split(":"):
        if folder.startswith("/") and not trouble(f"{folder}/{name}"):
            return f"{folder}/{name}"
    return name


def trouble(program):
    """Why a program cannot be started, as the end of a sentence; None where it can."""
    if "/" not in program:
        return "is not in PATH"
    if program.startswith("~"):
        # It may be there for some accounts.
        return None
    if not program.startswith("/"):
        return "is not an absolute path"
    try:
        found = os.stat(program)
    except (FileNotFoundError, NotADirectoryError):
        return "is a dangling link" if os.path.islink(program) else "is missing"
    except OSError as error:
        return why(error)
    if not stat.S_ISREG(found.st_mode):
        return "is not a file"
    if not os.access(program, os.X_OK, effective_ids=True):
        return "is not executable" + (" for this account" if found.st_mode & 0o111 else "")
    return None


def prefix_of(program):
    """The environment that a program belongs to, or else what its `bin` is in; None without one."""
    if os.path.exists(program):
        for path in (program, os.path.realpath(program)):
            for parent in parents(path):
                if is_environment(parent):
                    return parent
        program = os.path.realpath(program)
    return above_bin(program)


def parents(path):
    """The directories that a path lies in, the nearest first, without the root."""
    parent = os.path.dirname(path)
    while len(parent) > 1:
        yield parent
        parent = os.path.dirname(parent)


def is_environment(directory):
    """Whether a directory is a venv or an environment of conda, which may be a damaged one."""
    above, name = os.path.split(directory)
    marks = ("pyvenv.cfg", "conda-meta")
    named = os.path.basename(above) == "envs" and name != "bin"
    return named or any(os.path.exists(f"{directory}/{mark}") for mark in marks)


def above_bin(program):
    """The directory whose `bin` a program lies in; None where it lies elsewhere."""
    prefix, folder = os.path.split(os.path.dirname(program))
    return prefix if folder == "bin" and len(prefix) > 1 else None


def lacking(spec, program, prefix, home):
    """What an interpreter of Python lacks to run its kernel, as a sentence; None for nothing."""
    needed = MODULES.get(module_of(spec["argv"]))
    if needed is None or prefix is None or not PYTHON.fullmatch(os.path.basename(program)):
        return None
    found = VERSION.fullmatch(os.path.basename(os.path.realpath(program)))
    version = found.group() if found else None
    sites = sites_of(program, prefix, version, spec.get("env", {}), home)
    missing = [name for name in needed if not any(os.path.exists(f"{s}/{name}") for s in sites)]
    if not missing or any(leads_to_ipykernel(site) for site in sites):
        return None
    what = "ipykernel" if missing == needed or len(missing) > 1 else missing[0]
    which = f" for {version}" if version else ""
    return f"{what} is not installed in {prefix}{which}"


def module_of(argv):
    """The module that a command of Python runs."""
    arguments = iter(argv[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, None)
        if argument in ("-X", "-W"):
            next(arguments, None)
        elif not argument.startswith("-"):
            break
    return None


def sites_of(program, prefix, version, env, home):
    """The directories that an interpreter imports from, other than the standard library's."""
    config = venv_config(prefix)
    shared = config is None or config.get("include-system-site-packages") == "true"
    bases = [prefix]
    if config is not None and shared:
        # A venv of copies has the interpreter it was made from in its configuration only.
        bases += [above_bin(os.path.realpath(program)), os.path.dirname(config.get("home", ""))]
    sites = [path for path in env.get("PYTHONPATH", "").split(":") if path.startswith("/")]
    for base in filter(None, bases):
        for name in [version] if version else pythons_in(f"{base}/lib"):
            sites += [f"{base}/{lib}/{name}/site-packages" for lib in ("lib", "lib64")]
            # Debian's and Ubuntu's own.
            sites += [f"{base}/local/lib/{name}/dist-packages", f"{base}/lib/python3/dist-packages"]
            if home and shared and "PYTHONNOUSERSITE" not in env:
                sites.append(f"{home}/.local/lib/{name}/site-packages")
    return [*dict.fromkeys(sites)]


def venv_config(prefix):
    """A venv's configuration; None for what is no venv."""
    try:
        lines = read_text(f"{prefix}/pyvenv.cfg").splitlines()
    except Unreadable:
        return None
    pairs = (line.partition("=") for line in lines)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def pythons_in(directory):
    """The versions of Python whose libraries lie in a directory."""
    try:
        return [name for name in entries(directory) if VERSION.fullmatch(name)]
    except Unreadable:
        return []


def leads_to_ipykernel(site):
    """Whether a directory of packages says that ipykernel lies elsewhere, as editable ones do."""
    try:
        names = entries(site)
    except Unreadable:
        return False
    if any(name.startswith("__editable__") and "ipykernel" in name for name in names):
        return True
    for name in (name for name in names if name.endswith(".pth")):
        try:
            lines = read_text(f"{site}/{name}").split()
        except Unreadable:
            continue
        if any(os.path.exists(os.path.join(site, line, "ipykernel/__init__.py")) for line in lines):
            return True
    return False
