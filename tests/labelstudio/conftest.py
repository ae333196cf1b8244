"""A real Label Studio server on loopback, with data of its own, for as long as the tests run."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

TOKEN = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 400
"""Seconds; it takes 25 where nothing else runs."""


def program():
    named = os.environ.get("ASSENT_LABEL_STUDIO")
    return named or shutil.which("label-studio", path=str(ROOT / ".venv-labelstudio" / "bin"))


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory):
    """The address of the server."""
    if program() is None:
        pytest.skip("no Label Studio here; scripts/make-labelstudio-env.sh makes it")
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": "ann@example.org",
        "LABEL_STUDIO_PASSWORD": "a-long-password",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
        "PYTHONPATH": "",
    }
    start = [program(), "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
    with open(folder / "log.txt", "wb") as log:
        server = subprocess.Popen(start, env={**os.environ, **settings}, cwd=folder, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while not answers(f"{url}/health"):
            assert server.poll() is None, (folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < deadline, "Label Studio did not start"
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def answers(url):
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
