"""Restore a hub: pyinfra -y inventories/box.py tasks/restore.py --data from=FILE

On a bare box, before the deploy that builds the rest. Nothing is changed where the archive is not
whole, or something on the box is in its way. `--data passphrase_file=PATH` decrypts it,
`--data force=yes` replaces the database of a hub that has users.
"""

from pyinfra import host

from jupyterbox.asked import Asked
from operations import restore, turn

asked = Asked(host.data)
source = asked.needed_path("from", "Say which backup: `--data from=FILE`.")
passphrase, force = asked.path("passphrase_file"), asked.yes("force")
asked.check()

turn.take(name="One run at a time")
restore.restored(
    name="Restore the backup",
    box=host.data.box,
    source=source,
    passphrase=passphrase,
    force=force,
)
