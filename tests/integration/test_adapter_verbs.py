"""The loop with adapters, as a user types it: SFT, reward model, PPO and DPO on top, then a plain model of it all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from assent.cli import main
from assent.models.load import load_policy, load_reward_model
from assent.rewards.ensemble import Ensemble
from assent.rewards.model import load_models
from assent.runs.lineage import trace

LORA = ("--adapter", "lora", "--lora-r", "4", "--learning-rate", "1e-2")
QUICK = ("--max-steps", "3", "--batch-size", "8")


@pytest.fixture(autouse=True)
def _here(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop)


@pytest.fixture
def assent(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(verb: str, *arguments: str, out: str | None = None) -> Path:
        folder = tmp_path / (out or verb)
        status = main([verb, *arguments, "--out", str(folder)])
        said = capsys.readouterr()
        assert status == 0, said.err
        assert "Warning" not in said.out + said.err
        return folder

    return run


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 13)[None]).logits


@pytest.mark.parametrize("model", ["policy", "gpt2"])
def test_adapters_on_adapters(model: str, assent: Any, tmp_path: Path) -> None:
    """Nothing is merged on the way: each stage names the one before as its base, gpt2 without a PAD of its own too."""
    sft = assent("sft", "--model", model, "--data", "demos.jsonl", *QUICK, *LORA, "--no-merge", "--lora-dropout", "0.1")
    assert not (sft / "model.safetensors").exists()
    reward = assent("reward", "--model", str(sft), "--data", "pairs.jsonl", *QUICK, *LORA, "--no-merge")
    ppo = assent(
        "ppo", "--model", str(sft), "--reward", str(reward), "--data", "prompts.jsonl", *QUICK, *LORA, "--no-merge",
        "--max-new-tokens", "6", "--epochs", "1", "--snapshot-steps", "2", "--critic", "reward",
    )  # fmt: skip
    assert all(math.isfinite(value) for row in metrics(ppo) for value in row.values())
    assert metrics(ppo)[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    dpo = assent("dpo", "--model", str(ppo), "--data", "pairs.jsonl", *QUICK, *LORA)
    assert metrics(dpo)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)  # the reference is the policy's start
    for folder, base in ((reward, "../sft"), (ppo, "../sft"), (dpo / "adapter", "../../ppo")):
        stored = json.loads((folder / "adapter_config.json").read_text())
        assert stored["base_model_name_or_path"] == base
    snapshot = load_policy(ppo / "snapshots" / "step-000002")
    assert not torch.equal(logits(snapshot.model), logits(load_policy(ppo).model))
    plain = assent("merge", "--model", str(ppo), out="plain")
    with_transformers = AutoModelForCausalLM.from_pretrained(plain)
    assert (logits(with_transformers) - logits(load_policy(ppo).model)).abs().max() < 1e-5
    assert logits(load_policy(dpo).model).shape == logits(with_transformers).shape
    scored = assent("merge", "--model", str(reward), out="scores")
    config = AutoModelForSequenceClassification.from_pretrained(scored).config
    assert config.num_labels == 1
    assert config.assent_reward_offset == json.loads((reward / "config.json").read_text())["assent_reward_offset"]
    (lineage,) = trace(dpo / "adapter" / "adapter_model.safetensors")
    assert [parent.manifest.stage for _, parent in lineage.inputs if parent] == ["ppo"]


@pytest.mark.parametrize("merge", ["--merge", "--no-merge"])
def test_an_ensemble_of_adapters_is_one_base(merge: str, assent: Any) -> None:
    told = ("--data", "pairs.jsonl", *QUICK, *LORA, "--members", "3", merge)
    reward = assent("reward", "--model", "policy", *told)
    found = load_models(str(reward))
    assert isinstance(found, Ensemble)
    models = [member.model for member in found.members]
    weights = [{p.data_ptr(): p.numel() for p in model.parameters()} for model in models]
    together = {place: count for model in weights for place, count in model.items()}
    own = sum(p.numel() for n, p in models[0].named_parameters() if "lora_" in n or "score" in n)
    assert sum(together.values()) == sum(weights[0].values()) + 2 * own
    tokens = torch.arange(3, 13)[None]
    scores = [model.scores(tokens, tokens > 0) for model in models]
    assert len({float(score.detach()) for score in scores}) == 3
    alone = [load_reward_model(reward / f"member-{n}").scores(tokens, tokens > 0) for n in (1, 2, 3)]
    assert all(float((one - other).detach().abs()) < 1e-5 for one, other in zip(scores, alone, strict=True))


def test_a_foreign_adapters_base_is_part_of_what_a_stage_is_made_from(assent: Any, tmp_path: Path) -> None:
    sft = assent("sft", "--model", "policy", "--data", "demos.jsonl", *QUICK, *LORA, "--no-merge")
    (sft / "manifest.json").unlink()
    dpo = assent("dpo", "--model", str(sft), "--data", "pairs.jsonl", *QUICK)
    inputs = {item["name"]: item for item in json.loads((dpo / "manifest.json").read_text())["inputs"]}
    assert inputs["model base"]["path"] == str(Path("policy").resolve())
    assert inputs["model base"]["artifact"] == "model"


def test_a_whole_model_is_not_merged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["merge", "--model", "policy", "--out", str(tmp_path / "out")]) == 2
    assert "policy: is no adapter folder (no adapter_config.json in it)" in capsys.readouterr().err


def test_dropout_is_no_setting_where_log_probabilities_are_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["dpo", "--model", "policy", "--data", "pairs.jsonl", "--out", str(tmp_path / "out")]
    assert main([*asked, "--lora-dropout", "0.1"]) == 2
    assert "lora-dropout" in capsys.readouterr().err
