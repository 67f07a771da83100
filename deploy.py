"""The deploy: pyinfra inventories/box.py deploy.py

A layer a line, in the order of the article "How To Install JupyterHub on a Local Server" (2020).
Each is in the module of operations/ that it names; what they compare the box with is in facts/.
"""

from pyinfra import host

from operations import (
    adoption,
    conda,
    environments,
    gpu,
    hub,
    hub_release,
    jupyter,
    packages,
    preflight,
    side_by_side,
    summary,
    users,
)

box = host.data.box

preflight.check(name="Preflight: can this box become what is declared?", box=box)
packages.install(box=box)
gpu.install(box=box)
conda.install(box=box)
users.declare(box=box)
side_by_side.build(name="Build releases side by side, where several are missing", box=box)
hub_release.build(box=box)
environments.build(box=box)
adoption.take_over(
    name="Take over a hub made by hand, and keep the article's path to its commands",
    box=box,
    adopt=host.data.get("adopt"),
)
jupyter.publish(box=box)
hub.serve(box=box)
hub.healthy(name="Health: does the hub answer through the proxy?", box=box)
hub_release.pruned(name="Remove the hub's oldest releases", box=box)
summary.at_the_end()
