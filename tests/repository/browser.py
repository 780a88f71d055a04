"""A JupyterLab of the test's own, and Chromium to look at it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 120_000
"""Milliseconds until something awaited counts as missing: a busy machine is slow, not wrong."""

CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
LAB_SETTINGS = {
    # no question about news, no pop-ups; and cells out of view are in the page too, where a test can look at them
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},  # a test saves when it says so
}


def own_settings(home: Path) -> dict[str, str]:
    """Environment in which Jupyter and nbgrader keep their settings and data in ``home``, away from the user's."""
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")  # matplotlib's list of fonts: slow to make
    folders = {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
    return {"HOME": str(home), "XDG_CACHE_HOME": caches, **folders}


@contextlib.contextmanager
def jupyter_lab(root: Path, home: Path, **environment: str) -> Iterator[str]:
    """The address of a JupyterLab that runs in ``root`` and shows its files; stopped, with its kernels, at the end.

    Its settings, and what it says (log.txt), go into ``home``.
    """
    for name, values in LAB_SETTINGS.items():
        path = home / "config" / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "XDG_"))}
    command = [str(Path(sys.executable).with_name("jupyter-lab")), "--allow-root", "--no-browser", "--port=0"]
    options = ["--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.extension_manager=readonly"]
    log = home / "log.txt"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={root}", *options],
            cwd=root,
            env=inherited | own_settings(home) | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # an interrupt at the terminal reaches the test, and the test stops the server
        )
    try:
        yield address(server, home / "runtime", log)
    finally:
        server.terminate()  # it stops its kernels, and a kernel whose server is gone ends by itself
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def address(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """Where a server that is starting listens, as it writes into a file. Raises RuntimeError with its log if it fails."""
    end = time.monotonic() + PATIENCE / 1000
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            url = json.loads((runtime / f"jpserver-{server.pid}.json").read_text())["url"]
            with urllib.request.urlopen(f"{url}api", timeout=10):  # the file is there before the server listens
                return url
        time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-4000:]}")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium without a window, driven by Playwright."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def new_page(browser: Any, width: int = 1280, height: int = 900, scale: float = 1) -> Iterator[Any]:
    """An empty page, with cookies and storage of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=scale)
    context.set_default_timeout(PATIENCE)
    try:
        yield context.new_page()
    finally:
        context.close()


class Notebook:
    """A notebook that is open in JupyterLab, its kernel ready."""

    def __init__(self, page: Any, lab: str, path: str) -> None:
        self.page = page
        page.goto(f"{lab}lab/tree/{path}?reset")  # without the tabs of an earlier visit
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()

    def cell(self, text: str) -> Any:
        """The code cell one of whose lines has this text."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").filter(has=self.page.locator(".cm-line", has_text=text))

    def menu(self, name: str, item: str) -> None:
        self.page.get_by_role("menuitem", name=name, exact=True).click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def run(self, text: str) -> Any:
        """Run the code cell that has this text and wait until it is done, without an error; returns its output."""
        from playwright.sync_api import expect

        cell = self.cell(text)
        cell.locator(".cm-line").first.click()
        self.menu("Edit", "Clear Cell Output")
        expect(cell.locator(".jp-InputPrompt")).to_have_text("[ ]:")
        cell.locator(".cm-line").first.click()
        self.page.keyboard.press("Shift+Enter")
        expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))
        expect(cell.locator("[data-mime-type*=error]")).to_have_count(0)
        return cell.locator(".jp-OutputArea-output").last

    def replace_line(self, cell: Any, old: str, new: str) -> None:
        """Type in place of a line's text; a ``\\b`` is the backspace key."""
        cell.locator(".cm-line", has_text=old).click()
        for key in ("Home", "Shift+End"):
            self.page.keyboard.press(key)
        for character in new:
            self.page.keyboard.press("Backspace") if character == "\b" else self.page.keyboard.type(character)
