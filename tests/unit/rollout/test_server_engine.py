"""The engine behind HTTP, against a real server on this machine that serves one of our own engines."""

import threading
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from assent.errors import ModelError
from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.rollout.server import ServerEngine
from assent.testing.engine import check_engine
from assent.testing.tiny import tiny_causal
from assent.types import SamplingSettings

PROMPTS = [EncodedPrompt("a", (5, 40)), EncodedPrompt("b", (7, 8, 9)), EncodedPrompt("c", (50, 60, 70, 80))]


class Served:
    """An app with a completions endpoint; what it can and how often it fails is set by the test."""

    def __init__(self) -> None:
        self.policy = tiny_causal()
        self.engine, self.lock = LocalEngine(self.policy), threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.gives_ids = self.takes_ids = True
        self.failures: list[Response] = []
        self.app = FastAPI()
        self.app.post("/v1/completions")(self.complete)

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if self.failures:
            return self.failures.pop(0)
        if body["model"] != "tiny":
            return JSONResponse({"error": {"message": f"no model {body['model']}"}}, 404)
        if isinstance(body["prompt"], str):
            ids = tuple(self.policy.tokenizer(body["prompt"]).input_ids)
        elif self.takes_ids:
            ids = tuple(body["prompt"])
        else:
            return JSONResponse({"error": {"message": "prompt must be a string"}}, 400)
        sampling = SamplingSettings(
            max_new_tokens=body["max_tokens"],
            min_new_tokens=body.get("min_tokens", 0),
            temperature=body["temperature"],
            top_k=body.get("top_k", 0),
            top_p=body["top_p"],
            min_p=body.get("min_p", 0.0),
            seed=body["seed"],
            stop=tuple(body.get("stop", ())),
            logit_bias=tuple((int(k), v) for k, v in body.get("logit_bias", {}).items()),
        )
        with self.lock:
            found = self.engine.generate([EncodedPrompt("served", ids)], sampling)[0]
        choice: dict[str, Any] = {"text": found.text, "finish_reason": found.finish_reason}
        if self.gives_ids:
            choice |= {"token_ids": found.token_ids, "logprobs": {"token_logprobs": found.logprobs}}
        return JSONResponse({"choices": [choice]})


@pytest.fixture(scope="module")
def running() -> Generator[tuple[Served, str]]:
    served = Served()
    server = uvicorn.Server(uvicorn.Config(served.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield served, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def served(running: tuple[Served, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Served, str]:
    app, _ = running
    app.gives_ids = app.takes_ids = True
    app.bodies, app.failures = [], []
    monkeypatch.setattr("time.sleep", lambda seconds: app.bodies.append({"slept": seconds}))
    return running


def test_it_keeps_its_promises(served: tuple[Served, str]):
    app, url = served
    engine = ServerEngine(url, "tiny", app.policy.tokenizer, "served")
    assert engine.promises.logprobs
    assert engine.promises.token_ids
    assert not engine.promises.updates_weights
    check_engine(engine, PROMPTS)
    found = engine.generate(PROMPTS, SamplingSettings(max_new_tokens=6), 2)
    assert [c.id for c in found[:2]] == ["a/0@served", "a/1@served"]
    for completion in found:  # what came back is what the model says of these tokens
        again = app.engine.generate(
            [EncodedPrompt("x", completion.prompt_token_ids)], SamplingSettings(max_new_tokens=1)
        )
        assert again[0].prompt_token_ids == completion.prompt_token_ids
        assert completion.text == app.policy.tokenizer.decode(completion.token_ids, skip_special_tokens=True)


def test_settings_reach_the_server_and_logprobs_are_given_only_where_they_are_known(served: tuple[Served, str]):
    app, url = served
    engine = ServerEngine(url, "tiny", app.policy.tokenizer)
    app.bodies.clear()
    plain = SamplingSettings(max_new_tokens=4)
    assert engine.generate(PROMPTS[:1], plain)[0].sampling_logprobs
    assert "top_k" not in app.bodies[0]
    assert app.bodies[0]["prompt"] == list(PROMPTS[0].token_ids)
    full = SamplingSettings(4, 2, 1.0, 7, 0.9, 0.05, 3, ("zz",), ((5, 2.0),))
    found = engine.generate(PROMPTS[:1], full)[0]
    body = app.bodies[1]
    assert [body[k] for k in ("max_tokens", "min_tokens", "top_k", "top_p", "min_p")] == [4, 2, 7, 0.9, 0.05]
    assert body["stop"] == ["zz"]
    assert body["logit_bias"] == {"5": 2.0}
    assert len(found.logprobs) == len(found.token_ids)
    assert found.sampling_logprobs == ()
    warm = engine.generate(PROMPTS[:1], SamplingSettings(max_new_tokens=4, temperature=0.5))[0]
    assert warm.token_ids
    assert warm.logprobs == warm.sampling_logprobs == ()


def test_a_server_of_texts_alone_promises_no_ids(served: tuple[Served, str]):
    app, url = served
    app.gives_ids = app.takes_ids = False
    engine = ServerEngine(url, "tiny", app.policy.tokenizer)
    assert not engine.promises.token_ids
    assert not engine.promises.logprobs
    check_engine(engine, PROMPTS, SamplingSettings(max_new_tokens=12, seed=5))
    found = engine.generate(PROMPTS[:1], SamplingSettings(max_new_tokens=6))[0]
    assert found.text
    assert found.token_ids == found.logprobs == ()
    assert isinstance(app.bodies[-1]["prompt"], str)


def test_a_failure_that_may_pass_is_tried_again_with_longer_waits(served: tuple[Served, str]):
    app, url = served
    engine = ServerEngine(url, "tiny", app.policy.tokenizer, attempts=4)
    app.bodies.clear()
    app.failures = [Response(status_code=503), Response(status_code=500), Response(status_code=429)]
    app.failures[2].headers["retry-after"] = "7"
    assert engine.generate(PROMPTS[:1], SamplingSettings(max_new_tokens=3))[0].token_ids
    assert [b["slept"] for b in app.bodies if "slept" in b] == [0.5, 1.0, 7.0]
    app.failures = [JSONResponse({"error": {"message": "too busy"}}, 503) for _ in range(4)]
    with pytest.raises(ModelError, match=r"answered 503: too busy, 4 times; is the server running"):
        engine.generate(PROMPTS[:1], SamplingSettings(max_new_tokens=3))


def test_what_will_not_pass_is_said_at_once(served: tuple[Served, str]):
    app, url = served
    with pytest.raises(ModelError, match="answered 404: no model other; check the address and the model's name"):
        ServerEngine(url, "other", app.policy.tokenizer)
    assert not any("slept" in b for b in app.bodies)
    with pytest.raises(ModelError, match="cannot be reached"):
        ServerEngine("http://127.0.0.1:9/v1", "tiny", app.policy.tokenizer, attempts=2)
    engine = ServerEngine(url, "tiny", app.policy.tokenizer, attempts=1)
    app.failures = [JSONResponse({"object": "list"})]
    with pytest.raises(ModelError, match=r"without choices\[0\].text"):
        engine.generate(PROMPTS[:1], SamplingSettings(max_new_tokens=3))
    app.failures = [Response("<html>")]
    with pytest.raises(ModelError, match="not JSON"):
        engine.generate(PROMPTS[:1], SamplingSettings(max_new_tokens=3))


def test_a_server_that_stays_silent(served: tuple[Served, str]):
    app, _ = served

    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    client = httpx.Client(transport=httpx.MockTransport(silent))
    with pytest.raises(ModelError, match="did not answer within 2 s, 3 times"):
        ServerEngine("http://h/v1", "m", app.policy.tokenizer, timeout=2, attempts=3, client=client)
