"""What a user can get wrong: one clear sentence, exit status 2, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from assent.cli import main

Break = Callable[[], Any]

SFT = "sft --model policy --data "
PPO = "ppo --model policy --data prompts.jsonl --max-new-tokens 6 "
BY_WORDS = PPO + "--reward-function rules.py:words "


@pytest.fixture(autouse=True)
def here(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workshop to break things in."""
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder)
    monkeypatch.chdir(folder)
    return folder


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """The one sentence that a command ends in.  No folder, file or lock that was not there before is left."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == status, capsys.readouterr()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    sentence = said.strip().splitlines()[-1]
    assert sentence.startswith("assent: ")
    left = [path for path in sorted(Path().rglob("*")) if path not in before and "__pycache__" not in str(path)]
    assert left == []
    return sentence


def text(name: str, content: str | bytes) -> Break:
    return lambda: Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def _remove(pattern: str) -> Break:
    return lambda: [path.unlink() for path in Path().glob(pattern)]


def _cut(name: str, size: int) -> Break:
    return lambda: Path(name).write_bytes(Path(name).read_bytes()[:size])


def _weights(change: Callable[[dict[str, Any]], Any], folder: str = "policy") -> Break:
    def broken() -> None:
        weights = load_file(f"{folder}/model.safetensors")
        changed = {name: value.contiguous() for name, value in change(weights).items()}
        save_file(changed, f"{folder}/model.safetensors", {"format": "pt"})

    return broken


def _config(folder: str, **changed: Any) -> Break:
    def broken() -> None:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return broken


def _nothing() -> None:
    """The workshop as it is."""


LONG = "good film " * 100
DATA: list[tuple[Break, str, str]] = [
    (text("d.jsonl", ""), SFT + "d.jsonl", "d.jsonl: the file is empty; expected at least one row"),
    (text("d.jsonl", '{"prompt": "a", "completion": "b"}\n{"a\n'), SFT + "d.jsonl", "d.jsonl, line 2: not JSON"),
    (text("d.json", '[{"prompt": "a", "completion": "b"}'), SFT + "d.json", "d.json, line 1: not JSON"),
    (text("d.jsonl", b"\xff\xfe\x00"), SFT + "d.jsonl", "d.jsonl, line 1: not UTF-8"),
    (text("d.csv", "prompt,completion\na,b,c\n"), SFT + "d.csv", "d.csv, line 2: 3 fields, but the header has 2"),
    (text("d.parquet", b"PAR1x"), SFT + "d.parquet", "d.parquet: not a whole Parquet file"),
    (text("d.jsonl", '{"asked": "a", "said": "b"}'), SFT + "d.jsonl",
     "d.jsonl, line 1: expected demonstrations (prompt and completion, or messages); or texts (text); its columns are "
     "asked, said"),
    (_nothing, "dpo --model policy --data demos.jsonl", "demos.jsonl, line 1: expected comparisons (prompt, "),
    (_nothing, "reward --model policy --data prompts.jsonl", "or judgements (text and label"),
    (text("d.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": ""}\n'), SFT + "d.jsonl",
     "d.jsonl, line 2: column 'completion' is empty"),
    (text("d.jsonl", '{"prompt": "a", "chosen": "", "rejected": "b"}\n'), "reward --model policy --data d.jsonl",
     "d.jsonl, line 1: column 'chosen' is empty"),
    (text("d.jsonl", '{"text": "a", "label": 5}\n'), "reward --model policy --data d.jsonl", "label 5 of 'a'"),
    (text("d.jsonl", json.dumps({"prompt": LONG, "completion": "b"})), SFT + "d.jsonl", "at most 64 fit; shorten it"),
    (text("prompts.jsonl", f'{{"prompt": "a"}}\n{{"prompt": "{LONG}"}}\n'), BY_WORDS, "prompts.jsonl, line 2: prompt "),
    (_nothing, SFT + "demos.jsnl", "'demos.jsnl'; did you mean 'demos.jsonl'?"),
]  # fmt: skip

MODELS: list[tuple[Break, str, str]] = [
    (_remove("policy/tokenizer*"), SFT + "text.jsonl", "policy: the model folder has no tokenizer"),
    (_remove("policy/config.json"), SFT + "text.jsonl", "policy: no config.json in it, so this is not a model folder"),
    (_remove("policy/*.safetensors"), SFT + "text.jsonl", "policy: no model.safetensors in it"),
    (_cut("policy/model.safetensors", 5000), SFT + "text.jsonl", "policy: the weights are damaged"),
    (text("policy/config.json", "{oops"), SFT + "text.jsonl", "policy/config.json: not JSON"),
    (text("policy/tokenizer.json", "{oops"), SFT + "text.jsonl", "policy: its tokenizer cannot be loaded"),
    (_config("policy", vocab_size=290), SFT + "text.jsonl", "policy: the weights do not have the shapes that config"),
    (_weights(lambda w: {k: v for k, v in w.items() if "layers.1.mlp" not in k}), SFT + "text.jsonl",
     "policy: 3 weights are missing from its files"),
    (_weights(lambda w: {k: v * float("nan") for k, v in w.items()}), SFT + "text.jsonl", "holds NaN or infinity"),
    (_nothing, PPO + "--reward policy", "policy: the reward head is missing (no weight 'score.weight')"),
    (_weights(lambda w: {k: v for k, v in w.items() if "score" not in k}, "reward"), PPO + "--reward reward",
     "reward: the reward head is missing (no weight 'score.weight')"),
    (_config("reward", id2label={"0": "a", "1": "b"}), PPO + "--reward reward", 
     "the weights do not have the shapes that config"),
    (_nothing, "sft --model reward --data text.jsonl", "reward: is a reward model or classifier, expected a"),
    (_nothing, "ppo --model gpt2 --data prompts.jsonl --max-new-tokens 6 --reward reward --critic reward",
     "critic: reward needs a causal reward model with the policy's own tokenizer; use critic: policy"),
    (_config("reward", max_position_embeddings=8), PPO + "--reward reward", "the reward model's context of 8 tokens"),
    (_nothing, "evaluate --model policy --base gpt2 --data prompts.jsonl --max-new-tokens 6", "gpt2: base has another"),
    (_nothing, "sft --model me/none --data text.jsonl", "the hub cannot be reached; check the network"),
    (_nothing, SFT + "me/none", "the hub cannot be reached to look for a dataset of that name"),
    (_nothing, "sft --model ./none --data text.jsonl", "there is no file or folder 'none'"),
    (_nothing, "sft --model no!name --data text.jsonl", "a model on the hub is written 'owner/name'"),
]  # fmt: skip

SETTINGS: list[tuple[Break, str, str]] = [
    (_nothing, BY_WORDS + "--temperature 0", "--temperature: 'temperature' of stage 'ppo' (kind ppo) expected a numb"),
    (_nothing, BY_WORDS + "--samples-per-prompt 16 --batch-size 8", "batch_size 8 must be a multiple of samples_per"),
    (_nothing, BY_WORDS + "--minibatches 16 --batch-size 8", "minibatches 16 is more than the 8 prompts of a step"),
    (_nothing, BY_WORDS.replace("tokens 6", "tokens 64"), "max_new_tokens 64 leaves no room for a prompt"),
    (_nothing, PPO, "give either reward (a reward model, or another source) or reward_function"),
    (_nothing, PPO + "--reward-function rules.py:nan", "a reward must be finite"),
    (_nothing, PPO + "--reward-function rules.py:broken", "rules.py, line 10); it is called with a Prompt"),
    (_nothing, PPO + "--reward-function rules.py:wrds", "rules.py has no function 'wrds'; did you mean 'words'?"),
    (text("rules.py", "def words(:\n"), BY_WORDS, "rules.py cannot be imported (SyntaxError"),
    (_nothing, "evaluate --model policy --data prompts.jsonl --max-new-tokens 6 --judge-function rules.py:nan",
     "has no score: the judge gave nan; a reward must be finite"),
    (_nothing, "evaluate --data prompts.jsonl", "give either model (and against), or policies"),
    (text("c.jsonl", '{"prompt": "a", "completion": "b"}\n'), "collect --data c.jsonl", "simulated annotators need"),
    (_nothing, SFT + "text.jsonl --eval-split 0.99", "eval_split 0.99 of 24 examples leaves nothing to train on"),
    (_nothing, SFT + "text.jsonl --load-best-model-at-end", "need eval_data or eval_split"),
    (_nothing, SFT + "text.jsonl --max-length 100", "max_length 100 is more than the model's context of 64 tokens"),
    (_nothing, SFT + "text.jsonl --learning-rate fast", "--learning-rate: 'learning_rate' of stage 'sft'"),
    (_nothing, SFT + "text.jsonl --learning-rat 1", "No such option"),
]  # fmt: skip


@pytest.mark.parametrize(("breaks", "command", "sentence"), [*DATA, *MODELS, *SETTINGS])
def test_one_sentence_and_nothing_left(
    breaks: Break, command: str, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assent.data.hub._reachable", lambda: False)
    breaks()
    assert sentence in fails(capsys, *command.split(), "--out", "out")


@pytest.mark.parametrize(("setting", "sentence"), [("learning_rat", "line 3: unknown setting 'learning_rat'")])
def test_a_typo_in_a_recipe(setting: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(f"stages:\n  sft: {{model: policy, data: text.jsonl,\n    {setting}: 1}}\n")
    said = fails(capsys, "run", "r.yaml", "--out", "out")
    assert sentence in said
    assert "did you mean 'learning_rate'?" in said


def test_a_gated_model_says_which_page_and_which_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class GatedRepoError(OSError):
        """As the hub's client names it."""

    def gated(*args: Any, **kwargs: Any) -> Any:
        raise OSError("You are trying to access a gated repo.") from GatedRepoError()

    monkeypatch.setattr("assent.data.hub._reachable", lambda: True)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", gated)  # what is asked for first
    said = fails(capsys, "sft", "--model", "meta/secret", "--data", "text.jsonl", "--out", "out")
    assert "accept its terms at https://huggingface.co/meta/secret, then set HF_TOKEN" in said


def test_a_folder_that_is_there_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/mine").write_text("kept")
    said = fails(capsys, *SFT.split(), "text.jsonl", "--out", "out")
    assert "out: exists and is not empty; choose another --out, or pass --overwrite" in said
    assert Path("out/mine").read_text() == "kept"


@pytest.mark.parametrize("function", ["torch.save", "assent.pipeline.stages.training.save_model"])
def test_a_full_disk(
    function: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        (here / "out.partial" / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(function, full)
    arguments = [*SFT.split(), "text.jsonl", "--save-steps", "1" if "torch" in function else "50", "--max-steps", "3"]
    assert "out: no space left on the disk; free some and run the same again" in fails(
        capsys, *arguments, "--out", "out"
    )
