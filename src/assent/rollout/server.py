"""An engine behind HTTP: any server with OpenAI's completions endpoint (vLLM, SGLang, llama.cpp and others)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from assent.errors import ModelError
from assent.rollout.engine import EncodedPrompt, Promises
from assent.rollout.http import post_json
from assent.rollout.sampling import row_seed, truncates
from assent.types import Completion, SamplingSettings


class ServerEngine:
    """Draws from the model that a server has; its weights stay what they are.

    Prompts go as token ids where the server takes them and as text where it does not; what the server can is found out
    by one request of a single token.  A server that gives back token ids (vLLM's ``return_token_ids``) makes
    completions with token ids and log-probabilities; from any other they have their text alone, since text is never
    turned back into ids here, and :attr:`promises` says so.

    A server's log-probabilities are the model's own, at temperature 1 and before truncation.  So ``logprobs`` are
    filled at temperature 1 alone, and ``sampling_logprobs`` where moreover nothing truncates, biases or bans; else they
    are empty.
    """

    def __init__(
        self,
        url: str,
        model: str,
        tokenizer: Any,
        policy_name: str = "",
        timeout: float = 120.0,
        attempts: int = 5,
        at_once: int = 16,
        client: httpx.Client | None = None,
    ) -> None:
        """``url``: the server's base, as ``http://127.0.0.1:8000/v1``.  ``model``: its name there.  ``timeout``:
        seconds of one request.  ``attempts`` for each, with waits of 0.5, 1, 2, ... seconds or what ``Retry-After``
        says.  ``at_once``: requests under way at a time.
        """
        self.url, self.model, self.tokenizer = url.rstrip("/"), model, tokenizer
        self.policy_name, self.timeout, self.attempts, self.at_once = policy_name, timeout, attempts, at_once
        self.client = client or httpx.Client(timeout=timeout)
        self.as_ids = True
        """Whether prompts go as token ids."""
        self.promises = self._probe()

    def generate(self, prompts: Sequence[EncodedPrompt], sampling: SamplingSettings, n: int = 1) -> list[Completion]:
        """See :class:`assent.rollout.engine.Engine`.  A server that refuses or stays silent is a ``ModelError``."""
        rows = [(prompt, index) for prompt in prompts for index in range(n)]
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(lambda row: self._completion(row[0], row[1], sampling), rows))

    def close(self) -> None:
        self.client.close()

    def _probe(self) -> Promises:
        prompt = EncodedPrompt("probe", tuple(self.tokenizer("a", add_special_tokens=True).input_ids[:8]))
        sampling = SamplingSettings(max_new_tokens=1)
        try:
            choice = self._ask(prompt, 0, sampling)
        except ModelError:
            self.as_ids = False
            choice = self._ask(prompt, 0, sampling)
        ids = _token_ids(choice)
        has_logprobs = bool(ids) and len(_logprobs(choice)) == len(ids)
        return Promises(batch_invariant=False, logprobs=has_logprobs, updates_weights=False, token_ids=bool(ids))

    def _completion(self, prompt: EncodedPrompt, index: int, sampling: SamplingSettings) -> Completion:
        choice = self._ask(prompt, index, sampling)
        ids = _token_ids(choice) if self.promises.token_ids else ()
        own = _logprobs(choice) if self.promises.logprobs and sampling.temperature == 1.0 else ()
        if self.promises.token_ids and not ids:
            raise ModelError(f"{self.url} gave token ids with its first answer and none for prompt '{prompt.id}'")
        if own and len(own) != len(ids):
            raise ModelError(f"{self.url} gave {len(own)} log-probabilities for the {len(ids)} tokens of '{prompt.id}'")
        as_drawn = not (truncates(sampling) or sampling.logit_bias or sampling.min_new_tokens)
        return Completion(
            id=f"{prompt.id}/{index}" + (f"@{self.policy_name}" if self.policy_name else ""),
            prompt_id=prompt.id,
            text=str(choice["text"]),
            token_ids=ids,
            logprobs=own,
            sampling_logprobs=own if as_drawn else (),
            finish_reason="length" if choice.get("finish_reason") == "length" else "stop",
            policy=self.policy_name,
            sample_index=index,
            prompt_token_ids=prompt.token_ids,
        )

    def _ask(self, prompt: EncodedPrompt, index: int, sampling: SamplingSettings) -> dict[str, Any]:
        ids = list(prompt.token_ids)
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": ids if self.as_ids else self.tokenizer.decode(ids, skip_special_tokens=True),
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": row_seed(sampling.seed, prompt.id, index),
            "logprobs": 1,
            "return_token_ids": True,
        }
        # What OpenAI's own endpoint does not know goes only where it is asked for.
        asked = {"top_k": sampling.top_k, "min_p": sampling.min_p, "min_tokens": sampling.min_new_tokens}
        body |= {name: value for name, value in asked.items() if value}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.logit_bias:
            body["logit_bias"] = {str(token): value for token, value in sampling.logit_bias}
        url = f"{self.url}/completions"
        answer = post_json(self.client, url, body, timeout=self.timeout, attempts=self.attempts)
        try:
            choice = answer["choices"][0]
            if isinstance(choice["text"], str):
                return choice
        except (KeyError, IndexError, TypeError):
            pass
        raise ModelError(f"{self.url}/completions answered without choices[0].text; is it a completions endpoint?")


def _token_ids(choice: dict[str, Any]) -> tuple[int, ...]:
    return tuple(choice.get("token_ids") or ())


def _logprobs(choice: dict[str, Any]) -> tuple[float, ...]:
    return tuple((choice.get("logprobs") or {}).get("token_logprobs") or ())
