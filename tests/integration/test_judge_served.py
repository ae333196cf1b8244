"""A judge that is a real model behind a real server: ``transformers serve`` with a tiny one on this machine."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from assent.rewards.judge import JudgeReward, JudgeSettings
from assent.types import Completion, Message, Prompt

pytestmark = pytest.mark.slow
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content[:20] }}\n{% endfor %}{% if add_generation_prompt %}assistant:"
    "{% endif %}"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and name of a tiny model that knows nothing; its template cuts what it is told to its small context."""
    from assent.testing.tiny import tiny_causal

    folder = tmp_path_factory.mktemp("model")
    policy = tiny_causal()
    policy.tokenizer.chat_template = TEMPLATE
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(sys.executable).with_name("transformers")
    command = [str(script), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = folder / "log"
    with open(log, "w") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
        try:
            for _ in range(600):
                if server.poll() is not None:
                    pytest.fail(f"transformers serve ended: {log.read_text()[-2000:]}")
                try:
                    if httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0).is_success:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            server.terminate()


def test_a_real_model_that_knows_nothing_is_asked_and_gives_no_score(served: tuple[str, str], tmp_path: Path):
    url, name = served
    settings = JudgeSettings(
        url=url, served_name=name, cache=str(tmp_path / "c.db"), method="pointwise", max_tokens=8, repairs=1, at_once=1
    )
    source = JudgeReward(settings)
    prompt = Prompt("p", messages=(Message("user", "the film"),))
    completions = [Completion("p/0", "p", "good"), Completion("p/1", "p", "bad")]
    scores = source.score([prompt] * 2, completions)
    assert all(math.isnan(value) for value in scores.values)
    assert all("gave no verdict" in why for why in scores.unscored.values())
    used = source.judge.server.usage
    assert (used.requests, used.unreadable) == (4, 2)
    assert used.tokens_in > 0
    assert 0 < used.tokens_out <= 4 * 8
    again = JudgeReward(settings)
    again.score([prompt] * 2, completions)
    assert (again.judge.server.usage.requests, again.judge.server.usage.from_cache) == (0, 4)
