"""Start a hub as its release and configuration would have it, where nobody notices.

It works on a copy of the database, listens where nobody asks, has no proxy, starts no service and
knows of no user's server.
"""

import asyncio
import fcntl
import glob
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress

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


async def ended(task):
    """Await something; how it left the program, of which asyncio would make a traceback."""
    try:
        await task
    except SystemExit as error:
        return error


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


@contextmanager
def locked(directory, how=fcntl.LOCK_EX):
    """Hold a directory; nobody has to clean up after one that was killed.

    Raises:
        BlockingIOError: somebody else holds it, and `how` says not to wait.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def room_beside(database):
    """A directory beside the database, gone afterwards; the debris of dead trials is removed.

    Two trials may be under way: that of a run which has lost its connection goes on.
    """
    place, name = os.path.split(database)
    with locked(place):
        for left in glob.glob(f"{glob.escape(database)}.trial*"):
            with suppress(BlockingIOError), locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)
        directory = tempfile.mkdtemp(prefix=f"{name}.trial-", dir=place)
        held = ExitStack()
        held.enter_context(locked(directory))
    with held:
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def attempt(configuration, database):
    """Start a hub on a copy of the database, of which nothing is left afterwards.

    Raises:
        Exception, SystemExit: it does not start; what went wrong is on standard error.
    """
    with room_beside(database) as directory:
        os.chdir(directory)
        try:
            own = database_of_its_own(database, directory)
            gave_up = asyncio.run(asyncio.wait_for(ended(start(configuration, own)), PATIENCE))
        finally:
            os.chdir("/")
    if gave_up:
        raise gave_up
