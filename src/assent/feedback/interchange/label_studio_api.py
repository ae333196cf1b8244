"""The few calls of Label Studio's HTTP API that an exchange needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from assent.errors import ExchangeError

TOKEN_VARIABLE = "LABEL_STUDIO_TOKEN"
_PAGE = 100
_BATCH = 500
"""Tasks sent at once."""
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


class LabelStudio:
    """One server.  Every method raises :class:`ExchangeError`, one sentence, where the server is away or refuses.

    ``token`` is an access token of an account there: a personal access token, or a legacy one.  It is kept nowhere.
    """

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(url)
            self._client = httpx.Client(base_url=self.url, timeout=_TIMEOUT, transport=transport)
        except (httpx.InvalidURL, ValueError):
            raise ExchangeError(f"'{url}' is no address of a Label Studio server; give http://HOST:PORT") from None
        self._token = token
        self._client.headers["Authorization"] = f"Token {token}"

    @classmethod
    def from_environment(cls, url: str) -> LabelStudio:
        """With the token of the environment variable ``LABEL_STUDIO_TOKEN``."""
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ExchangeError(
                f"Label Studio at {url} wants a token: copy it from Account & Settings there, and set the environment "
                f"variable {TOKEN_VARIABLE} to it"
            )
        server = cls(url, token)
        if token.count(".") == 2:  # a personal access token is a JSON web token that buys short-lived ones
            server._renew()
        return server

    def __enter__(self) -> LabelStudio:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def projects(self) -> Iterator[dict[str, Any]]:
        """All projects that the token may see, as ``{id, title, label_config, …}``."""
        page = 1
        while True:
            found = self._call("GET", "/api/projects", params={"page": page, "page_size": _PAGE})
            results = self._list(found.get("results") if isinstance(found, Mapping) else found)
            yield from results
            if not isinstance(found, Mapping) or not found.get("next"):
                return
            page += 1

    def create_project(self, title: str, config: str, instructions: str = "") -> int:
        """Make a project and return its id."""
        body: dict[str, Any] = {"title": title, "label_config": config, "show_instruction": bool(instructions)}
        made = self._call("POST", "/api/projects", json={**body, "expert_instruction": instructions})
        return int(made["id"])

    def add_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks to a project, in batches."""
        for start in range(0, len(tasks), _BATCH):
            self._call("POST", f"/api/projects/{project}/import", json=list(tasks[start : start + _BATCH]))

    def tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """The tasks of a project with their annotations, page by page."""
        page = 1
        while True:
            asked = {"project": project, "fields": "all", "page": page, "page_size": _PAGE}
            found = self._call("GET", "/api/tasks", params=asked)
            results = self._list(found.get("tasks") if isinstance(found, Mapping) else None)
            yield from results
            if page * _PAGE >= int(found.get("total", 0)):
                return
            page += 1

    def users(self) -> dict[int, str]:
        """Names of the people there: their addresses, by id."""
        found = self._list(self._call("GET", "/api/users"))
        return {int(user["id"]): str(user.get("email") or user.get("username") or user["id"]) for user in found}

    def annotate(self, task: int, annotation: Mapping[str, Any]) -> int:
        """Give an annotation, as its page does, and return its id."""
        return int(self._call("POST", f"/api/tasks/{task}/annotations", json=dict(annotation))["id"])

    def _renew(self) -> None:
        made = self._call("POST", "/api/token/refresh", json={"refresh": self._token})
        self._client.headers["Authorization"] = f"Bearer {made['access']}"

    def _call(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = self._client.request(method, path, **more)
        except httpx.TimeoutException:
            raise ExchangeError(
                f"Label Studio at {self.url} did not answer within a minute; look at the server and try again"
            ) from None
        except httpx.HTTPError as error:
            raise ExchangeError(
                f"Label Studio at {self.url} does not answer ({error}); start it, or mend the address"
            ) from None
        if response.status_code in (401, 403):
            raise ExchangeError(
                f"Label Studio at {self.url} refuses the token ({response.status_code}): set {TOKEN_VARIABLE} to one "
                "of an account that may see the project (Account & Settings there; legacy tokens may be switched off)"
            )
        if response.is_error:
            raise ExchangeError(
                f"Label Studio at {self.url} answered {response.status_code} to {method} {path}: {_detail(response)}"
            )
        try:
            return response.json()
        except ValueError:
            raise ExchangeError(f"what answers at {self.url} is no Label Studio: {path} gave no JSON") from None

    def _list(self, found: Any) -> list[dict[str, Any]]:
        if not isinstance(found, list) or not all(isinstance(item, dict) and "id" in item for item in found):
            raise ExchangeError(f"what answers at {self.url} is no Label Studio that is known here: no list came back")
        return found


def _detail(response: httpx.Response) -> str:
    try:
        said = response.json()
        detail = said.get("validation_errors") or said.get("detail") or said
    except (ValueError, AttributeError):
        detail = response.text
    return " ".join(str(detail).split())[:300]
