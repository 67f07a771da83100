"""Restore a hub: pyinfra -y inventories/box.py tasks/restore.py --data from=FILE

On a bare box, before the deploy that builds the rest. Nothing is changed where the archive is not
whole, or something on the box is in its way. `--data passphrase_file=PATH` decrypts it,
`--data force=yes` replaces the database of a hub that has users.
"""

from pathlib import Path

from pyinfra import host
from pyinfra.api.exceptions import DeployError

from operations import restore, turn

source, passphrase = host.data.get("from"), host.data.get("passphrase_file")
if not source:
    raise DeployError("Say which backup: --data from=FILE")

turn.take(name="One run at a time")
restore.restored(
    name="Restore the backup",
    box=host.data.box,
    source=Path(source),
    passphrase=Path(passphrase) if passphrase else None,
    force=host.data.get("force") in (True, "yes"),
)
