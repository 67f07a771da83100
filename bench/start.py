"""The start of a user's server, in a browser, and what an idle one holds; and the article's."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

from bench.boxes import conda_of, fresh, operator, settings_of
from bench.figures import Figure, Runs
from bench.fresh import followed
from jupyterbox.demo.machine import Machine
from tests.box import article
from tests.box.browser import CHROMIUM, OPTIONS
from tests.box.user import User, wait_for

PART = "start"
PATIENCE = 120_000  # milliseconds
IDLE = 5  # users whose memory is looked at
SETTLED = 20  # seconds after which a server that nobody uses has done what it does at its start
MEMORY = (
    "for process in $(pgrep -u {user}); do cat /proc/$process/smaps_rollup 2>/dev/null; done"
    " | awk '/^Pss:/ {{ sum += $2 }} END {{ print sum + 0 }}'"
)


def measure(name: str, release: str, runs: int) -> tuple[str, list[Figure]]:
    """Measure on a box that was deployed to, then on one that was made from the article.

    Args:
        name: of the box that is made for it.
        release: of Debian or Ubuntu.
        runs: of each.

    Returns:
        Which conda the boxes had, and the figures.
    """
    found = Runs(PART)
    with fresh(name, release) as machine:
        with operator() as somebody:
            somebody.deploy({machine.name: (machine, settings_of(machine))})
        look(machine, "jupyterbox", found, runs)
        conda = conda_of(machine)
    with fresh(name, release) as machine:
        article.trust(machine)
        command = article.command(machine, environment="stats")
        followed(machine, command, article.ARTICLE.read_text())
        look(machine, "article", found, runs)
    return conda, found.figures()


def look(machine: Machine, who: str, found: Runs, runs: int) -> None:
    """All figures of one hub."""
    ada = person(machine, "ada")
    with browser() as chromium:
        for _ in range(runs):
            found.add("click to a usable lab", who, "s", clicked(chromium, ada))
            stop(ada)
    people = [person(machine, f"idle{number}") for number in range(IDLE)]
    for somebody in people:
        somebody.start_server()
    time.sleep(SETTLED)
    for somebody in people:
        found.add("memory of an idle user", who, "MB", memory(machine, somebody))


def person(machine: Machine, name: str) -> User:
    """Somebody with an account that was made for this, logged in to the hub."""
    password = secrets.token_hex(8)
    machine.run(f"useradd --create-home --shell /bin/bash {name}", check=True)
    machine.run("chpasswd", input=f"{name}:{password}\n", check=True)
    user = User(machine.url, name, password)
    wait_for(lambda: user.fetch(f"{user.hub}/hub/health")[0] == 200, "the hub")
    user.log_in()
    return user


def stop(user: User) -> None:
    """End a user's server, and wait until the hub would start it again."""
    user.fetch(f"{user.hub}/hub/api/users/{user.name}/server", method="DELETE")

    def stopped() -> bool:
        _, _, page = user.fetch(f"{user.hub}/hub/home")
        return 'id="start"' in page and 'id="stop"' not in page

    wait_for(stopped, f"the end of {user.name}'s server")


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, as long as it is needed."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield chromium
        finally:
            chromium.close()


def clicked(chromium: Browser, user: User) -> float:
    """The seconds from the click on the button until the launcher shows kernels.

    The browser has never seen this hub before, and has nothing of the lab in its cache.
    """
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{user.hub}/hub/login?next=%2Fhub%2Fhome")
        page.get_by_label("Username").fill(user.name)
        page.get_by_label("Password").fill(user.password)
        page.get_by_role("button", name="Sign in").click()
        button = page.locator("#start")
        expect(button).to_be_visible(timeout=PATIENCE)
        started = time.monotonic()
        button.click()
        kernels = page.locator(".jp-LauncherCard[data-category=Notebook]")
        expect(kernels.first).to_be_visible(timeout=PATIENCE)
        return time.monotonic() - started
    finally:
        context.close()


def memory(machine: Machine, user: User) -> float:
    """What a user's processes hold, in MB: what is theirs, and their part of what they share."""
    kilobytes = int(machine.run(MEMORY.format(user=user.name), check=True).stdout)
    return kilobytes * 1024 / 1e6
