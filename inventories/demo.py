"""The demo box that `make demo` boots: pyinfra inventories/demo.py deploy.py"""

import os

from jupyterbox import Box
from jupyterbox.demo.inventory import connection, demo_settings
from jupyterbox.demo.machine import Machine

_machine = Machine.load(os.environ.get("JUPYTERBOX_DEMO", "demo"))

boxes = [Box(**demo_settings(_machine)).at(_machine.ssh_host, **connection(_machine))]
