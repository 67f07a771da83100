"""Read the hub's database beside the hub: users and servers, and never a token."""

import json
import os
import sqlite3
import stat
from datetime import datetime, timezone

from reading import Unreadable, why

PATIENCE = 0.2  # seconds to wait for a hub that writes

USERS = "SELECT id, name, last_activity FROM users"
# What counts is the role: the column `admin` outlives it.
ADMINS = """
    SELECT user_id FROM user_role_map JOIN roles ON roles.id = role_id WHERE roles.name = 'admin'
    UNION
    SELECT user_id FROM user_group_map JOIN group_role_map USING (group_id)
    JOIN roles ON roles.id = role_id WHERE roles.name = 'admin'
"""
SERVERS = """
    SELECT user_id, name, started, last_activity, server_id IS NOT NULL, state FROM spawners
"""


def people(path):
    """The users, and the servers that each of them has or had.

    Returns:
        Users by name, and a list of servers with the unit that each runs in.

    Raises:
        Unreadable: it is not there, is locked or damaged.
    """
    users, admins, servers = rows(path)
    names = {identity: str(name) for identity, name, _ in users}
    admins = {identity for (identity,) in admins}
    return {
        str(name): {"admin": identity in admins, "last_activity": moment(active)}
        for identity, name, active in users
    }, [
        {
            "user": names[identity],
            "name": str(name or ""),
            "started": moment(started),
            "last_activity": moment(active),
            "running": bool(running),
            "unit": unit_name(state, names[identity]),
        }
        for identity, name, started, active, running, state in servers
        if identity in names
    ]


def rows(path):
    """What the queries find at one moment.

    Raises:
        Unreadable: it is not there, is locked or damaged.
    """
    try:
        # A pipe that somebody has put there would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("is not a regular file")
    except OSError as error:
        raise Unreadable(why(error)) from None
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = None
    try:
        connection = sqlite3.connect(
            f"file:{quoted}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None
        )
        connection.text_factory = lambda text: text.decode(errors="replace")
        connection.execute("BEGIN")
        return [connection.execute(query).fetchall() for query in (USERS, ADMINS, SERVERS)]
    except sqlite3.Error as error:
        raise Unreadable(f"cannot be read: {error}") from None
    finally:
        # At once: until then, the hub waits before it writes.
        if connection:
            connection.close()


def moment(value):
    """A time as SQLAlchemy writes it, in UTC, as ISO 8601; None for none."""
    try:
        found = datetime.fromisoformat(str(value)[:19])
    except ValueError:
        return None
    return found.replace(tzinfo=timezone.utc).isoformat()


def unit_name(state, user):
    """The unit that SystemdSpawner has noted for a server, or would by its own template."""
    try:
        noted = json.loads(state)["unit_name"]
    except (ValueError, TypeError, LookupError, RecursionError):
        noted = None
    return mangled(noted if isinstance(noted, str) else f"jupyter-{user}-singleuser")


def mangled(name):
    """What systemd-run makes of a name: slashes become dashes, and whatever else may not be in it
    is escaped. (unit_name_mangle_with_suffix in systemd's basic/unit-name.c.)
    """
    found = ""
    for character in name.removesuffix(".service"):
        if character.isascii() and (character.isalnum() or character in ":-_.\\@"):
            found += character
        elif character == "/":
            found += "-"
        else:
            found += "".join(f"\\x{byte:02x}" for byte in character.encode(errors="replace"))
    return f"{found}.service"
