"""Remove an environment, or everything: pyinfra inventories/box.py tasks/remove.py --data env=NAME

`--data env=NAME` removes an environment that is not declared any more: its kernels from the
launcher, its link, its releases. `--data everything=yes` removes whatever deploys have put on the
box, and what users have in their homes stays; see docs/operating.md. Either says who uses what is
to be removed, and changes nothing then; `--data force=yes` removes it all the same.
"""

from pyinfra import host

from jupyterbox.asked import Asked
from operations import removal, turn

asked = Asked(host.data)
everything, force = asked.yes("everything"), asked.yes("force")
asked.check()

turn.take(name="One run at a time")
removal.remove(
    box=host.data.box,
    env=host.data.get("env"),
    everything=everything,
    force=force,
)
