"""What every pyinfra run in this checkout starts from: deploy.py, tasks/ and `fact` alike."""

import os

from pyinfra import config

from jupyterbox import askpass
from jupyterbox.layout import WORKSPACE

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

# An inventory that logs in as root says so and goes without (jupyterbox.settings.Box.at).
config.SUDO = True

# For unattended runs by an account whose sudo asks for one; otherwise pyinfra asks you.
config.SUDO_PASSWORD = os.environ.get("JUPYTERBOX_SUDO_PASSWORD")
askpass.keep_private()

# pyinfra stages uploads under a name that anybody can foretell. In /tmp another user of the box
# could read them, or put a file of their own there first; a directory in the home of the account
# that logs in keeps them out. Relative, since that home's path is not known before connecting;
# operations.preflight makes the directory, 0700.
config.TEMP_DIR = WORKSPACE
