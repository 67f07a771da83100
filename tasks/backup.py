"""Take a backup of the hub, while it runs: pyinfra -y inventories/box.py tasks/backup.py

Database, secrets, the operator's configuration, locks, accounts with their passwords; one archive
in backups/. `--data to=DIR` keeps it elsewhere on this machine, `--data on_box=DIR` on the box.
`--data homes=yes` takes people's homes, too; `--data passphrase_file=PATH` encrypts it.
"""

from pathlib import Path

from pyinfra import host

from operations import backup, turn

passphrase = host.data.get("passphrase_file")

turn.take(name="One run at a time")
backup.taken(
    name="Take a backup",
    box=host.data.box,
    to=Path(host.data.get("to") or "backups"),
    on_box=host.data.get("on_box"),
    homes=host.data.get("homes") in (True, "yes"),
    passphrase=Path(passphrase) if passphrase else None,
)
