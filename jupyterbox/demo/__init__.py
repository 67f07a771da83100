"""The demo box: a disposable machine of its own on this host, to show and to test the deploy.

`root` builds the bare Debian or Ubuntu that it starts from, `machine` boots it with
systemd-nspawn and reaches it over real SSH, `conda` finds out where its conda comes from.
"""

from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

# The checkout: what is deployed to a demo box is run from there.
REPOSITORY = Path(__file__).parents[2]


class DemoError(PyinfraError):
    """What went wrong with a demo box, in one sentence for the person at the terminal."""
