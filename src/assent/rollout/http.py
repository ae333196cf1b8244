"""JSON to a server over HTTP and back, tried again where a later attempt may do better."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from assent.errors import ModelError

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Answers that a later attempt may better."""
_LONGEST = 30.0
"""Seconds between two attempts at most."""


class Refused(ModelError):
    """The server understood and will not: asking the same again does not help."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _TryAgain(Exception):
    def __init__(self, failure: str, wait: float | None = None) -> None:
        super().__init__(failure)
        self.wait = wait


def post_json(
    client: httpx.Client,
    url: str,
    body: Mapping[str, Any],
    *,
    timeout: float = 120.0,
    attempts: int = 5,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """What the server answers.  ``attempts`` with waits of 0.5, 1, 2, ... seconds or what ``Retry-After`` says.

    Tried again: no answer within ``timeout`` seconds, no connection or one that breaks off, statuses that say so, and
    what is not JSON.  Raises :class:`ModelError` when that does not help, :class:`Refused` at once for other statuses.
    """

    def once() -> Any:
        try:
            reply = client.post(url, json=dict(body), timeout=timeout, headers=dict(headers or {}))
        except httpx.TimeoutException:
            raise _TryAgain(f"did not answer within {timeout:g} s") from None
        except httpx.TransportError as error:
            raise _TryAgain(f"cannot be reached ({error})") from None
        except (httpx.InvalidURL, httpx.DecodingError) as error:
            raise Refused(f"{url} cannot be asked ({error}); check the address", 0) from None
        if reply.is_success:
            try:
                return reply.json()
            except ValueError:
                raise _TryAgain("answered with something that is not JSON") from None
        failure = f"answered {reply.status_code}: {_said(reply)}"
        if reply.status_code in _AGAIN:
            raise _TryAgain(failure, _seconds(reply.headers.get("retry-after")))
        raise Refused(f"{url} {failure}; check the address and the model's name there", reply.status_code)

    retrying = Retrying(
        stop=stop_after_attempt(attempts),
        wait=_wait,
        retry=retry_if_exception_type(_TryAgain),
        sleep=lambda seconds: time.sleep(seconds),
        reraise=True,
    )
    try:
        return retrying(once)
    except _TryAgain as failure:
        raise ModelError(f"{url} {failure}, {attempts} times; is the server running?") from None


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = error.wait if isinstance(error, _TryAgain) else None
    return min(0.5 * 2 ** (state.attempt_number - 1) if told is None else told, _LONGEST)


def _said(reply: httpx.Response) -> str:
    """The server's own message, in one line."""
    try:
        body = reply.json()
        said = body.get("error", body)
        said = said.get("message", said) if isinstance(said, dict) else said
    except (ValueError, AttributeError):
        said = reply.text
    return " ".join(str(said).split())[:200]


def _seconds(said: str | None) -> float | None:
    try:
        return max(0.0, float(said)) if said else None
    except ValueError:
        return None
