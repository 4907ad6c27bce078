"""A real JupyterLab on loopback and a headless Chromium, started once for all browser tests."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
    # every cell stays in the page, so that a test finds it without scrolling
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
}

# The status light says "idle" before a kernel is attached; the session's own state does not.
READY = """(path) => {
  const widget = window.jupyterapp?.shell?.currentWidget;
  const session = widget?.sessionContext;
  return widget?.context?.path === path && widget.context.isReady && session?.isReady
    && session.session?.kernel?.connectionStatus === "connected"
    && session.session.kernel.status === "idle";
}"""
# Awaiting a command inside evaluate() has no time limit: start it, then poll for the result.
RUN_ALL = """() => {
  window.__run = "pending";
  window.jupyterapp.commands.execute("notebook:run-all-cells")
    .then(() => { window.__run = "done"; }, () => { window.__run = "failed"; });
}"""
RAN = """() => window.__run !== "pending"
  && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === "idle" """
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell) =>
  cell.model.type === "code" ? cell.model.outputs.toJSON()
    .filter((output) => output.output_type === "error")
    .map((output) => `${output.ename}: ${output.evalue}`) : [])"""
CLOSE = """() => {
  const widget = window.jupyterapp.shell.currentWidget;
  window.__closed = false;
  widget.context.save().then(() => widget.sessionContext.shutdown())
    .then(() => { widget.close(); window.__closed = true; });
}"""
SET_THEME = """(theme) => {
  window.jupyterapp.commands.execute("apputils:change-theme", { theme }); }"""
THEME_IS = """(light) => document.body.dataset.jpThemeLight === light
  && !document.querySelector("#jupyterlab-splash")"""


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker of notebooks that only `make lab-check` runs."""
    config.addinivalue_line("markers", "lab_slow: a notebook that `make browser` leaves out")


@dataclass
class Lab:
    """A running JupyterLab and the page that shows it."""

    address: str
    token: str
    folder: Path
    page: Any

    def open(self, name: str, cells: list[str] | nbformat.NotebookNode) -> None:
        """Write a notebook, whole or as its code cells, open it and wait for its kernel."""
        if isinstance(cells, list):
            code = [nbformat.v4.new_code_cell(source) for source in cells]
            cells = nbformat.v4.new_notebook(cells=code)
        nbformat.write(cells, self.folder / name)
        if "/doc/" in self.page.url:
            command = "(path) => { window.jupyterapp.commands.execute('docmanager:open', {path}); }"
            self.page.evaluate(command, name)
        else:
            self.page.goto(
                f"{self.address}/doc/tree/{name}?reset&token={self.token}",
                wait_until="domcontentloaded",
            )
        self.page.wait_for_function(READY, arg=name, timeout=60_000)

    def run_all(self, timeout: int = 60) -> list[str]:
        """Run every cell, within so many seconds; return the errors."""
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function(RAN, timeout=1000 * timeout)
        return list(self.page.evaluate(ERRORS))

    def close(self) -> None:
        """Save the notebook in front, end its kernel and close it."""
        self.page.evaluate(CLOSE)
        self.page.wait_for_function("() => window.__closed", timeout=60_000)

    @property
    def panel(self) -> Any:
        """The notebook in front; others stay in the page, hidden."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def theme(self, name: str) -> None:
        """Switch to `Light` or `Dark`."""
        self.page.evaluate(SET_THEME, f"JupyterLab {name}")
        self.page.wait_for_function(THEME_IS, arg=str(name == "Light").lower(), timeout=30_000)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Address, token and folder of a JupyterLab that knows nothing of the user's settings."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "work"
    folder.mkdir()
    for plugin, settings in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    port, token = _free_port(), secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    paths = {
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython",
    }
    kept = "SFT_GGUF_CONVERTER"  # where `make install-test` put it: fetched once, for all
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SFT_") or k == kept}
    environment |= {name: str(path) for name, path in paths.items()} | {"SFT_PROGRESS": ""}
    inherited = os.environ.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), inherited]))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.extension_manager=readonly", "--expose-app-in-browser"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = home / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
    try:
        _wait_until_up(f"{address}/api?token={token}", process, log)
        yield address, token, folder
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
    pytest.fail(f"JupyterLab did not come up:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def chromium(chromium_path: str) -> Iterator[Any]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(chromium: Any, server: tuple[str, str, Path]) -> Iterator[Lab]:
    """JupyterLab in a browser page, shared by all browser tests."""
    page = chromium.new_page(viewport={"width": 1200, "height": 1000})
    yield Lab(*server, page)
    page.close()
