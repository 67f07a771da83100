"""Reboot, when nobody's kernel runs: pyinfra -y inventories/box.py tasks/reboot.py

Else it says who runs what, and the exit status is not 0; so it does where a process holds a GPU, or
NVIDIA's driver would not work in the kernel that boots next. `--data force=yes` reboots all the
same. Once the box is back the driver must work; the hub is waited for and used as a user does, as
in tasks/verify.py.
"""

from pyinfra import host

from operations import box, hub, turn

turn.take(name="One run at a time")
box.rebooted(name="Reboot", force=host.data.get("force") in (True, "yes"), box=host.data.get("box"))
hub.healthy(name="Health: does the hub answer through the proxy?", box=host.data.box)
hub.verified(name="Verify: use the hub as a user does", box=host.data.box)
