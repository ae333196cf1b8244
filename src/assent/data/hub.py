"""Hub datasets by name; what can go wrong there, said in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assent.errors import DataError, nearest

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
_LOCAL = "or give a local file"


def looks_like_name(source: str) -> bool:
    """Whether ``source`` has the form ``org/name`` or ``org/name:config``."""
    return _NAME.fullmatch(source) is not None


def load(source: str, split: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a hub dataset, ``org/name`` or ``org/name:config``; ``split`` ``None`` is ``train``.

    Raises :class:`DataError` when it is gated, missing or out of reach, or has no such split or configuration.
    """
    import datasets

    name, _, config = source.partition(":")
    try:
        loaded = datasets.load_dataset(name, config or None, split=split or "train")
    except Exception as error:
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
        return DataError(
            f"'{name}' is no file or folder here, and the hub cannot be reached to look for a dataset of that name;"
            f" check the network, {_LOCAL}"
        )
    if isinstance(error, OSError):
        return DataError(f"dataset '{name}' could not be stored in the cache: {error.strerror or text}")
    first = text.splitlines()[0] if text else type(error).__name__
    if "Config name is missing" in text or "BuilderConfig" in text:
        return DataError(f"dataset '{name}' has configurations; write '{name}:CONFIG' ({' '.join(text.split())[:300]})")
    if match := re.search(r"Unknown split \"?'?([\w.-]+)", text):
        known = re.findall(r"'(\w+)'", text)
        return DataError(f"dataset '{name}' has no split '{match[1]}'{nearest(match[1], known)}: {first}")
    return DataError(f"dataset '{name}' could not be loaded: {first}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
