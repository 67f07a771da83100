"""Back to a release from before: pyinfra -y inventories/box.py tasks/rollback.py

The hub's, or with `--data env=NAME` an environment's; to the one that was current before, or to
`--data release=ID`. Nothing is downloaded, and what users run lives on. A hub that goes back to an
older schema gets the database that was copied before the change; what that loses is said.

The next deploy returns to what the settings declare: to stay, say so there.
"""

from pyinfra import host

from operations import environments, hub, hub_release, turn

box = host.data.box
environment, release = host.data.get("env"), host.data.get("release")

turn.take(name="One run at a time")
if environment is not None:
    environments.rolled_back(
        name=f"Roll {environment} back", environment=environment, release=release, box=box
    )
else:
    hub_release.rolled_back(name="Roll the hub back", box=box, release=release)
    hub.healthy(name="Health: does the hub answer through the proxy?", box=box)
