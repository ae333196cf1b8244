"""Targets: model folders that were damaged, or made to run code."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from assent.errors import AssentError
from assent.models.load import context_length, load_policy, load_reward_model, new_reward_model
from assent.testing.tiny import tiny_causal, tiny_reward
from benchmarks.fuzz.junk import JUNK, edited, spoilt
from benchmarks.fuzz.target import Outcome, Target, refusal

_LARGEST = 500
"""A configuration may ask for more memory or layers than any machine has; that is not tried."""
MARKER = "ran"
CODE = f"""
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
Path(__file__).with_name("{MARKER}").touch()
Path({tempfile.gettempdir()!r}, "assent-fuzz-{MARKER}").touch()
class Config(LlamaConfig):
    model_type = "evil"
class Model(LlamaForCausalLM):
    config_class = Config
class Scored(LlamaForSequenceClassification):
    config_class = Config
class Words(PreTrainedTokenizerFast):
    pass
"""
AUTO_MAP = {
    "AutoConfig": "evil.Config",
    "AutoModelForCausalLM": "evil.Model",
    "AutoModelForSequenceClassification": "evil.Scored",
    "AutoTokenizer": [None, "evil.Words"],
}


_HEADS: dict[str, dict[str, Any]] = {"criteria": {"criteria": ("kind", "true")}, "members": {"members": 2}}


@cache
def whole(kind: str) -> Path:
    """A good folder of a policy, a reward model, or one with a head for each criterion or member, with code in it that
    nobody asked for."""
    folder = Path(tempfile.mkdtemp(prefix="assent-fuzz-")) / kind
    made: Any = tiny_causal() if kind == "policy" else tiny_reward()
    if kind in _HEADS:
        made = new_reward_model(whole("policy"), 0, **_HEADS[kind])
        made.model.config.assent_reward_offset = [0.5, -0.5]
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    (folder / "evil.py").write_text(CODE)
    return folder


_SMALL = JUNK.filter(lambda value: _fits(value))


def _fits(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, (int, float)) or abs(value) <= _LARGEST


@st.composite
def _folders(draw: Callable[..., Any]) -> tuple[str, dict[str, bytes | None]]:
    kind = draw(st.sampled_from(["policy", "reward", *_HEADS]))
    home = whole(kind)
    changed: dict[str, bytes | None] = {}
    way = draw(st.integers(0, 9))
    if way < 4:
        good = json.loads((home / "config.json").read_bytes())
        changed["config.json"] = json.dumps(draw(spoilt([good], junk=_SMALL, most=2))).encode()
    elif way < 6:
        name = draw(st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]))
        changed[name] = draw(st.none() | edited((home / name).read_bytes()).filter(lambda data: not _digits(data)))
    elif way == 6:
        header = (home / "model.safetensors").read_bytes()
        changed["model.safetensors"] = header[: draw(st.integers(0, len(header)))]
    elif way == 7:
        tokenizer = json.loads((home / "tokenizer_config.json").read_bytes())
        changed["tokenizer_config.json"] = json.dumps(draw(spoilt([tokenizer], junk=_SMALL, most=2))).encode()
    else:
        changed |= draw(_unasked(home))
    return kind, changed


def _digits(data: bytes) -> bool:
    return b"000" in data[:1_500] or b"999" in data


@st.composite
def _unasked(draw: Callable[..., Any], home: Path) -> dict[str, bytes | None]:
    """Code by name, and weights as a pickle."""
    changed: dict[str, bytes | None] = {}
    for name in ("config.json", "tokenizer_config.json"):
        if draw(st.booleans()):
            auto = {key: AUTO_MAP[key] for key in draw(st.lists(st.sampled_from(sorted(AUTO_MAP)), min_size=1))}
            given = json.loads((home / name).read_bytes()) | {"auto_map": auto}
            if draw(st.booleans()):
                given |= {"model_type": "evil"} if name == "config.json" else {"tokenizer_class": "Words"}
            changed[name] = json.dumps(given).encode()
    if draw(st.booleans()):
        changed |= {"model.safetensors": None, "pytorch_model.bin": b"\x80\x04cposix\nsystem\n(S'touch x'\ntR."}
    return changed


_LOADERS: tuple[Callable[[Path], Any], ...] = (
    load_policy, load_reward_model, context_length, lambda path: new_reward_model(path, 0),
)  # fmt: skip


def _load(drawn: tuple[str, dict[str, bytes | None]], folder: Path) -> Outcome:
    kind, changed = drawn
    copy = folder / "model"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole(kind), copy)
    for name, data in changed.items():
        (copy / name).unlink(missing_ok=True)
        if data is not None:
            (copy / name).write_bytes(data)
    outcome: Outcome = "refused"
    for load in _LOADERS:
        try:
            load(copy)
        except AssentError as error:
            refusal(error, copy)
        else:
            outcome = "taken"
    assert not (copy / MARKER).exists(), "code of the folder ran"
    assert not Path(tempfile.gettempdir(), f"assent-fuzz-{MARKER}").exists(), "code of the folder ran"
    return outcome


TARGETS = [Target("models", st.deferred(_folders), _load)]
