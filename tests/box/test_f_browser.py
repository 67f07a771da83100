"""What a person sees: the form, JupyterLab's launcher with the published kernels, a notebook.

With JUPYTERBOX_SCREENSHOTS set, it renews the README's pictures in docs/ as it goes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.box.browser import CHROMIUM, OPTIONS
from tests.box.conftest import REPOSITORY, Operator

pytestmark = pytest.mark.once

PATIENCE = 120_000  # milliseconds; a server's first start on a slow machine
CELLS = [
    "import sys\nprint(sys.executable)",
    """\
import numpy as np
import pandas as pd

year = pd.date_range("2026-01-31", periods=6, freq="ME", name="month")
level = np.random.default_rng(4).normal(20, 5, size=(6, 4)).round(1)
pd.DataFrame(level, index=year.strftime("%B"), columns=["north", "east", "south", "west"])""",
    """\
from ipywidgets import interact

interact(lambda radius: print(f"a circle of {np.pi * radius**2:.2f}"), radius=(0.0, 10.0));""",
]


@pytest.fixture
def page(box: Operator) -> Iterator[Page]:
    """A browser's page, and the account `demo` as nobody has used it."""
    box.sh("rm -rf /home/demo/.jupyter /home/demo/*.ipynb")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def picture(page: Page, name: str) -> None:
    """Renew one of the README's pictures, if that is what is wanted."""
    if "JUPYTERBOX_SCREENSHOTS" in os.environ:
        page.screenshot(path=REPOSITORY / f"docs/screenshot-{name}.png")


def outputs(notebook: Locator, cell: int) -> Locator:
    """What a cell has put out."""
    return notebook.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")


def test_a_person_logs_in_sees_both_kernels_and_runs_cells(box: Operator, page: Page) -> None:
    expect.set_options(timeout=PATIENCE)
    python3, anaconda3 = box.settings()["environments"]
    release = box.sh("readlink -f /opt/conda/envs/anaconda3").strip()

    page.goto(box.machine.url)
    page.get_by_label("Username").fill("demo")
    page.get_by_label("Password").fill(box.machine.demo_password)
    page.get_by_role("button", name="Sign in").click()

    notebooks = page.locator(".jp-LauncherCard[data-category=Notebook]")
    expect(notebooks).to_have_count(2)
    assert set(notebooks.all_inner_texts()) == {python3["title"], anaconda3["title"]}
    expect(notebooks.locator("img").first).to_be_visible()
    picture(page, "launcher")

    notebooks.filter(has_text=anaconda3["title"]).click()
    notebook = page.locator(".jp-NotebookPanel")
    # JupyterLab drops a cell that is run before its kernel is there.
    expect(page.get_by_role("button", name=f"{anaconda3['title']} | Idle")).to_be_visible()
    for number, cell in enumerate(CELLS, 1):
        expect(notebook.locator(".jp-CodeCell")).to_have_count(number)
        notebook.locator(".jp-CodeCell .cm-content").last.click()
        page.keyboard.insert_text(cell)
        page.keyboard.press("Shift+Enter")

    expect(outputs(notebook, 0)).to_have_text(f"{release}/bin/python")
    expect(outputs(notebook, 1).locator("tbody tr")).to_have_count(6)
    # A slider comes out of the kernel's ipywidgets and is drawn by the hub's.
    expect(outputs(notebook, 2).locator(".widget-slider").first).to_be_visible()
    expect(outputs(notebook, 2).get_by_text("a circle of 78.54")).to_be_visible()
    # Nobody was asked whether they want news of the project.
    expect(page.locator(".Toastify__toast")).to_have_count(0)
    picture(page, "lab")
