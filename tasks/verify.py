"""Does the hub do what it is for? pyinfra -y inventories/box.py tasks/verify.py

What a user does: log in through the form, start a server, run a cell in every published kernel,
stop. A table of results; the exit status is not 0 when anything fails.
"""

from pyinfra import host

from operations import hub

hub.verified(name="Verify: use the hub as a user does", box=host.data.box)
