"""A hub that was made by hand where this project has its own: what it is, told from its files.

Arguments, for who asks this alone: root, unit (the path of its file).
"""

import ast
import json
import os
import pwd
import re
import sys

from answering import answer
from hub_database import people
from reading import Unreadable, read_text
from unit_by_hand import Starts

MARK = "# Written by Jupyterbox"
SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]+)")
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
    starts = Starts(unit if text is not None else None)
    ours = text is not None and (text.startswith(MARK) or of_ours(root, starts.program))
    foreign = text is not None and not ours
    if not venv and not foreign:
        return None
    starts = starts if foreign else Starts()
    config = configuration(root, starts)
    source = text_of(config)
    sets = [] if source is None or source.startswith(MARK) else list(options(source))
    state = state_of(config, sets, unit, starts)
    return {
        # Its hub is ours already, and only what it has left lies about.
        "taken_over": ours,
        "venv": venv,
        "unit": unit if foreign else None,
        "overridden": starts.overridden,
        "config": None if source is None else config,
        **state,
        "users": users(state["database"]),
        "servers": servers(os.path.basename(unit)),
        "sets": sets,
        "elsewhere": elsewhere(root, starts.program),
    }


def text_of(path):
    """A file's text; None where it cannot be read."""
    try:
        return read_text(path)
    except Unreadable:
        return None


def of_ours(root, program):
    """Whether a program is one of our releases, by whatever path: the unit is ours, edited."""
    place, root = os.path.realpath(os.path.dirname(program or "/")), os.path.realpath(root)
    return place.startswith((f"{root}/current/", f"{root}/releases/"))


def configuration(root, starts):
    """The path of its configuration."""
    said = starts.argument("-f", "--config", "--JupyterHub.config_file")
    article = f"{root}/etc/jupyterhub/jupyterhub_config.py"
    return os.path.join(starts.place, said or "jupyterhub_config.py") if starts.words else article


def options(source):
    """The options that a configuration sets, in its order: {option, line, value} each.

    `value` is of those alone that decide something here, and are written as they are.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    nodes = [node for node in ast.walk(tree) if hasattr(node, "lineno")]
    for node in sorted(nodes, key=lambda node: node.lineno):
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
    if option == "JupyterHub.db_url" and not sqlite_file(str(value)):
        # It may have a password in it.
        return None
    if isinstance(value, (list, tuple, set)):
        return ",".join(sorted(map(str, value)))
    return str(value)


def sqlite_file(url):
    """The file that a database's URL means, as JupyterHub reads it; None for another database."""
    if "://" not in url:
        return url or None
    found = SQLITE.match(url)
    return found[1] if found and found[1] != ":memory:" else None


def last(sets, option):
    """How an option is set last; None where it is not."""
    return next((one for one in reversed(sets) if one["option"] == option), None)


def state_of(config, sets, unit, starts):
    """Where the hub's state is: its database, the cookie secret, the proxy's pid; None for none.

    `other_database` is who has it use none in a file; `misses` is where it would have one in a file
    that is not there.
    """
    url, where = "jupyterhub.sqlite", None
    if one := last(sets, "JupyterHub.db_url"):
        url, where = one["value"] or "://", f"{config}, line {one['line']}"
    if (said := starts.argument("--db", "--JupyterHub.db_url")) is not None:
        url, where = said, starts.overridden or unit
    secret = starts.argument("--JupyterHub.cookie_secret_file")
    secret = secret or (last(sets, "JupyterHub.cookie_secret_file") or {}).get("value")
    database = sqlite_file(url)
    wanted = {
        "database": database,
        "cookie_secret": secret or "jupyterhub_cookie_secret",
        "proxy_pid": "jupyterhub-proxy.pid",
    }
    paths = {what: os.path.join(starts.place, path or "") for what, path in wanted.items()}
    found = {what: path if os.path.isfile(path) else None for what, path in paths.items()}
    misses = paths["database"] if database and not found["database"] else None
    return {**found, "misses": misses, "other_database": None if database else where}


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


def state(root, unit):
    """A hub made by hand, and whether the article's path to its commands leads to ours."""
    commands = os.path.join(root, "bin")
    leads = os.path.islink(commands) and os.readlink(commands) == "current/bin"
    return {"hub": hub_by_hand(root, unit), "commands": leads}


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
