"""A user of the hub with a browser: the login form, a server, kernels and terminals.

Sockets are opened once and never again: what goes through one shows that it has lived until then.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from websockets.sync.client import ClientConnection, connect

PATIENCE = 120  # seconds for whatever a slow machine takes long for


class CellError(Exception):
    """What a cell raised, or that its kernel died."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something has come true.

    Raises:
        TimeoutError: it did not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


class User:
    """One account in one browser.

    Args:
        hub: the hub's address, without a slash at its end.
        name: the account.
        password: its password.
    """

    def __init__(self, hub: str, name: str, password: str) -> None:
        self.hub, self.name, self.password = hub, name, password
        self.cookies = CookieJar()
        # The site's proxy, which the environment may name, is no way to this host.
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(self.cookies))

    @property
    def server(self) -> str:
        """The address of the user's own server."""
        return f"{self.hub}/user/{self.name}/"

    def log_in(self) -> None:
        """Fill in the form."""
        _, _, page = self.fetch(f"{self.hub}/hub/login")
        token = re.search(r'name="_xsrf" value="([^"]*)"', page)
        assert token, page
        form = {"username": self.name, "password": self.password, "_xsrf": token.group(1)}
        _, address, page = self.fetch(
            f"{self.hub}/hub/login?next=%2Fhub%2Fhome", data=urlencode(form).encode()
        )
        assert address == f"{self.hub}/hub/home", f"not let in: {address}\n{page}"

    def start_server(self) -> None:
        """Have a server that answers; it takes no time where one runs."""
        if self._lab_is_there():
            return
        self.fetch(f"{self.hub}/hub/spawn/{self.name}")
        wait_for(self._lab_is_there, f"a server for {self.name}")

    def _lab_is_there(self) -> bool:
        # Everything else of the server answers only after a page has been through the hub's OAuth.
        status, address, _ = self.fetch(f"{self.server}lab")
        return status == 200 and address.startswith(self.server)

    def fetch(
        self,
        url: str,
        data: bytes | None = None,
        method: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str, str]:
        """Ask for a page: its status, where redirections led, and its text.

        Where nobody answers, the status is 0 and the text says why.
        """
        request = Request(url, data=data, method=method, headers=headers or {})
        if request.get_method() not in ("GET", "HEAD") and (token := self._xsrf(url)):
            request.add_header("X-XSRFToken", token)
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return answer.status, answer.url, answer.read().decode()
        except HTTPError as error:
            return error.code, error.url, error.read().decode()
        except OSError as error:
            return 0, url, str(error)

    def api(self, path: str, method: str | None = None, **body: Any) -> Any:
        """Ask the server's API.

        Args:
            path: below the server's address, such as `api/kernels`.
            method: GET where it is missing, POST where there is a body.
            body: sent as JSON.
        """
        data = json.dumps(body).encode() if body or method == "POST" else None
        status, _, text = self.fetch(f"{self.server}{path}", data, method)
        assert status < 300, f"{path}: {status} {text[:300]}"
        return json.loads(text) if text else None

    def kernelspecs(self) -> dict[str, dict[str, Any]]:
        """The kernels that the launcher shows, by name: each a kernel.json."""
        found = self.api("api/kernelspecs")["kernelspecs"]
        return {name: entry["spec"] for name, entry in found.items()}

    def kernel(self, name: str) -> Kernel:
        """Start a kernel."""
        return Kernel(self, self.api("api/kernels", name=name)["id"])

    def terminal(self) -> Terminal:
        """Open a terminal."""
        return Terminal(self)

    def socket(self, path: str) -> ClientConnection:
        """Open a websocket of the server's."""
        request = Request(f"{self.server}{path}")
        self.cookies.add_cookie_header(request)
        connection = connect(
            re.sub("^http", "ws", request.full_url),
            additional_headers={"Cookie": request.get_header("Cookie") or ""},
            proxy=None,
            open_timeout=PATIENCE,
            # A machine that is busy for 20 s is no reason to hang up.
            ping_interval=None,
            max_size=None,
            max_queue=None,
        )
        # Entered here, since its user decides when it is closed.
        return connection.__enter__()

    def _xsrf(self, url: str) -> str | None:
        """The token for a page: hub and server each have one, at paths of their own."""
        mine = [
            cookie
            for cookie in self.cookies
            if cookie.name == "_xsrf" and url.startswith(f"{self.hub}{cookie.path}")
        ]
        return max(mine, key=lambda cookie: len(cookie.path)).value if mine else None


class Kernel:
    """A running kernel and one websocket to it, which is never opened again."""

    def __init__(self, user: User, identity: str) -> None:
        self.user, self.identity = user, identity
        self.socket = user.socket(f"api/kernels/{identity}/channels")

    def execute(self, code: str, seconds: float = PATIENCE) -> str:
        """Run a cell and return what it printed.

        Raises:
            CellError: it raised something, or its kernel died.
        """
        return self.output(self.begin(code), seconds)

    def begin(self, code: str) -> str:
        """Send a cell; the id that its output has."""
        cell = uuid.uuid4().hex
        header = {"msg_id": cell, "msg_type": "execute_request", "version": "5.3"}
        header |= {"username": self.user.name, "session": self.identity, "date": ""}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps({**message, "channel": "shell"}))
        return cell

    def output(self, cell: str, seconds: float = PATIENCE) -> str:
        """Wait for the end of a cell and return what it printed."""
        printed = ""
        for message in self._messages(seconds):
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in ("dead", "restarting"):
                raise CellError(f"the kernel is {content['execution_state']}")
            if message["parent_header"].get("msg_id") != cell:
                continue
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            if kind == "error":
                raise CellError(f"{content['ename']}: {content['evalue']}")
            if kind == "status" and content["execution_state"] == "idle":
                break
        return printed.strip()

    def _messages(self, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            yield json.loads(self.socket.recv(timeout=max(0, deadline - time.monotonic())))

    def close(self) -> None:
        """Stop it."""
        self.socket.close()
        self.user.api(f"api/kernels/{self.identity}", method="DELETE")

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Terminal:
    """A terminal as JupyterLab has it: a login shell behind a websocket."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.name: str = user.api("api/terminals", method="POST")["name"]
        self.socket = user.socket(f"terminals/websocket/{self.name}")
        # Wide enough for any line: wrapped ones would be broken up.
        self.socket.send(json.dumps(["set_size", 24, 500]))

    def run(self, command: str, seconds: float = PATIENCE) -> str:
        """Type a command, wait for its end, return the lines that it printed.

        Raises:
            AssertionError: it failed.
        """
        # Quotes in the typed line tell its echo from what it prints.
        mark = uuid.uuid4().hex[:8]
        self.socket.send(json.dumps(["stdin", f"{command}; echo '{mark}'-$?-\r"]))
        shown, deadline = "", time.monotonic() + seconds
        while not (end := re.search(rf"{mark}-(\d+)-", shown)):
            try:
                message = json.loads(self.socket.recv(timeout=max(0, deadline - time.monotonic())))
            except TimeoutError:
                raise TimeoutError(f"{command}: no end within {seconds:.0f} s\n{shown}") from None
            if message[0] == "stdout":
                shown += message[1]
        assert end.group(1) == "0", shown
        # Behind the typed line, without colours and the like.
        plain = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r", "", shown[: end.start()])
        return plain.rpartition(f"'{mark}'-$?-")[2].strip()

    def close(self) -> None:
        """Close it."""
        self.socket.close()
        self.user.api(f"api/terminals/{self.name}", method="DELETE")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
