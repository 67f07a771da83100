"""Use the hub as a user does, from the login form to a cell in every kernel; print a table.

Where there are GPUs of NVIDIA's, and a driver that is declared or installed, every Python kernel
tries CUDA, too, and one that it does not drive is a failure; elsewhere nothing of that is asked.

Run by the hub's own Python. Arguments: hub (its address with base_url), account (made and removed
again, with its home), kernels (the published kernelspecs' directory), timeout (seconds a step),
driver (`declared`, `found`: where it is installed, or `ignored`).
The account's password is made here and leaves this process on chpasswd's standard input only.
"""

import asyncio
import json
import os
import pwd
import re
import secrets
import subprocess
import sys
import time
import uuid
from pathlib import Path

import aiohttp
from cuda import CELL, NoCuda, told
from driver_files import for_cuda, undriven
from yarl import URL

PYTHON_CELL = """
import json, sys
which = !which python
pip = !pip --version
print(json.dumps({"sys.executable": sys.executable, "!which python": which, "!pip": pip}))
"""
CELLS = {"python": PYTHON_CELL, "bash": "which python"}


class Failure(Exception):
    """What did not work, for the table."""


# Whatever a hub or a kernel answers, the table goes on with the next row.
ANSWERS_WRONG = (
    *(Failure, NoCuda, aiohttp.ClientError, asyncio.TimeoutError, OSError),
    *(ValueError, LookupError, TypeError),
)


class Table:
    """Results as they come, and whether all were good."""

    def __init__(self):
        self.failed = False

    def row(self, good, what, seconds, detail=""):
        """Add a row."""
        self.failed |= not good
        mark = "ok  " if good else "FAIL"
        print(f"{mark}  {what:<28} {seconds:5.1f} s  {detail}", flush=True)

    async def step(self, what, awaitable):
        """Await a step, add its row; None when it failed."""
        started = time.monotonic()
        try:
            detail, value = await awaitable
        except ANSWERS_WRONG as error:
            reason = str(error) or f"no answer ({type(error).__name__})"
            self.row(False, what, time.monotonic() - started, reason)
            return None
        self.row(True, what, time.monotonic() - started, detail)
        return value


class User:
    """A user with a browser: cookies, the tokens in them, and the pages behind the form."""

    def __init__(self, session, hub, name, timeout):
        self.session, self.hub, self.name, self.timeout = session, hub, name, timeout

    @property
    def server(self):
        """Where the user's server is."""
        return f"{self.hub}user/{self.name}/"

    def headers(self, url):
        """What shows a page that the request comes from its own."""
        cookie = self.session.cookie_jar.filter_cookies(URL(url)).get("_xsrf")
        return {"X-XSRFToken": cookie.value} if cookie else {}

    async def log_in(self, password):
        """Log in through the form."""
        async with self.session.get(f"{self.hub}hub/login") as page:
            token = re.search(r'name="_xsrf" value="([^"]*)"', await page.text())
        form = {
            "username": self.name,
            "password": password,
            "_xsrf": token.group(1) if token else "",
        }
        async with self.session.post(
            f"{self.hub}hub/login?next=", data=form, allow_redirects=False
        ) as answer:
            if answer.status != 302:
                raise Failure(f"the login form was refused ({answer.status})")
        return f"as {self.name}, through PAM", True

    async def start_server(self):
        """Start the server, and wait until JupyterLab is there."""
        deadline = time.monotonic() + self.timeout
        async with self.session.get(f"{self.hub}hub/spawn") as page:
            await page.read()
        while time.monotonic() < deadline:
            # While the server starts, this leads to the hub's own pages; the API would answer
            # only after a page of the server has been through the hub's OAuth.
            async with self.session.get(f"{self.server}lab") as page:
                if page.status == 200 and str(page.url).startswith(self.server):
                    return "JupyterLab is there", True
            await asyncio.sleep(0.3)
        raise Failure("it did not start; see `journalctl -u jupyterhub` on the box")

    async def kernelspecs(self):
        """The kernels that the server offers, by name."""
        async with self.session.get(f"{self.server}api/kernelspecs") as answer:
            specs = (await answer.json())["kernelspecs"]
        return {name: spec["spec"] for name, spec in specs.items()}

    async def run(self, kernel, code):
        """Start a kernel, run a cell, return what it printed; the kernel is stopped again."""
        url = f"{self.server}api/kernels"
        async with self.session.post(
            url, json={"name": kernel}, headers=self.headers(url)
        ) as answer:
            if answer.status != 201:
                raise Failure(f"the kernel does not start ({answer.status})")
            identity = (await answer.json())["id"]
        try:
            async with self.session.ws_connect(f"{url}/{identity}/channels") as socket:
                return await asyncio.wait_for(execute(socket, code), self.timeout)
        finally:
            async with self.session.delete(f"{url}/{identity}", headers=self.headers(url)):
                pass

    async def stop_server(self):
        """Stop the server."""
        url = f"{self.hub}hub/api/users/{self.name}/server"
        async with self.session.get(f"{self.hub}hub/home") as page:
            await page.read()
        async with self.session.delete(url, headers=self.headers(url)) as answer:
            if answer.status not in (202, 204):
                raise Failure(f"the hub answers {answer.status}")
        return "", True


async def execute(socket, code):
    """Run one cell over a kernel's websocket and return what it wrote to stdout."""
    identity, printed = uuid.uuid4().hex, []
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    header = {"msg_id": identity, "msg_type": "execute_request", "version": "5.3"}
    header |= {"username": "verify", "session": uuid.uuid4().hex, "date": ""}
    await socket.send_json(
        {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
        }
    )
    while True:
        message = await socket.receive_json()
        if message.get("parent_header", {}).get("msg_id") != identity:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
        if kind == "error":
            raise Failure(f"{content['ename']}: {content['evalue']}")
        if kind == "status" and content["execution_state"] == "idle":
            return "".join(printed)


async def check_kernel(user, name, spec):
    """A cell in one kernel; everything that it names must lie in the release that it is of."""
    prefix = (spec.get("env") or {}).get("CONDA_PREFIX")
    if name == "python3" and not prefix:
        raise Failure("it is the hub's own kernel, not that of the environment python3")
    language = spec.get("language", "").lower()
    printed = await user.run(name, CELLS.get(language, "1"))
    places = {"which python": printed.strip()} if language == "bash" else {}
    if language == "python":
        places = json.loads(printed.strip().splitlines()[-1])
    if prefix and not os.path.exists(f"{prefix}/bin/pip"):
        # An environment need not have it; then `!pip` is nobody's.
        places.pop("!pip", None)
    for what, place in places.items():
        if prefix and f"{prefix}/" not in str(place):
            raise Failure(f"{what} says {place}, which is not in {prefix}")
    return f"{spec['display_name']}, in {prefix or 'no environment'}", True


async def check_cuda(user, name):
    """Whether one kernel can compute on a GPU."""
    return told(await user.run(name, CELL)), True


def check_gpus(driver, table):
    """A row for each GPU that is not driven; whether there is any to try."""
    gpus = for_cuda(driver)
    for address, other in undriven(gpus).items():
        by = f"{other} drives it" if other else "no driver drives it"
        table.row(False, f"GPU {address}", 0, f"{by}: facts.gpu.NvidiaDriver says why")
    return bool(gpus)


async def check_hub(hub, account, kernels, timeout, driver, password, table):
    """Log in, start a server, run a cell in every kernel, stop; a row of the table each."""
    has_gpu = check_gpus(driver, table)
    jar = aiohttp.CookieJar(unsafe=True)
    limits = aiohttp.ClientTimeout(total=timeout)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=limits) as session:
        user = User(session, hub, account, timeout)
        if not await table.step("log in", user.log_in(password)):
            return
        if await table.step("start a server", user.start_server()):
            specs = await user.kernelspecs()
            missing = sorted(set(os.listdir(kernels)) - specs.keys())
            for name in missing:
                table.row(False, f"kernel {name}", 0, "is published and not offered to users")
            for name in sorted(specs):
                await table.step(f"kernel {name}", check_kernel(user, name, specs[name]))
                if has_gpu and specs[name].get("language", "").lower() == "python":
                    await table.step(f"CUDA in {name}", check_cuda(user, name))
        await table.step("stop the server", user.stop_server())


def remove_account(account):
    """Remove the account with its home, and what an interrupted run left running."""
    try:
        pwd.getpwnam(account)
    except KeyError:
        return
    subprocess.run(
        ["systemctl", "stop", f"jupyter-{account}-singleuser"], stderr=subprocess.DEVNULL
    )
    subprocess.run(["pkill", "-KILL", "-u", account], check=False)
    subprocess.run(["userdel", "--remove", account], check=True, stderr=subprocess.DEVNULL)


def make_account(account):
    """Make the account; its password."""
    password = secrets.token_urlsafe(24)
    make = ["useradd", "--create-home", "--key", "HOME_MODE=0700", "--shell", "/bin/bash"]
    subprocess.run([*make, account], check=True)
    subprocess.run(["chpasswd"], input=f"{account}:{password}\n", text=True, check=True)
    return password


def main(hub, account, kernels, timeout, driver):
    """Verify the hub; the exit status of the program."""
    table = Table()
    remove_account(account)
    try:
        password = make_account(account)
        asyncio.run(check_hub(hub, account, Path(kernels), timeout, driver, password, table))
    finally:
        remove_account(account)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
