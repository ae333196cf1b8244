"""A model folder is data: no pickle is read, and no code of it runs, unless its model was named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from assent.data.tokenizers import CODE_ALLOWED
from assent.errors import ModelError
from assent.models.load import context_length, load_policy, load_reward_model, new_reward_model
from benchmarks.fuzz.models import AUTO_MAP, MARKER, whole

LOADERS = (load_policy, load_reward_model, context_length, lambda folder: new_reward_model(folder, 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good policy, with code beside it that nothing names yet."""
    copy = tmp_path / "model"
    shutil.copytree(whole("policy"), copy)
    (copy / "evil.py").write_text((copy / "evil.py").read_text().replace("assent-fuzz-ran", f"{tmp_path}/{MARKER}"))
    return copy


def add(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def ran(folder: Path) -> bool:
    return (folder.parent / MARKER).exists()


@pytest.mark.parametrize("load", LOADERS)
def test_code_that_nobody_named_does_not_run(load: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody is asked in the middle of a run"))
    add(folder / "config.json", auto_map=AUTO_MAP, model_type="evil")
    with pytest.raises(ModelError, match=rf"{folder}: wants to run Python code .* set {CODE_ALLOWED}={folder}"):
        load(folder)
    assert not ran(folder)


def test_a_model_that_the_library_knows_needs_none_of_its_own_code(folder: Path) -> None:
    add(folder / "config.json", auto_map=AUTO_MAP)
    load_policy(folder)
    assert not ran(folder)


def test_code_of_a_tokenizer_that_nobody_named_does_not_run(folder: Path) -> None:
    add(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "evil.Words"]}, tokenizer_class="Words")
    with pytest.raises(ModelError, match="wants to run Python code"):
        load_policy(folder)
    assert not ran(folder)


def test_a_model_that_was_named_runs_its_code_and_no_other_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder / "config.json", auto_map=AUTO_MAP, model_type="evil")
    shutil.copytree(folder, folder.with_name("other"))
    monkeypatch.setenv(CODE_ALLOWED, f"org/name,{folder}")
    policy = load_policy(folder)
    assert ran(folder)
    assert type(policy.model).__name__ == "Model"
    with pytest.raises(ModelError, match="wants to run Python code"):
        load_policy(folder.with_name("other"))


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("load", LOADERS[:1] + LOADERS[1:2] + LOADERS[3:])
@pytest.mark.parametrize("index", [False, True])
def test_weights_in_a_pickle_are_refused(load: Any, index: bool, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(folder.parent / MARKER)))
    if index:
        names = {"model.embed_tokens.weight": "pytorch_model.bin"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    with pytest.raises(ModelError, match=str(folder)):
        load(folder)
    assert not ran(folder)
