"""Hub datasets by name; what can go wrong there, said in one sentence; whether the hub can be reached at all."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from assent.errors import DataError, nearest

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
_LOCAL = "or give a local file"
_PATIENCE = 8.0
"""Seconds in which the hub must answer."""


def looks_like_name(source: str) -> bool:
    """Whether ``source`` has the form ``org/name`` or ``org/name:config``."""
    return _NAME.fullmatch(source) is not None


def load(source: str, split: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a hub dataset, ``org/name`` or ``org/name:config``; ``split`` ``None`` is ``train``.

    Raises :class:`DataError` when it is gated, missing or out of reach, or has no such split or configuration.
    """
    import datasets

    name, _, config = source.partition(":")
    online = hub_answers(name)
    try:
        with contextlib.nullcontext() if online else _offline():
            loaded = datasets.load_dataset(name, config or None, split=split or "train")
    except Exception as error:
        from huggingface_hub import constants

        if not online and not constants.HF_HUB_OFFLINE:
            raise _out_of_reach(name) from None
        raise explain(error, name) from None
    yield from (dict(row) for row in loaded)


def load_from_disk(folder: Path, split: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of what ``datasets`` wrote with ``save_to_disk``."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise DataError(f"not a whole saved dataset: {str(error).splitlines()[0]}", folder) from None
    if isinstance(loaded, datasets.DatasetDict):
        wanted = split or "train"
        if wanted not in loaded:
            raise DataError(f"no split '{wanted}'; it has {', '.join(map(str, loaded))}", folder)
        loaded = loaded[wanted]
    yield from (dict(row) for row in loaded)


def explain(error: Exception, name: str) -> DataError:
    """What ``error`` from loading the dataset ``name`` means for the user."""
    from datasets.exceptions import DatasetNotFoundError

    text = str(error)
    page = f"https://huggingface.co/datasets/{name}"
    chain = {type(link).__name__ for link in _chain(error)}
    if "gated" in text or "GatedRepoError" in chain:
        return DataError(
            f"dataset '{name}' is gated: accept its terms at {page}, then set HF_TOKEN to a token of that account"
            f" (https://huggingface.co/settings/tokens), {_LOCAL}"
        )
    if isinstance(error, DatasetNotFoundError) or "RepositoryNotFoundError" in chain:
        return DataError(
            f"'{name}' is neither a file or folder here nor a dataset on the hub; check the spelling,"
            f" for a private dataset set HF_TOKEN, {_LOCAL}"
        )
    if "OfflineModeIsEnabled" in text or "OfflineModeIsEnabled" in chain:
        return DataError(f"dataset '{name}' is not in the cache and HF_HUB_OFFLINE is set; unset it, {_LOCAL}")
    if isinstance(error, OSError) and ("reach" in text or isinstance(error, ConnectionError)):
        return _out_of_reach(name)
    if isinstance(error, OSError):
        return DataError(f"dataset '{name}' could not be stored in the cache: {error.strerror or text}")
    first = text.splitlines()[0] if text else type(error).__name__
    if "Config name is missing" in text or "BuilderConfig" in text:
        return DataError(f"dataset '{name}' has configurations; write '{name}:CONFIG' ({' '.join(text.split())[:300]})")
    if match := re.search(r"Unknown split \"?'?([\w.-]+)", text):
        known = re.findall(r"'(\w+)'", text)
        return DataError(f"dataset '{name}' has no split '{match[1]}'{nearest(match[1], known)}: {first}")
    return DataError(f"dataset '{name}' could not be loaded: {first}")


def _out_of_reach(name: str) -> DataError:
    return DataError(
        f"'{name}' is no file or folder here, and the hub cannot be reached to look for a dataset of that name;"
        f" check the network, {_LOCAL}"
    )


def hub_answers(source: str | Path) -> bool:
    """Whether what ``source`` names may be fetched from the hub: false when the hub does not answer or is switched off.

    The hub's own client would try for half a minute; this asks once a process.  A path that exists needs no hub.
    """
    if Path(source).exists():
        return True
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _reachable()


@cache
def _reachable() -> bool:
    from huggingface_hub import constants, get_session

    answered: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(Exception):  # whatever is wrong, the hub is not to be had
            get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
            answered.append(True)

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name knows no time limit
    asking.start()
    asking.join(_PATIENCE)
    return bool(answered)


@contextlib.contextmanager
def _offline() -> Generator[None]:
    """The data sets library kept to its cache."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
