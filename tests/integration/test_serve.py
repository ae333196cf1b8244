"""The server as a process: a taken port, and a kill right after an answer."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from assent.errors import UserError
from assent.feedback import FeedbackStore
from assent.testing.feedback_store import make_question
from assent.web.serve import serve

START = (
    "import sys; from assent.web.serve import serve\n"
    "serve(sys.argv[1], port=0, name='Ann', ready=lambda a: print(a, flush=True))"
)


def test_taken_port_is_one_clear_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} on 127.0.0.1 is in use"):
            serve(tmp_path / "feedback.sqlite", port=port)


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 8321), ("192.0.2.1", 0), ("127.0.0.1", 70000)])
def test_address_of_another_machine_is_refused(tmp_path, host, port):
    with pytest.raises(UserError, match="cannot serve on"):
        serve(tmp_path / "feedback.sqlite", host=host, port=port)


def test_acknowledged_answer_survives_a_kill(tmp_path):
    path = tmp_path / "feedback.sqlite"
    with FeedbackStore.open(path) as store:
        store.add_questions([make_question(n) for n in range(3)])
    server = subprocess.Popen([sys.executable, "-c", START, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        way_in = server.stdout.readline().strip()
        with httpx.Client(base_url=way_in.split("join/")[0], follow_redirects=True, timeout=30) as client:
            page = client.get(way_in)
            token = re.search(r'name="csrf" value="([^"]+)"', page.text)[1]
            page = client.post(way_in, data={"csrf": token})
            token = re.search(r'name="csrf" value="([^"]+)"', page.text)[1]
            fields = {"csrf": token, "rank-A": "1", "rank-B": "F", "rank-C": "1"}
            reply = client.post(page.url.path, data=fields, follow_redirects=False)
            os.kill(server.pid, signal.SIGKILL)
            assert reply.status_code == 303
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    with FeedbackStore.open(path) as store:
        assert [(r.annotator, r.ranks) for r in store.rankings()] == [("Ann", (1, None, 1))]


def test_app_and_store_load_without_what_takes_long():
    code = "import sys, assent.web.serve; print({'torch', 'transformers', 'scipy', 'alembic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
