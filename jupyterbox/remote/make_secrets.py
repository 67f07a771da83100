"""Make secrets of the hub that are not there yet, readable to root alone.

Arguments: directory, names. Nothing of them is printed.
"""

import json
import os
import secrets
import sys

CONTENT = {
    "proxy.env": lambda: f"CONFIGPROXY_AUTH_TOKEN={secrets.token_hex(32)}\n",
    "cookie_secret": lambda: f"{secrets.token_hex(32)}\n",
}


def make(directory, name):
    """Make one secret, or close one that is there."""
    path, new = os.path.join(directory, name), os.path.join(directory, f".{name}.new")
    if os.path.exists(path):
        # It is there and open to others; what they have read, they have read. Closing it is all
        # that does not log everybody out.
        os.chmod(path, 0o600)
        return
    with open(new, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(CONTENT[name]())
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)


if __name__ == "__main__":
    os.umask(0o077)
    arguments = json.loads(sys.argv[1])
    for name in arguments["names"]:
        make(arguments["directory"], name)
