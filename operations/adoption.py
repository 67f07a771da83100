"""Adoption: the deploy takes over a box that was made by hand from the article."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from io import StringIO
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand

from facts.by_hand import ByHand, HubByHand, Sets
from jupyterbox import layout
from jupyterbox.program import Commands, program, showing_progress
from jupyterbox.settings import Box
from operations.asking import ask
from operations.hub import rendered
from operations.hub_release import HEALTH_TIMEOUT, address_on_box

KNOWN = {
    # Options that the article's reader may have set, and the setting that says the same.
    "Spawner.default_url": "Hub(default_url=...)",
    "JupyterHub.bind_url": "Hub(address=..., port=..., base_url=...)",
    "JupyterHub.ip": "Hub(address=...)",
    "JupyterHub.port": "Hub(port=...)",
    "JupyterHub.base_url": "Hub(base_url=...)",
    "JupyterHub.hub_port": "Hub(hub_port=...)",
    "ConfigurableHTTPProxy.api_url": "Hub(proxy_api_port=...)",
    "Authenticator.admin_users": "Hub(admins=...)",
    "PAMAuthenticator.admin_groups": "Hub(admin_groups=...)",
    "Authenticator.allow_all": "Hub(), where nobody is named in allowed_users or allowed_groups",
    "Authenticator.allowed_users": "Hub(allowed_users=...)",
    "Authenticator.whitelist": "Hub(allowed_users=...)",
    "LocalAuthenticator.allowed_groups": "Hub(allowed_groups=...)",
    "PAMAuthenticator.allowed_groups": "Hub(allowed_groups=...)",
}
"""Only said to the operator: what shall be is said by the settings, and by nothing on the box."""

TAKEN = ("JupyterHub.db_url", "JupyterHub.cookie_secret_file", "JupyterHub.upgrade_db")
"""Those that adoption itself answers."""


@operation()
def take_over(box: Box, adopt: Any = None) -> Commands:
    """Take over a hub that was made by hand, and keep the article's path to its commands.

    + box: what it shall be
    + adopt: `yes` where users' servers that run in it may end with it, and where its users need
      not move over
    """
    there = ask(ByHand)
    if there["hub"]:
        yield from adopted(box, adopt == "yes")
        return
    if there["commands"]:
        host.noop("no hub was made by hand")
        return
    link = f"{layout.ROOT}/.bin.new"
    yield f"ln -sfn current/bin {link} && mv -T {link} {layout.ROOT}/bin"


def adopted(box: Box, insisted: bool) -> Iterator[str | PyinfraCommand]:
    """Everything of the new hub is laid out and checked first; the program does the rest."""
    waiting = f"{layout.STATE}/adopting"
    staged = {path: f"{waiting}/{posixpath.basename(path)}" for path in rendered(box)}
    # root alone reads what is in there: the configuration may hold secrets.
    yield f"mkdir -p -m 700 {layout.STATE} && chmod 700 {layout.STATE} && mkdir -p {waiting}"
    for path, content in rendered(box).items():
        yield FileUploadCommand(StringIO(content), staged[path])
    load = program(
        "load_config",
        python=f"{layout.CURRENT}/bin/python",
        path=staged[layout.CONFIG],
        known_as=layout.CONFIG,
        unit=layout.HUB_UNIT,
    )
    takeover = program(
        "adopt",
        root=layout.ROOT,
        state_dir=layout.STATE,
        kept=layout.BY_HAND,
        unit=layout.unit_file(layout.HUB_UNIT),
        proxy=layout.PROXY_UNIT,
        files=staged,
        private=[layout.CONFIG_D],
        url=f"{address_on_box(box.hub)}hub/health",
        timeout=HEALTH_TIMEOUT,
        insisted=insisted,
    )
    yield load
    yield showing_progress(takeover)
    yield StringCommand("rm -rf", waiting)


def problems(box: Box, found: HubByHand, adopt: Any) -> Iterator[str]:
    """Why a hub that was made by hand cannot be taken over, or not now."""
    if found["taken_over"]:
        return
    if found["elsewhere"]:
        yield (
            f"{found['unit']} was made by hand and starts {found['elsewhere']}, which is not the "
            f"article's hub in {layout.ROOT}: stop and disable it, and move its file away."
        )
        return
    if found["overridden"]:
        yield (
            f"{found['overridden']} has the command of the hub that was made by hand, and would "
            f"have the new one start that: say it in {found['unit']}, and remove it there."
        )
    if found["other_database"] and "db_url" not in box.hub.extra_config:
        yield (
            f"{found['other_database']}, has the hub that was made by hand "
            "use a database that is no sqlite file: say the same in Hub(extra_config=...), and it "
            "stays where it is."
        )
    if adopt == "yes":
        return
    if found["misses"]:
        yield (
            f"the hub that was made by hand has no database at {found['misses']}, where it would "
            "have it by its unit and its configuration: say in that where it is "
            "(c.JupyterHub.db_url), or deploy with --data adopt=yes, and with none of its users."
        )
    if found["servers"]:
        yield (
            f"servers of {', '.join(found['servers'])} run in the hub that was made by hand, and "
            "would end with it, their kernels too: wait until they are stopped, or deploy with "
            "--data adopt=yes."
        )
    named = [
        s["value"] for s in found["sets"] if s["option"].endswith((".allowed_users", ".whitelist"))
    ]
    if named and not (box.hub.allowed_users or box.hub.allowed_groups):
        yield (
            f"the hub that was made by hand lets in {named[-1] or 'some users'} alone, and the "
            "settings let in any account of the box: say Hub(allowed_users=[...]), or deploy with "
            "--data adopt=yes."
        )


def told(box: Box, found: HubByHand) -> Iterator[str]:
    """What is about to be taken over, a line each."""
    if found["taken_over"]:
        yield f"what is left of the hub that was made by hand goes to {layout.BY_HAND}."
        return
    users = f"{len(found['users'])} users ({', '.join(found['users'][:12])})"
    yield f"the hub that was made by hand is taken over, with {users}, tokens and logins."
    yield f"its files are kept in {layout.BY_HAND}, with a README on how to go back."
    if found["servers"]:
        yield f"the servers of {', '.join(found['servers'])} end with it, and their kernels."
    for one in found["sets"]:
        if one["option"] not in TAKEN and not carried(one, box):
            yield f"{posixpath.basename(found['config'] or '')}, line {one['line']}: {advice(one)}"


def carried(one: Sets, box: Box) -> bool:
    """Whether the new hub has the same."""
    if one["option"] == "Authenticator.allow_all":
        return not (box.hub.allowed_users or box.hub.allowed_groups)
    return one["option"] == "Spawner.default_url" and one["value"] == box.hub.default_url


def advice(one: Sets) -> str:
    """What to do about an option that is not carried over."""
    if one["option"] in KNOWN:
        return f"{one['option']} is not carried over: it is said by {KNOWN[one['option']]}."
    return (
        f"{one['option']} is not carried over: what shall stay goes into Hub(extra_config=...) or "
        f"a file in {layout.CONFIG_D}."
    )
