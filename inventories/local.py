"""The machine that this runs on: pyinfra inventories/local.py deploy.py"""

from jupyterbox import Box

boxes = [Box().at("@local")]
