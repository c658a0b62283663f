"""A browser, and a JupyterLab with settings of its own, for the tests that look at what a person sees."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome", "msedge", "chromium-browser"))), None)
ARGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync"]
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"}}         # a page as a whole, not what is in sight


@contextlib.contextmanager
def chromium():
    from playwright.sync_api import sync_playwright
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=BROWSER, args=ARGS + root)
        yield found
        found.close()


@contextlib.contextmanager
def jupyterlab(folder):
    """The address of a JupyterLab that shows `folder`/root and imports from there; its token is "test"."""
    for name, values in SETTINGS.items():
        file = folder / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"JUPYTER_CONFIG_DIR": "config", "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    environment = os.environ | {k: str(folder / v) for k, v in variables.items()} | {"PYTHONPATH": str(folder / "root")}
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
             "--IdentityProvider.token=test", f"--ServerApp.root_dir={folder / 'root'}"],
            stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token=test")
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
