"""A language model behind an OpenAI-compatible server, asked as a judge: retries, cache, cost, budget."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field

from assent.config import Settings
from assent.errors import ModelError, RunError
from assent.rollout.http import Refused, post_json
from assent.runs.digest import digest_json
from assent.runs.machine import cache_file

_NOT_IDENTITY: dict[str, Any] = {"identity": False}
Messages = Sequence[Mapping[str, str]]


class JudgeServerSettings(Settings):
    """Where a judge is, and what it may cost."""

    url: str = Field(json_schema_extra=_NOT_IDENTITY)
    """Base address of an OpenAI-compatible server, as http://127.0.0.1:8000/v1."""
    served_name: str
    """The model's name on the server."""
    key_variable: str = Field(default="OPENAI_API_KEY", json_schema_extra=_NOT_IDENTITY)
    """Environment variable that holds the server's key, where it wants one."""
    temperature: float = Field(default=0.0, ge=0.0)
    """Of the judge's answers."""
    max_tokens: int = Field(default=512, gt=0)
    """Longest answer of the judge."""
    structured: bool = True
    """Ask the server to hold the answer to a JSON schema; one that refuses is asked in words alone."""
    timeout: float = Field(default=120.0, gt=0.0, json_schema_extra=_NOT_IDENTITY)
    """Seconds of one request."""
    attempts: int = Field(default=5, gt=0, json_schema_extra=_NOT_IDENTITY)
    """Attempts of one request, with growing waits between."""
    repairs: int = Field(default=2, ge=0)
    """How often a judge whose answer cannot be read is told so and asked again."""
    at_once: int = Field(default=8, gt=0, json_schema_extra=_NOT_IDENTITY)
    """Requests under way at a time."""
    cache: str | None = Field(default=None, json_schema_extra=_NOT_IDENTITY)
    """File of answers given before, which are not asked for again; unset = one in the user's cache folder."""
    price_in: float = Field(default=0.0, ge=0.0, json_schema_extra=_NOT_IDENTITY)
    """Price of a million tokens that the judge reads."""
    price_out: float = Field(default=0.0, ge=0.0, json_schema_extra=_NOT_IDENTITY)
    """Price of a million tokens that it writes."""
    budget: float | None = Field(default=None, gt=0.0, json_schema_extra=_NOT_IDENTITY)
    """Stop once this much was spent, by the two prices; unset = no limit."""
    budget_tokens: int | None = Field(default=None, gt=0, json_schema_extra=_NOT_IDENTITY)
    """Stop once so many tokens were read and written; unset = no limit."""


class BudgetSpent(RunError):
    """The judge's budget is spent; what was answered is in the cache."""


@dataclass
class Usage:
    """What a judge was asked, and what it cost."""

    requests: int = 0
    """Sent to the server; attempts that failed on the way do not count."""
    from_cache: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    repaired: int = 0
    """Answers that were not as asked for, but could be read after all or when asked again."""
    unreadable: int = 0
    """Questions that got no readable answer."""

    def figures(self) -> dict[str, float | int]:
        """For a manifest: ``judge/requests`` and so on."""
        return {f"judge/{name}": value for name, value in vars(self).items()}


class AnswerCache:
    """Answers by the digest of what was asked, in a SQLite file that several processes may share."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60.0, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (asked TEXT PRIMARY KEY, answer TEXT NOT NULL)"
            )
            self._connection.commit()
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"{path}: cannot keep the judge's answers ({error}); set cache to another file") from None
        self._lock = threading.Lock()

    def get(self, asked: str) -> str | None:
        """The answer to what was asked before; ``None`` where it was not."""
        with self._lock:
            row = self._connection.execute("SELECT answer FROM answers WHERE asked = ?", (asked,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, asked: str, answer: str) -> None:
        """Keep an answer; it is on the disk on return."""
        with self._lock, self._connection:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (asked, answer))


class JudgeServer:
    """Asks; any number of threads may."""

    def __init__(self, settings: JudgeServerSettings, client: httpx.Client | None = None) -> None:
        self.settings, self.usage = settings, Usage()
        self._client = client or httpx.Client(timeout=settings.timeout)
        self._cache = AnswerCache(settings.cache or cache_file().with_name("judge.db"))
        self._lock = threading.Lock()
        self._structured = settings.structured
        key = os.environ.get(settings.key_variable, "").strip()
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, messages: Messages, schema: Mapping[str, Any] | None = None) -> str:
        """The judge's answer, held to a JSON ``schema`` where the server can do that.

        Raises :class:`ModelError` for a server that is away, refuses or answers what is no chat completion, and
        :class:`BudgetSpent` before a request that the budget does not allow.
        """
        settings = self.settings
        body: dict[str, Any] = {
            "model": settings.served_name,
            "messages": [dict(message) for message in messages],
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
        }
        asked = digest_json([body, schema])
        known = self._cache.get(asked)
        if known is not None:
            self._count(from_cache=1)
            return known
        self._check_budget()
        reply = self._post(body, schema)
        text = self._text(reply)
        used = reply.get("usage") or {}
        read, written = (int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        cost = (read * settings.price_in + written * settings.price_out) / 1e6
        self._count(requests=1, tokens_in=read, tokens_out=written, cost=cost)
        self._cache.put(asked, text)
        return text

    def _post(self, body: dict[str, Any], schema: Mapping[str, Any] | None) -> dict[str, Any]:
        url = f"{self.settings.url.rstrip('/')}/chat/completions"
        limits: dict[str, Any] = {"timeout": self.settings.timeout, "attempts": self.settings.attempts}
        if schema is not None and self._structured:
            held = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
            try:
                return post_json(self._client, url, body | {"response_format": held}, headers=self._headers, **limits)
            except Refused as refused:
                if refused.status not in (400, 404, 415, 422, 501):
                    raise
            reply = post_json(self._client, url, body, headers=self._headers, **limits)
            self._structured = False  # it was the schema that was refused
            return reply
        return post_json(self._client, url, body, headers=self._headers, **limits)

    def _text(self, reply: Any) -> str:
        try:
            content = reply["choices"][0]["message"]["content"]
            if isinstance(content, str):
                return content
        except (KeyError, IndexError, TypeError):
            pass
        url = f"{self.settings.url.rstrip('/')}/chat/completions"
        raise ModelError(f"{url} answered without choices[0].message.content; is it a chat endpoint?")

    def _check_budget(self) -> None:
        settings, used = self.settings, self.usage
        tokens = used.tokens_in + used.tokens_out
        over = settings.budget is not None and used.cost >= settings.budget
        if over or (settings.budget_tokens is not None and tokens >= settings.budget_tokens):
            raise BudgetSpent(
                f"the judge's budget is spent: {used.requests} requests, {tokens} tokens, {used.cost:g} by the prices "
                "given; its answers are kept, so raise budget or budget_tokens and run the same again"
            )

    def _count(self, **more: float) -> None:
        with self._lock:
            for name, value in more.items():
                setattr(self.usage, name, getattr(self.usage, name) + value)

    def count_repaired(self) -> None:
        """One more answer that was not as asked for."""
        self._count(repaired=1)

    def count_unreadable(self) -> None:
        """One more question without a readable answer."""
        self._count(unreadable=1)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()
