"""Start a hub as its release and configuration would have it, where nobody notices.

It works on a copy of the database, listens where nobody asks, has no proxy, starts no service and
knows of no user's server.
"""

import asyncio
import os
import shutil
import socket
import sqlite3
import sys
from contextlib import closing

from jupyterhub.app import JupyterHub
from schema import copy, revision, revisions, upgrade
from tornado.httpclient import AsyncHTTPClient

PATIENCE = 60  # seconds


class Trial(JupyterHub):
    """A hub that leaves the world alone."""

    def init_proxy(self):
        """Have a proxy that is never asked for anything."""
        super().init_proxy()
        self.proxy.should_start = False
        self.proxy.get_all_routes = self.proxy.check_routes = nothing

    async def start_service(self, *_):
        """Take it for started."""
        return True


async def nothing(*_):
    """Do nothing, as a proxy without routes."""
    return {}


def database_of_its_own(database, directory):
    """A copy of the database, as this release will find it, without the servers that run."""
    path = os.path.join(directory, "trial.sqlite")
    if os.path.exists(database):
        copy(database, path)
        if revision(path) not in (None, revisions(sys.prefix)[0]):
            upgrade(sys.prefix, path)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE spawners SET server_id = NULL")
    return path


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def start(configuration, database):
    """Start the hub, and see whether it answers."""
    port = free_port()
    hub = Trial.instance()
    await hub.initialize(
        [f"--config={configuration}", f"--JupyterHub.db_url=sqlite:///{database}"]
        + [f"--JupyterHub.hub_bind_url=http://127.0.0.1:{port}", "--JupyterHub.upgrade_db=False"]
        + [
            "--JupyterHub.pid_file=",
            "--JupyterHub.log_level=CRITICAL",
            "--JupyterHub.answer_yes=True",
        ]
    )
    await hub.start()
    if not hub.internal_ssl:
        await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}{hub.hub_prefix}health")


def attempt(configuration, database):
    """Start a hub in a directory beside the database, which is gone afterwards.

    Raises:
        Exception, SystemExit: it does not start; what went wrong is on standard error.
    """
    directory = f"{database}.trial"
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory, 0o700)
    os.chdir(directory)
    try:
        own = database_of_its_own(database, directory)
        asyncio.run(asyncio.wait_for(start(configuration, own), PATIENCE))
    finally:
        os.chdir("/")
        shutil.rmtree(directory, ignore_errors=True)
