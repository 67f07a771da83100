"""Record what real boxes, and the uv that the lock pins, answer: python -m tests.record WHAT...

    bare      a fresh box of every supported release
    deployed  a box after the demo's deploy
    hub       its hub: in use, and after things happened to it
    system    the system: bare, after a deploy, with units that failed, and not up to date
    uv        uv's own errors; the network is asked for packages that are not there
    facts     what pyinfra says of a box to `jupyterbox status`, and the answers in docs/facts.md
    examples  the answers there of boxes with GPUs, made of recordings
    archives  what the distributions' archives have of NVIDIA's driver, and what apt would install

The unit tests read the recordings under tests/recorded; after a fact or a program asks another
question, they are made anew. Boxes are the demo's (root, and about a minute each).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyinfra.api.command import StringCommand

from facts.box import System
from facts.conda import CondaReleases
from facts.hub import Hub, HubActivity
from facts.jupyter import Kernelspecs, PublishedKernelspecs
from facts.locks import ReleaseRecords
from facts.packages import AptRepositories, MissingPackages, Site
from facts.preflight import Access, Preflight
from facts.users import Accounts
from jupyterbox import asking, layout
from jupyterbox.demo.conda import conda_mirror, stop_channel
from jupyterbox.demo.inventory import demo_settings
from jupyterbox.demo.machine import Machine
from jupyterbox.settings import BASE_PACKAGES, REPOSITORY
from operations.packages import ASIDE, MIRROR, PIP_CONF
from tests.answers import write_answers
from tests.archives import KERNELS, record_archives
from tests.box.user import User, wait_for
from tests.examples import example
from tests.unit.remote import module

RECORDED = REPOSITORY / "tests/recorded"
TOOLS = Path(sys.executable).parent

RELEASES = {
    "bookworm": "Debian 12",
    "trixie": "Debian 13",
    "jammy": "Ubuntu 22.04",
    "noble": "Ubuntu 24.04",
    "resolute": "Ubuntu 26.04",
}

PREFLIGHT = Preflight().command(
    paths=[layout.ROOT, "/opt/conda", layout.STATE], units=[layout.HUB_UNIT, layout.PROXY_UNIT]
)
SHOW = f"TZ=UTC systemctl show -p {','.join(['Id', *module('hub_state').FIELDS])}"
SHOW_BOTH = f"{SHOW} {layout.HUB_UNIT} {layout.PROXY_UNIT}"
SHOW_SERVERS = f"TZ=UTC systemctl show -p {','.join(['Id', *module('hub_activity').FIELDS])}"
JOURNAL = (
    f"journalctl --quiet --no-pager --lines=100 --unit={layout.HUB_UNIT} --output=json "
    f"--output-fields=MESSAGE,{','.join(module('journal').RUN)}"
)

# Everything of the schema; of the rows what is no secret.
DATABASE = f"""
import json, sqlite3
columns = {{
    "users": "id, name, admin, created, last_activity",
    "servers": "id, proto, ip, port, base_url",
    "spawners": "id, user_id, server_id, state, name, started, last_activity",
    "roles": "id, name, description, managed_by_auth",
    "user_role_map": "user_id, role_id, managed_by_auth",
}}
database = sqlite3.connect("file:{layout.DATABASE}?mode=ro", uri=True)
database.row_factory = sqlite3.Row
schema = database.execute("SELECT sql FROM sqlite_master WHERE type = 'table'")
print(json.dumps({{
    "schema": [table["sql"] for table in schema],
    "rows": {{
        table: [dict(row) for row in database.execute(f"SELECT {{names}} FROM {{table}}")]
        for table, names in columns.items()
    }},
}}, indent=1))
"""

CONDA = "/opt/conda"

# Names that a terminal and rich would act on; a kernel and an environment that are gone.
DAMAGE = rf"""
cp -r {layout.KERNELS}/python3 '{layout.KERNELS}/[red]mine'
cat > '{layout.KERNELS}/[red]mine/kernel.json' << 'END'
{{"argv": ["/nowhere/bin/python", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"],
 "display_name": "[bold]\u001b]0;title\u0007\u001b[31mred\n[/bold]", "language": "python"}}
END
ln -s ../releases/gone/0123456789ab {CONDA}/envs/gone
echo 'c.JupyterHub.no_such_setting = 1' >> {layout.CONFIG}
systemctl stop jupyterhub
"""

# The article's commands, and `python3`, which is the name where none is given.
OWN_KERNELS = """su - demo -c '
conda create --yes --name tf2 python ipykernel
conda run --name tf2 python -m ipykernel install --user --name tf2 --display-name "TF 2"
conda run --name tf2 python -m ipykernel install --user
rm -r ~/.conda/envs/tf2'
"""

SYSTEMCTL_FAILED = " ".join(["TZ=UTC", *module("system_state").FAILED, "-.slice", "'*'"])
SIMULATE = "apt-get --simulate -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= dist-upgrade"
LISTS = "/var/lib/apt/lists"

# As Ubuntu 24.04 was released; there have been security updates of each since.
OLD = ["less=590-2ubuntu2", "gzip=1.12-1ubuntu3", "libexpat1=2.6.1-2build1"]
SOME = "awk -v RS= -v ORS='\\n\\n' '/^Package: (dpkg|bash|less|gzip|libexpat1)\\n/'"

UV_HASHES = ["--no-deps", "--generate-hashes", "--format", "pylock.toml", "--no-header", "--quiet"]
# A wheel for everybody, one for this system, both, and none.
UV_HASHED = ["six==1.16.0", "markupsafe==3.0.3", "wrapt==1.16.0", "antlr4-python3-runtime==4.9.3"]
UV = {
    "no-such-package": ["no-such-package-jupyterbox-xyz"],
    "no-such-version": ["six==99"],
    "conflict": ["six==1.16.0", "six==1.15.0"],
    "constraint": ["--constraints", "constraints.txt", "six>=1.16"],
    "no-wheel": ["--no-build", "numpy==1.9.0"],
    "malformed-spec": ["six=1.16"],
    "option-in-spec": ["six --foo"],
    "index-refuses": ["--default-index", "http://127.0.0.1:9/simple", "six"],
    "index-unknown-host": ["--default-index", "http://no-such-host.invalid/simple", "six"],
    "url-refused": ["https://127.0.0.1:9/x-1.0-py3-none-any.whl"],
    "build-fails": ["pycurl==7.43.0.1"],
    "no-python": ["--python", "/nowhere/bin/python", "six"],
}


def write(name: str, where: str, text: str) -> None:
    """A recording, with a line that says where it comes from."""
    path = RECORDED / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {where}\n{text}")
    print(f"{path.relative_to(REPOSITORY)}: {len(text.splitlines())} lines", flush=True)


@contextmanager
def box(release: str, name: str = "") -> Iterator[Machine]:
    """A fresh box that has booted."""
    machine = Machine.create(f"record-{name or release}", release)
    try:
        machine.boot()
        machine.wait_for_ssh()
        yield machine
    finally:
        stop_channel(machine)
        machine.destroy()


class Recorder:
    """What one box says."""

    def __init__(self, machine: Machine, system: str) -> None:
        self.machine, self.system = machine, system

    def __call__(
        self, name: str, asked: str, command: str | StringCommand, user: str = "root"
    ) -> None:
        """Record what a command prints there."""
        line = command if isinstance(command, str) else command.get_raw_value()
        done = self.machine.run(line, user=user, check=True)
        write(name, f"What {asked} printed on {self.system}.", done.stdout)

    def fact(
        self, name: str, fact: Any, after: str = "", user: str = "root", **arguments: Any
    ) -> None:
        """Record what a fact's command prints there, after something happened."""
        cls = type(fact)
        asked = f"{cls.__module__}.{cls.__name__}'s command"
        who = "" if user == "root" else f" to {user}"
        command = arguments.pop("command", None) or fact.command(**arguments)
        self(name, f"{asked}{who}{after}", command, user)

    def whole(self, name: str) -> None:
        """Record what the box says of itself as a whole, but for the build of its host's kernel."""
        said = self.machine.run(System().command().get_raw_value(), check=True).stdout
        kernel = os.uname().release
        text = said.replace(kernel, kernel.partition("-")[0])
        write(
            f"box/system-{name}", f"What facts.box.System's command printed on {self.system}.", text
        )


def bare(release: str) -> None:
    """What a fresh box says."""
    with box(release) as machine:
        record = Recorder(machine, f"a bare {RELEASES[release]}")
        record.fact(f"preflight/{release}", Preflight(), command=PREFLIGHT)
        record.fact(f"packages/missing-{release}", MissingPackages(), packages=BASE_PACKAGES)
        record.fact(f"packages/repositories-{release}", AptRepositories())
        record.fact(f"packages/site-{release}", Site(), apt=MIRROR, pip=PIP_CONF, aside=ASIDE)
        for user in ("root", "ops", "opspw"):
            record.fact(f"preflight/access-{user}-{release}", Access(), user=user)
        if release != "trixie":
            return
        record.fact("conda/state-bare", CondaReleases())
        record.fact("jupyter/state-bare", PublishedKernelspecs(), environments=["python3"])
        record.fact("jupyter/kernelspecs-bare", Kernelspecs())
        names = ["root", "ops", "opspw", "nobody", "ada"]
        record.fact("users/accounts", Accounts(), users=names, groups=["sudo", "lab"])
        machine.run(f"mkdir -m 755 {layout.WORKSPACE}", user="ops", check=True)
        record.fact(
            "preflight/access-open-workspace", Access(), " with a workspace of mode 755", "ops"
        )
        machine.run("rm /usr/bin/sudo", check=True)
        record.fact("preflight/access-no-sudo", Access(), " without sudo", "ops")


def deployed() -> None:
    """What a box says after the demo's deploy."""
    with box("trixie") as machine:
        deploy(machine)
        settings = {key: demo_settings(machine)[key] for key in ("hub", "environments")}
        where = "What the box of the recordings named `deployed` was declared to be."
        write("deployed", where, json.dumps(settings, indent=1) + "\n")
        record = Recorder(machine, "Debian 13 after a deploy")
        environments = [environment["name"] for environment in settings["environments"]]
        record.fact("preflight/deployed", Preflight(), command=PREFLIGHT)
        record.fact("conda/state-deployed", CondaReleases())
        record.fact("conda/records", ReleaseRecords(), environments="python3,nothing")
        record.fact("jupyter/state-deployed", PublishedKernelspecs(), environments=environments)
        record.fact("jupyter/kernelspecs-deployed", Kernelspecs())
        machine.run(OWN_KERNELS, check=True)
        machine.run(f"rm {layout.KERNELS}/anaconda3/kernel.json", check=True)
        gone = " once a user's environment and a kernel.json had been removed"
        record.fact("jupyter/kernelspecs-broken", Kernelspecs(), gone)


def hub() -> None:
    """What a box says of its hub: bare, deployed, in use, and after things happened to it."""
    with box("trixie", "hub") as machine:
        bare = Recorder(machine, "a bare Debian 13")
        bare.fact("hub/state-bare", Hub())
        bare.fact("hub/activity-bare", HubActivity())
        deploy(machine)
        record = Recorder(machine, "Debian 13 after a deploy")
        record("hub/release", "a hub's release.json", f"cat {layout.RELEASES}/*/release.json")
        record("hub/systemctl-absent", f"`{SHOW} absent`", f"{SHOW} absent.service")
        record("hub/systemctl-active", f"`{SHOW_BOTH}`", SHOW_BOTH)
        record.fact("hub/state-deployed", Hub())
        hub_in_use(machine, record)
        hub_with_news(machine, record)
        hub_misconfigured(machine, record)


def hub_in_use(machine: Machine, record: Recorder) -> None:
    """What it says when an admin has a server with two kernels."""
    role = 'c.JupyterHub.load_roles.append({"name": "admin", "users": ["demo"]})'
    machine.run(f"echo '{role}' > {layout.CONFIG_D}/10-admin.py", check=True)
    machine.run("systemctl restart jupyterhub", check=True)
    user = User(machine.url, "demo", machine.demo_password)
    wait_for(lambda: user.fetch(f"{machine.url}/hub/login")[0] == 200, "the hub")
    user.log_in()
    user.start_server()
    with user.kernel("python3") as one, user.kernel("anaconda3") as other:
        one.execute("1"), other.execute("1")
        after = " while a user had two kernels"
        record.fact("hub/activity-used", HubActivity(), after)
        record("hub/database", f"the hub's database{after}", f"python3 - << 'END'\n{DATABASE}END")
        servers = "'jupyter-*-singleuser.service' jupyter-nobody-singleuser.service"
        record("hub/systemctl-servers", f"`{SHOW_SERVERS} {servers}`", f"{SHOW_SERVERS} {servers}")
    machine.run(f"rm {layout.CONFIG_D}/10-admin.py && systemctl restart jupyterhub", check=True)


def hub_with_news(machine: Machine, record: Recorder) -> None:
    """What it says when units have something to read, and are stopped and disabled."""
    machine.run(f"touch {layout.CONFIG}", check=True)
    record.fact("hub/state-newer", Hub(), " once the configuration had been touched")
    machine.run(f"echo >> {layout.unit_file(layout.HUB_UNIT)}", check=True)
    record.fact("hub/state-reload", Hub(), " once the unit had been changed as well")
    record("hub/systemctl-reload", f"`{SHOW} jupyterhub` then", f"{SHOW} jupyterhub")
    machine.run("systemctl stop jupyterhub", check=True)
    record.fact("hub/state-stopped", Hub(), " once it had been stopped as well")
    record("hub/systemctl-stopped", f"`{SHOW} jupyterhub` then", f"{SHOW} jupyterhub")
    machine.run("systemctl daemon-reload && systemctl start jupyterhub", check=True)
    machine.run("systemctl disable jupyterhub", check=True)
    record.fact("hub/state-disabled", Hub(), " once it had been started and disabled")


def hub_misconfigured(machine: Machine, record: Recorder) -> None:
    """What it says of a configuration that the hub does not recognize, and of one that ends it."""
    # Long enough to be looked at between one end and the next start.
    slowly = f"{layout.unit_file(layout.HUB_UNIT)}.d/slowly.conf"
    machine.run(f"install -D /dev/stdin {slowly}", input="[Service]\nRestartSec=60\n", check=True)
    machine.run("systemctl daemon-reload; systemctl enable jupyterhub", check=True)
    for name, content in {
        "unrecognized": "c.JupyterHub.prot = 8000\nc.JupyterHub.no_such_option = 1\n",
        "failed": "c.JupyterHub.services = []\nc.Spawner.mem_limit = 1 / 0\n",
    }.items():
        path = f"{layout.CONFIG_D}/50-mine.py"
        machine.run(f"cat > {path}", input=content, check=True)
        # The journal then has nothing but this.
        machine.run("journalctl --rotate --vacuum-time=1s; systemctl reset-failed", check=True)
        machine.run("systemctl restart jupyterhub; sleep 15", check=True)
        after = f" with {content!r} in its configuration"
        record.fact(f"hub/state-{name}", Hub(), after)
        record(f"hub/journal-{name}", f"`{JOURNAL}`{after}", JOURNAL)
        record(f"hub/systemctl-{name}", f"`{SHOW} jupyterhub`{after}", f"{SHOW} jupyterhub")


def deploy(machine: Machine) -> None:
    """Make of a box what the demo's deploy makes of it."""
    machine.conda = conda_mirror(machine, print)
    machine.save()
    command = [str(TOOLS / "pyinfra"), "-y", "inventories/demo.py", "deploy.py"]
    env = {**os.environ, "JUPYTERBOX_DEMO": machine.name}
    subprocess.run(command, cwd=REPOSITORY, env=env, check=True)


def system() -> None:
    """What a box says of itself as a whole."""
    with box("trixie", "system") as machine:
        record = Recorder(machine, "a bare Debian 13")
        record.whole("bare")
        record("box/mountinfo", "/proc/self/mountinfo", "cat /proc/self/mountinfo")
        record("box/failed-none", f"`{SYSTEMCTL_FAILED}`", SYSTEMCTL_FAILED)
        machine.run("apt-get update", check=True)
        heads = f"head --lines=10 {LISTS}/*_InRelease"
        record("box/releases-trixie", f"`{heads}`", heads)
        deploy(machine)
        record = Recorder(machine, "Debian 13 after a deploy")
        record.whole("deployed")
        slow = "systemd-run --unit=slow --property=RuntimeMaxSec=1 sleep 9"
        machine.run(f"systemd-run --unit=broken false; {slow}; sleep 3", check=True)
        record("box/failed-two", f"`{SYSTEMCTL_FAILED}` then", SYSTEMCTL_FAILED)
    with box("noble", "system") as machine:
        old = "apt-get install --yes --allow-downgrades"
        machine.run(f"apt-get update && {old} {' '.join(OLD)} && apt-mark hold less", check=True)
        record = Recorder(machine, "Ubuntu 24.04 with some packages as released, one of them held")
        record.whole("outdated")
        record("box/releases-noble", f"`{heads}`", heads)
        record("box/simulated", f"`{SIMULATE}`", SIMULATE)
        for name, file in {
            "dpkg-status": "/var/lib/dpkg/status",
            "security-packages": f"{LISTS}/*-security_main_binary-*_Packages",
        }.items():
            record(f"box/{name}", f"awk, of some packages in {file},", f"{SOME} {file}")


def facts() -> None:
    """What a box says to all facts: bare, in use, damaged, and where it is not to be asked."""
    with box("trixie", "facts") as machine:
        ask = Asker(machine)
        ask.all("bare", "a bare Debian 13")
        deploy(machine)
        with in_use(machine):
            ask.all("used", "Debian 13 in use, with a package that pip has added")
            write_answers(ask)
            machine.run(DAMAGE, check=True)
            ask.all("damaged", "the same once it had been damaged")
        opspw = ["--data", "ssh_user=opspw", "--data", "_sudo=true"]
        ask.all("password", "the same to an account whose sudo asks for a password", *opspw)
        ask.all("refused", "the same to it with a wrong one", *opspw, "--data", "_sudo_password=no")
        machine.kill()
        ask.all("unreachable", "the same once it had been switched off")


@contextmanager
def in_use(machine: Machine) -> Iterator[None]:
    """A box on which somebody has an environment of their own, and a kernel that runs."""
    machine.run("/opt/conda/envs/anaconda3/bin/python -m pip install humanize", check=True)
    user = User(machine.url, "demo", machine.demo_password)
    user.log_in()
    user.start_server()
    python = machine.conda.get("python", "3.13")
    with user.terminal() as terminal:
        terminal.run(f"conda create --yes --name tf2 python={python} ipykernel", seconds=300)
        terminal.run("conda activate tf2")
        terminal.run('python -m ipykernel install --user --name tf2 --display-name "TF 2"')
    with user.kernel("python3") as kernel:
        kernel.execute("numbers = list(range(10**6))")
        yield


class Asker:
    """Asks a box facts by pyinfra's command line; what tells of this machine is left out."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.inventory = REPOSITORY / "inventories/demo.py"
        os.environ["JUPYTERBOX_DEMO"] = machine.name

    def __call__(self, asked: str) -> Any:
        """What a fact with its arguments, in a line, is on the box."""
        done = asking.pyinfra(self.inventory, "fact", *asked.split())
        [by_host] = json.loads(self.masked(done.stdout)).values()
        return by_host[self.machine.ssh_host]

    def all(self, name: str, where: str, *options: str) -> None:
        """Record what pyinfra prints and logs when it is asked everything, and nobody types."""
        words = [word for fact in asking.FACTS.values() for word in asking.question(fact, CONDA)]
        done = subprocess.run(
            asking.command(self.inventory, "fact", *words, *options),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            # No terminal to ask for a password at.
            start_new_session=True,
        )
        said = f"of {where}, asked for all that `jupyterbox status` shows"
        write(f"status/{name}", f"pyinfra's answer {said}.", self.masked(done.stdout))
        write(f"status/{name}-log", f"pyinfra's log {said}.", self.masked(done.stderr))

    def masked(self, text: str) -> str:
        """Without the names of this machine, of its mirrors and of its kernel's build."""
        places = filter(None, [self.machine.python_index, self.machine.npm_registry])
        names = {urlsplit(place).hostname or "": "mirror.example.org" for place in places}
        names |= {self.machine.name: "demo", str(TOOLS.parent): "./.venv", str(REPOSITORY): "."}
        release = os.uname().release
        names[release] = release.partition("-")[0]
        for name, shown in names.items():
            text = text.replace(name, shown)
        return text


def uv() -> None:
    """What uv says when it fails."""
    program = str(TOOLS / "uv")
    version = subprocess.check_output([program, "--version"], text=True).split()[1]
    with tempfile.TemporaryDirectory() as folder:
        venv = [program, "venv", "--quiet", "--python", "/usr/bin/python3", "v"]
        subprocess.run(venv, cwd=folder, check=True)
        Path(folder, "constraints.txt").write_text("six==1.15.0\n")
        for name, arguments in UV.items():
            python = [] if "--python" in arguments else ["--python", "v/bin/python"]
            done = subprocess.run(
                [program, "--no-config", "pip", "install", *python, *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                env={**os.environ, "UV_CACHE_DIR": f"{folder}/cache"},
            )
            assert done.returncode, f"{name} did not fail"
            said = done.stderr.replace(folder, "/tmp")
            shown = " ".join(map(repr, arguments))
            write(f"uv/{name}", f"uv {version}, stderr of: uv pip install {shown}", said)
        uv_answers(program, version, folder)


def uv_answers(program: str, version: str, folder: str) -> None:
    """What uv says of packages in an index, and of a venv whose packages do not fit."""
    cache = {**os.environ, "UV_CACHE_DIR": f"{folder}/cache"}
    uv_pip = [program, "--no-config", "pip"]
    python = ["--python", "v/bin/python"]
    install = [*uv_pip, "install", "--quiet", *python, "--no-deps", "jupyter_client==8.0.0"]
    subprocess.run([*install, "tornado==4.5.3"], cwd=folder, check=True, env=cache)
    for name, stream, arguments in (
        ("hashes", "stdout", ["compile", *UV_HASHES, *python, "-"]),
        ("check", "stderr", ["check", *python]),
    ):
        done = subprocess.run(
            [*uv_pip, *arguments],
            cwd=folder,
            input="".join(f"{package}\n" for package in UV_HASHED),
            capture_output=True,
            text=True,
            env=cache,
        )
        head = f"uv {version}, {stream} of: uv pip {' '.join(arguments)}"
        write(f"uv/{name}", head, getattr(done, stream))


if __name__ == "__main__":
    for what in sys.argv[1:] or sys.exit(__doc__):
        if what == "bare":
            for release in RELEASES:
                bare(release)
        elif what == "deployed":
            deployed()
        elif what == "hub":
            hub()
        elif what == "system":
            system()
        elif what == "uv":
            uv()
        elif what == "facts":
            facts()
        elif what == "examples":
            write_answers(example, "example")
        elif what == "archives":
            record_archives(write, KERNELS)
        else:
            known = "bare, deployed, hub, system, uv, facts, examples, archives"
            sys.exit(f"{what!r} is none of: {known}")
