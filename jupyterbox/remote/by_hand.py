"""A hub that was made by hand where this project has its own: what it is, told from its files.

Arguments, for who asks this alone: root, unit (the path of its file).
"""

import ast
import json
import os
import pwd
import re
import shlex
import sys

from answering import answer
from hub_database import people
from reading import Unreadable, read_text

MARK = "# Written by Jupyterbox"
SQLITE = "sqlite:///"
TELLING = {
    # Those whose values decide, or are shown; others may be secrets.
    "JupyterHub.db_url",
    "JupyterHub.cookie_secret_file",
    "Spawner.default_url",
    "Authenticator.allowed_users",
    "Authenticator.whitelist",
}


def hub_by_hand(root, unit):
    """What is there of a hub made by hand; None for nothing.

    Args:
        root: where its venv lies, if it lies where the article has it.
        unit: the path of its unit file.
    """
    venv, text = os.path.lexists(os.path.join(root, "pyvenv.cfg")), text_of(unit)
    ours = text is not None and text.startswith(MARK)
    foreign = text is not None and not ours and f"{root}/current/" not in text
    if not venv and not foreign:
        return None
    program, config, place = started_by(text if foreign else "", root)
    source = text_of(config)
    sets = [] if source is None or source.startswith(MARK) else list(options(source))
    state = state_of(sets, place)
    return {
        # Its hub is ours already, and only what it has left lies about.
        "taken_over": ours,
        "venv": venv,
        "unit": unit if foreign else None,
        "config": None if source is None else config,
        **state,
        "users": users(state["database"]),
        "servers": servers(os.path.basename(unit)),
        "sets": sets,
        "elsewhere": elsewhere(root, program),
        "other_database": other_database(sets),
    }


def text_of(path):
    """A file's text; None where it cannot be read."""
    try:
        return read_text(path)
    except Unreadable:
        return None


def started_by(text, root):
    """The program that a unit starts, the hub's configuration, and the directory it starts in."""
    said = dict(re.findall(r"^\s*(ExecStart|WorkingDirectory)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
    place = said.get("WorkingDirectory", "").lstrip("-") or "/"
    try:
        words = shlex.split(said.get("ExecStart", "").lstrip("-@:+!"))
    except ValueError:
        words = []
    config = f"{root}/etc/jupyterhub/jupyterhub_config.py"
    if words:
        config = "jupyterhub_config.py"
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if word in ("-f", "--config"):
            config = after
        elif word.startswith("--config="):
            config = word.partition("=")[2]
    return words[0] if words else None, os.path.join(place, config), place


def options(source):
    """The options that a configuration sets, in its order: {option, line, value} each.

    `value` is of those alone that decide something here, and are written as they are.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        targets, value = [], None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            # c.JupyterHub.services.append(...)
            targets = [node.func.value]
        for option in filter(None, map(option_of, targets)):
            yield {"option": option, "line": node.lineno, "value": literal(option, value)}


def option_of(node):
    """The option that `c.Class.option` names; None for anything else."""
    names = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        if isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id == "c" and len(names) == 2:
        return ".".join(names)
    return None


def literal(option, node):
    """An option's value as text, of those that are told; None where it has to be computed."""
    if option not in TELLING or node is None:
        return None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, (list, tuple, set)):
        return ",".join(sorted(map(str, value)))
    return str(value)


def last(sets, option):
    """What an option is set to last: its value, or None."""
    return next((one["value"] for one in reversed(sets) if one["option"] == option), None)


def state_of(sets, place):
    """Where the hub's state is: its database, the cookie secret, the proxy's pid; None for none."""
    url = last(sets, "JupyterHub.db_url") or f"{SQLITE}jupyterhub.sqlite"
    secret = last(sets, "JupyterHub.cookie_secret_file") or "jupyterhub_cookie_secret"
    found = {
        "database": url.removeprefix(SQLITE),
        "cookie_secret": secret,
        "proxy_pid": "jupyterhub-proxy.pid",
    }
    found = {what: os.path.join(place, path) for what, path in found.items()}
    return {what: path if os.path.isfile(path) else None for what, path in found.items()}


def users(database):
    """The names of those whom the hub knows."""
    try:
        return sorted(people(database)[0]) if database else []
    except Unreadable:
        return []


def servers(unit, proc="/proc"):
    """The accounts whose processes are the unit's: they end with it (LocalProcessSpawner)."""
    found = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            with open(f"{proc}/{pid}/cgroup") as file:
                groups = file.read().split("\n")
            owner = os.stat(f"{proc}/{pid}").st_uid
        except OSError:
            continue
        if owner and any(group.endswith(f"/{unit}") for group in groups):
            found.add(account(owner))
    return sorted(found)


def account(uid):
    """An account's name, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def elsewhere(root, program):
    """The program that its unit starts, where that lies elsewhere; None for the article's."""
    return program if program and not program.startswith(f"{root}/bin/") else None


def other_database(sets):
    """The line that has it use another database than a sqlite file; None for none."""
    url = [one for one in sets if one["option"] == "JupyterHub.db_url"]
    if not url or (url[-1]["value"] or "").startswith(SQLITE):
        return None
    return url[-1]["line"]


def state(root, unit):
    """A hub made by hand, and whether the article's path to its commands leads to ours."""
    commands = os.path.join(root, "bin")
    leads = os.path.islink(commands) and os.readlink(commands) == "current/bin"
    return {"hub": hub_by_hand(root, unit), "commands": leads}


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
