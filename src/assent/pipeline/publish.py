"""Uploading a finished stage's model to the hub.  The folder is whole before; whatever fails here, it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from assent.errors import ModelError
from assent.pipeline.recipe import StageSpec

SETTING = "push_to_hub"
_KEPT_BACK = ["*.jsonl", "manifest.json", "critic.safetensors"]


def wanted(spec: StageSpec) -> str | None:
    """The repository that a stage's model is to be uploaded to, if any."""
    name = spec.values.get(SETTING)
    return str(name) if name else None


def warn_early(spec: StageSpec, say: Callable[[str], None]) -> None:
    """Say before the hours of training that the upload will need a token."""
    name = wanted(spec)
    if name:
        from huggingface_hub import get_token

        if get_token() is None:
            say(f"{SETTING} '{name}': there is no token yet; set HF_TOKEN or run 'hf auth login' before this ends")


def publish(name: str, folder: Path, say: Callable[[str], None]) -> None:
    """Upload ``folder`` as the model repository ``name``.  Raises :class:`ModelError` in one sentence."""
    from huggingface_hub import HfApi, get_token

    from assent.data.hub import hub_answers

    again = f"the trained model is kept in {folder}, and the same command again only uploads it"
    if get_token() is None:
        raise ModelError(f"{SETTING} '{name}': there is no token; set HF_TOKEN or run 'hf auth login'; {again}")
    if not hub_answers(name):
        raise ModelError(f"{SETTING} '{name}': the hub cannot be reached; check the network; {again}")
    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=str(folder), ignore_patterns=_KEPT_BACK)
    except Exception as error:  # the client raises its own and those of whichever HTTP library it is built on
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{SETTING} '{name}': {reason}; check the name and the token's rights; {again}") from error
    say(f"uploaded to https://huggingface.co/{name}")
