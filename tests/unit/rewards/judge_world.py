"""A real local server with OpenAI's chat endpoint whose judge is a function, and which fails when it is told to."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Brain = Callable[[str, dict[str, Any]], str]
"""From the user's last message and the whole body to what the judge says."""


def answers_in(question: str) -> list[str]:
    """The answers that a judge is shown, in the order shown."""
    return re.findall(r"<answer(?: [A-Z])?>\n(.*?)\n</answer", question, re.DOTALL)


def by_length(question: str, body: dict[str, Any]) -> str:
    """A judge of a known taste: the longer answer is the better, a grade is the number of words."""
    texts = answers_in(body["messages"][1]["content"])
    sizes = [len(text.split()) for text in texts]
    if '"better"' in question:
        return json.dumps({"reason": "longer", "better": "tie" if sizes[0] == sizes[1] else "AB"[sizes[1] > sizes[0]]})
    if '"ranking"' in question:
        order = sorted(set(sizes), reverse=True)
        return json.dumps({"ranking": [["ABCDEFGH"[i] for i, s in enumerate(sizes) if s == size] for size in order]})
    return json.dumps({"score": min(10, sizes[0])})


class JudgeWorld:
    """``faults`` are taken one a request, ``None`` for none; ``asked`` are the bodies that came."""

    def __init__(self, brain: Brain = by_length) -> None:
        self.brain, self.faults, self.asked = brain, list[str | None](), list[dict[str, Any]]()
        self.keys: list[str | None] = []
        self.lock, self.released = threading.Lock(), threading.Event()
        self.most_at_once = self.at_once = 0
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                world.handle(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that gave up is what some tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self) -> JudgeWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        with self.lock:
            self.asked.append(body)
            self.keys.append(request.headers.get("authorization"))
            fault = self.faults.pop(0) if self.faults else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self._answer(request, body, fault)
        finally:
            with self.lock:
                self.at_once -= 1

    def _answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any], fault: str | None) -> None:
        if fault == "silent":
            self.released.wait(20)
            return
        if fault == "schema refused" and "response_format" in body:
            return _send(request, 400, b'{"error": {"message": "response_format is not supported"}}')
        if fault and fault.isdigit():
            return _send(request, int(fault), b'{"error": {"message": "not now"}}', {"retry-after": "0"})
        if fault == "malformed":
            return _send(request, 200, b'{"choices": [{"mess')
        if fault == "no choices":
            return _send(request, 200, b'{"object": "list"}')
        content = fault.removeprefix("says ") if fault and fault.startswith("says ") else None
        said = self.brain(body["messages"][-1]["content"], body) if content is None else content
        whole = json.dumps(
            {
                "choices": [{"message": {"role": "assistant", "content": said}}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10},
            }
        ).encode()
        if fault == "half-closed":
            request.send_response(200)
            request.send_header("content-length", str(len(whole)))
            request.end_headers()
            request.wfile.write(whole[: len(whole) // 2])
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        _send(request, 200, whole)


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
