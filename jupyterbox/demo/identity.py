"""What tells one box from another: its name, keys, ports and passwords."""

import os
import secrets
import shutil
import socket
import subprocess
import uuid
from collections.abc import Collection
from pathlib import Path

# Each server that a box and its deploy need has a port of its own, below the range that the
# kernel takes outgoing connections' ports from (32768 and up): none of those then occupies one
# while its server is down.
SERVERS = ("ssh", "hub", "proxy_api", "hub_api", "channel")
PORTS = range(20000, 32000)

ACCOUNTS = {"root": "root", "ops": "home/ops", "opspw": "home/opspw"}


def choose_ports(taken: Collection[int]) -> dict[str, int]:
    """The first free ports on this host, one for each of `SERVERS`.

    Args:
        taken: ports that are promised already, though nobody may listen on them now.
    """
    free = (port for port in PORTS if port not in taken and _is_free(port))
    return {server: next(free) for server in SERVERS}


def crypt(password: str) -> str:
    """A password as crypt(5) has it, SHA-512.

    Perl computes it, since every Debian has that and Python 3.13 no longer can; it reads the
    password from its input, where no list of processes shows it.
    """
    return subprocess.run(
        ["perl", "-e", "print crypt(<STDIN>, $ARGV[0])", f"$6${secrets.token_hex(8)}"],
        input=password,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair, and return the public one."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True
    )
    return path.with_name(f"{path.name}.pub").read_text().strip()


def set_name(root: Path, name: str) -> None:
    """Give a box its hostname and an identity; it knows the hosts that its host knows."""
    etc = root / "etc"
    (etc / "hostname").write_text(f"{name}\n")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    shutil.copy("/etc/hosts", etc / "hosts")
    with (etc / "hosts").open("a") as hosts:
        hosts.write(f"127.0.1.1 {name}\n")


def make_sshd(root: Path, address: str, port: int) -> str:
    """Have a box's sshd listen in one place only, and return its new public host key."""
    ssh = root / "etc/ssh"
    (ssh / "sshd_config.d/demo.conf").write_text(f"ListenAddress {address}\nPort {port}\n")
    return make_key(ssh / "ssh_host_ed25519_key", "host")


def authorize(root: Path, public_key: str) -> None:
    """Let the holder of a key log in to all accounts of a box."""
    for home in ACCOUNTS.values():
        directory = root / home / ".ssh"
        keys = directory / "authorized_keys"
        keys.write_text(f"{public_key}\n")
        owner = directory.stat()
        os.chown(keys, owner.st_uid, owner.st_gid)


def _is_free(port: int) -> bool:
    """Whether nobody listens on a port of 127.0.0.1."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
