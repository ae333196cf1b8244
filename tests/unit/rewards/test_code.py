"""Unit tests of code in the sandbox: what passes, what fails, what is kept from it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from assent.errors import DataError
from assent.rewards.code import CodeReward, CodeSettings
from assent.rewards.sandbox import Limits, run_tests, shield
from assent.types import Completion, Prompt

QUICK = Limits(seconds=5.0, memory_mb=256)
ADD = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]


def score(text: str, partial: bool = False, tests: object = ADD) -> float:
    prompt = Prompt("p", text="Write add.", metadata={"tests": tests, "before": "import math"})
    source = CodeReward(CodeSettings(partial=partial, setup="before", seconds=5.0))
    return source.score([prompt], [Completion("p/0", "p", text)]).values[0]


def test_code_in_a_block_or_bare_is_tested():
    assert score("def add(a, b):\n    return a + b\n") == 1.0
    assert score("Sure!\n```python\ndef add(a, b):\n    return math.fsum([a, b])\n```\nThat is all.") == 1.0
    assert score("```\ndef add(a, b):\n    return 3\n```") == 0.0
    assert score("```\ndef add(a, b):\n    return 3\n```", partial=True) == 0.5
    assert score("I would rather not.") == 0.0
    assert score("", partial=True) == 0.0


def test_a_prompt_without_tests_stops():
    with pytest.raises(DataError, match="prompt 'p' has no tests in column 'tests'"):
        score("x", tests=[])


def test_what_ends_the_process_passes_nothing_more():
    assert run_tests("import os", ["assert True", "os._exit(0)", "assert True"], QUICK) == [True, False, False]
    assert run_tests("import sys; sys.exit(0)", ["assert True"], QUICK) == [False]
    assert run_tests("print('1\\n' * 9)", ["assert False"], QUICK) == [False]


def test_time_is_limited_for_the_program_and_what_it_starts(tmp_path: Path):
    endless = "import os\nif os.fork() == 0:\n    while True: pass\nwhile True: pass"
    assert run_tests(endless, ["assert True"], Limits(seconds=0.5)) == [False]


def test_memory_and_files_are_limited():
    assert run_tests("x = None", ["x = bytearray(1 << 30)", "x = bytearray(1 << 20)"], QUICK) == [False, True]
    tests = ["open('kept', 'wb').write(b'x' * 1000)", "open('big', 'wb').write(b'x' * (20 << 20))"]
    assert run_tests("", tests, QUICK) == [True, False]


def test_nothing_outside_its_folder_is_written_or_read(tmp_path: Path):
    if not landlock():
        pytest.fail("this kernel has no Landlock; the docstring says what then does not hold")
    secret, target = tmp_path / "secret.txt", tmp_path / "target.txt"
    secret.write_text("s")
    tests = [f"open({str(secret)!r}).read()", f"open({str(target)!r}, 'w').write('x')", "import json, ctypes"]
    assert run_tests("", tests, QUICK) == [False, False, True]
    assert not target.exists()
    assert run_tests("import os", ["assert set(os.environ) <= {'PATH', 'HOME', 'LANG', 'LC_CTYPE'}"], QUICK) == [True]


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_there_is_no_network():
    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ask = f"import socket; socket.create_connection(('127.0.0.1', {server.server_port}), 2)"
        assert run_tests("", [ask], QUICK) == [False]
        server.shutdown()
    assert shield() == () or shield()[0] == "unshare"


def landlock() -> bool:
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, 0, 1) > 0
