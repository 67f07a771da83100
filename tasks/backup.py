"""Take a backup of the hub, while it runs: pyinfra -y inventories/box.py tasks/backup.py

Database, secrets, the operator's configuration, locks, accounts with their passwords; one archive
in backups/. `--data to=DIR` keeps it elsewhere on this machine, `--data on_box=DIR` on the box.
`--data homes=yes` takes people's homes, too; `--data passphrase_file=PATH` encrypts it.
"""

from pathlib import Path

from pyinfra import host

from jupyterbox.asked import Asked
from operations import backup, turn

asked = Asked(host.data)
asked.not_both("to", "on_box")
to, on_box, homes = asked.path("to"), asked.path_on_box("on_box"), asked.yes("homes")
passphrase = asked.path("passphrase_file")
asked.check()

turn.take(name="One run at a time")
backup.taken(
    name="Take a backup",
    box=host.data.box,
    to=to or Path("backups"),
    on_box=on_box,
    homes=homes,
    passphrase=passphrase,
)
