"""What is not everybody's business: secrets, homes, interfaces, and who may log in."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from shlex import quote

import pytest

from jupyterbox import layout
from tests.box.conftest import Operator
from tests.box.user import Kernel, User

SECRET_PLACES = [
    layout.DATABASE,
    layout.COOKIE_SECRET,
    layout.PROXY_ENVIRONMENT,
    layout.CONFIG,
    f"{layout.CONFIG_D}/50-secret.py",
    # Of an account that the settings name. Debian 12 leaves other accounts' homes open.
    "/home/demo/notebook.ipynb",
    "/root/.jupyterbox",
    "/etc/shadow",
]


def as_bob(box: Operator, command: str) -> str:
    """What a user gets who tries something in a shell."""
    return box.machine.run("cd / && runuser -u bob -- sh 2>&1", input=command).stdout


@pytest.fixture
def secret(box: Operator, ada: User, bob: User) -> Iterator[Kernel]:
    """Something in every place that is nobody's business; ada's server runs with a kernel."""
    files = f"{layout.CONFIG_D}/50-secret.py /home/demo/notebook.ipynb"
    box.sh(f"touch {files} && chmod 644 {files} && mkdir -p /root/.jupyterbox")
    with ada.kernel("python3") as kernel:
        assert kernel.execute("print(6 * 7)") == "42"
        yield kernel
    box.sh(f"rm {files}")


def test_secrets_and_homes_are_closed_to_users(box: Operator, secret: Kernel) -> None:
    for path in SECRET_PLACES:
        box.sh(f"test -e {path}")
        assert "Permission denied" in as_bob(box, f"cat {path}"), path
    # The same of whatever else lies beside them.
    places = f"/var/lib/jupyterhub /home/demo /root {layout.CONFIG_D}"
    assert as_bob(box, f"find {places} -mindepth 1 2>/dev/null") == ""


def test_nothing_of_the_deploy_is_writable_to_users(box: Operator, secret: Kernel) -> None:
    places = "/opt /var/lib/jupyterhub /var/cache/jupyterbox /etc /usr/local"
    assert as_bob(box, f"find {places} ! -type l -writable 2>/dev/null") == ""
    # And what they run is readable, whatever umask built it. (Locks are its builders'.)
    places = "/opt/conda/releases /opt/conda/envs /opt/jupyterhub/releases /opt/jupyterhub/share"
    assert as_bob(box, f"find {places} ! -readable ! -name '.*.lock' 2>&1") == ""


def test_no_token_is_where_users_can_read(box: Operator, secret: Kernel) -> None:
    token = box.sh(f"cut -d= -f2 {layout.PROXY_ENVIRONMENT}").strip()
    cookie = box.sh(f"cat {layout.COOKIE_SECRET}").strip()
    environment = box.sh(
        "tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value jupyter-ada-singleuser)/environ"
    )
    of_ada = dict(re.findall(r"^(JUPYTERHUB_API_TOKEN|JPY_API_TOKEN)=(.+)$", environment, re.M))
    assert of_ada, "ada's server has a token of its own"
    for text in {token, cookie, *of_ada.values()}:
        assert len(text) >= 32
        # The patterns come on standard input: on a command line, the search would find itself.
        found = box.machine.run(
            "cat > /run/pattern; chmod 600 /run/pattern;"
            " grep -rlsFf /run/pattern --devices=skip --exclude-dir=proc --exclude-dir=sys"
            " /etc /home /opt/jupyterhub/etc /opt/jupyterhub/share /run /tmp /root /srv /usr/local"
            " /var | grep -v ^/run/pattern"
            ' | xargs -rn 1 runuser -u bob -- sh -c \'test ! -r "$0" || echo "$0"\';'
            " cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -Ff /run/pattern;"
            " journalctl --no-pager -o cat | grep -Ff /run/pattern; rm /run/pattern",
            input=text,
        ).stdout
        assert found == ""
    # systemd tells everybody what a unit's environment is, unless it comes from a file.
    shown = as_bob(box, "systemctl show jupyter-ada-singleuser jupyterhub jupyterhub-proxy")
    assert "EnvironmentFiles=" in shown
    assert not [text for text in (token, *of_ada.values()) if text in shown]
    assert "JUPYTERHUB_API_TOKEN=" not in shown


def listeners(box: Operator) -> dict[int, set[str]]:
    """The addresses that the box's own processes listen on, by port."""
    found: dict[int, set[str]] = {}
    for line in box.sh("ss -Hltnp").splitlines():
        # Others' share this host's network, and have no process here.
        if "pid=" in line:
            address, _, port = line.split()[3].rpartition(":")
            found.setdefault(int(port), set()).add(address)
    return found


def test_only_the_proxys_front_listens_where_it_is_told_to(
    secret: Kernel, restored: Operator
) -> None:
    box, ports = restored, restored.machine.ports
    settings = box.settings()
    settings["hub"]["address"] = "127.0.0.2"
    box.deploy(settings)
    heard = listeners(box)
    assert heard.pop(ports["hub"]) == {"127.0.0.2"}
    assert heard.pop(ports["proxy_api"]) == {"127.0.0.1"}
    assert heard.pop(ports["hub_api"]) == {"127.0.0.1"}
    assert heard.pop(ports["ssh"]) == {"127.0.0.1"}
    # The rest are ada's and bob's servers and their kernels.
    assert heard
    assert set.union(*heard.values()) == {"127.0.0.1"}


def asked(box: Operator, url: str, *options: str) -> int:
    """The status that an address answers a user of the box with."""
    command = f"curl -s -o /dev/null -w '%{{http_code}}' --noproxy '*' {' '.join(options)} {url}"
    return int(as_bob(box, command))


def test_proxy_and_hub_answer_only_to_tokens(box: Operator, secret: Kernel) -> None:
    ports = box.machine.ports
    routes = f"http://127.0.0.1:{ports['proxy_api']}/api/routes"
    assert asked(box, routes) == 403
    assert asked(box, routes, "-H 'Authorization: token wrong'") == 403
    assert asked(box, f"{routes}/ada", "-X DELETE") == 403
    token = box.sh(f"cut -d= -f2 {layout.PROXY_ENVIRONMENT}").strip()
    answer = box.sh(f"curl -s --noproxy '*' -H 'Authorization: token {token}' {routes}")
    assert "/user/ada" in json.loads(answer)
    for api in (f"http://127.0.0.1:{ports['hub_api']}/hub/api", f"{box.machine.url}/hub/api"):
        for path in ("users", "users/ada", "info", "proxy", "shutdown"):
            method = "-X POST" if path == "shutdown" else ""
            assert asked(box, f"{api}/{path}", method) == 403, path


def test_a_users_server_is_nobody_elses(
    box: Operator, ada: User, bob: User, secret: Kernel
) -> None:
    kernel = secret.identity
    for path in ("api/kernels", f"api/kernels/{kernel}", "api/contents", "lab"):
        status, _, text = bob.fetch(f"{ada.server}{path}")
        assert status == 403, f"{path}: {status}"
        assert kernel not in text
    pid = box.main_pid("jupyter-ada-singleuser")
    direct = re.search(rf"127\.0\.0\.1:(\d+).*pid={pid},", box.sh("ss -Hltnp"))
    assert direct
    # Past the proxy, from a shell on the box, he gets no further.
    server = f"http://127.0.0.1:{direct[1]}/user/ada"
    assert asked(box, f"{server}/api/kernels") == 403
    assert asked(box, f"{server}/api/contents/notebook.ipynb") == 403
    assert asked(box, f"{server}/api/kernels", "-X POST") == 403
    runtime = "/home/ada/.local/share/jupyter/runtime"
    assert "kernel-" in box.sh(f"ls {runtime}")
    assert "Permission denied" in as_bob(box, f"cat {runtime}/kernel-{kernel}.json")
    assert "not permitted" in as_bob(box, f"kill -0 {pid}")


def test_root_and_service_accounts_are_refused_at_the_form(box: Operator, ada: User) -> None:
    box.sh(
        "useradd --system --create-home --shell /bin/bash robot"
        " && useradd --create-home --shell /usr/sbin/nologin guest"
        " && useradd --create-home --shell /bin/bash person"
        " && for name in root robot guest person; do echo $name:pass-of-$name; done | chpasswd"
    )
    try:
        for name in ("root", "robot", "guest"):
            with pytest.raises(AssertionError, match="not let in"):
                User(box.machine.url, name, f"pass-of-{name}").log_in()
        User(box.machine.url, "person", "pass-of-person").log_in()
        with pytest.raises(AssertionError, match="not let in"):
            User(box.machine.url, "person", "pass-of-root").log_in()
    finally:
        box.sh(
            "usermod -p '*' root; for name in robot guest person; do userdel -r $name; done 2>&1"
        )


LOOK_AT_PROCESSES = """
import os, sys, time
secret, seen, end = sys.stdin.readline().strip(), set(), time.monotonic() + 120
print("looking", flush=True)
while not os.path.exists("/run/looked") and time.monotonic() < end:
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline") as file:
                line = file.read().replace("\\0", " ")
        except OSError:
            continue
        if secret in line or "sudo -" in line:
            seen.add(("SECRET " if secret in line else "") + line[:60])
print("\\n".join(sorted(seen)))
"""


def test_no_list_of_processes_shows_a_password(box: Operator, bob: User) -> None:
    password = box.machine.opspw_password
    box.sh("rm -f /run/looked")
    looks = subprocess.Popen(
        [*box.machine.ssh_command(), f"runuser -u bob -- python3 -c {quote(LOOK_AT_PROCESSES)}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert looks.stdin and looks.stdout
    print(password, file=looks.stdin, flush=True)
    assert looks.stdout.readline() == "looking\n"
    box.deploy(user="opspw", env={"JUPYTERBOX_SUDO_PASSWORD": password})
    box.sh("touch /run/looked")
    seen, _ = looks.communicate()
    # What it looks for, it sees: pyinfra's commands under sudo.
    assert "sudo -H -A" in seen
    assert "SECRET" not in seen
    # And none is left where it was read from.
    assert box.sh("ls -A ~opspw/.jupyterbox") == ""
