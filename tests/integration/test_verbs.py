"""Every verb that runs one stage, as a user types it; what they write loads with plain ``transformers``."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from assent.cli import main
from assent.data.readers import read_completions
from assent.feedback.store import FeedbackStore

SHORT = ("--max-new-tokens", "6")
QUICK = ("--max-steps", "3", "--batch-size", "8")


@pytest.fixture(autouse=True)
def _here(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop)


@pytest.fixture
def assent(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a stage into a folder of its own, and returns the folder."""

    def run(verb: str, *arguments: str, out: str | None = None) -> Path:
        folder = tmp_path / (out or verb)
        status = main([verb, *arguments, "--out", str(folder)])
        said = capsys.readouterr()
        assert status == 0, said.err
        assert "Warning" not in said.out + said.err
        assert "[transformers]" not in said.out + said.err
        return folder

    return run


def rows(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def loads(folder: Path, cls: Any = AutoModelForCausalLM) -> Any:
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert len(tokenizer) <= model.config.vocab_size
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert f"# {folder.name}\n" in card
    assert not (folder / "checkpoints").exists()
    if cls is AutoModelForCausalLM:
        assert model.generation_config.pad_token_id == tokenizer.pad_token_id
        assert (folder / "generation_config.json").is_file()
        assert model.generate(**tokenizer("The", return_tensors="pt"), max_new_tokens=2).shape[1] > 1
    return tokenizer


@pytest.mark.parametrize("model", ["policy", "gpt2"])
@pytest.mark.parametrize("data", ["text.jsonl", "demos.jsonl", "chats.jsonl", "demos.csv", "demos.parquet"])
def test_sft_reads_the_usual_columns_and_formats(model: str, data: str, assent: Any) -> None:
    if not Path(data).exists():
        _converted(rows(Path(), "demos.jsonl"), Path(data))
    tokenizer = loads(assent("sft", "--model", model, "--data", data, *QUICK))
    assert bool(tokenizer.chat_template) == (data == "chats.jsonl")


def _converted(table: list[dict[str, Any]], path: Path) -> None:
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(table), path)
        return
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


@pytest.mark.parametrize(
    ("data", "metric"), [("pairs.jsonl", "eval_accuracy"), ("labels.jsonl", "eval_accuracy")], ids=["pairs", "labels"]
)
def test_reward_learns_from_comparisons_and_from_labels(data: str, metric: str, assent: Any) -> None:
    settings = ("--max-steps", "20", "--batch-size", "8", "--learning-rate", "1e-3", "--eval-split", "0.25")
    folder = assent("reward", "--model", "policy", "--data", data, *settings)
    loads(folder, AutoModelForSequenceClassification)
    assert rows(folder)[-1][metric] > 0.8
    offset = json.loads((folder / "config.json").read_text()).get("assent_reward_offset")
    assert (offset is not None) == (data == "pairs.jsonl")


@pytest.mark.parametrize(
    ("verb", "settings"),
    [
        ("dpo", ()),
        ("dpo", ("--loss", "ipo", "--length-normalised")),
        ("dpo", ("--loss", "hinge", "--margin-offset", "0.5")),
        ("dpo", ("--loss", "robust", "--label-smoothing", "0.1")),
        ("kto", ()),
        ("orpo", ("--beta", "1")),
        ("simpo", ()),
        ("cpo", ()),
    ],
)
def test_what_was_chosen_is_preferred(verb: str, settings: tuple[str, ...], assent: Any) -> None:
    quick = ("--max-steps", "10", "--batch-size", "8", "--learning-rate", "1e-3", "--eval-split", "0.2")
    folder = assent(verb, "--model", "policy", "--data", "pairs.jsonl", *quick, *settings)
    loads(folder)
    assert rows(folder)[-1]["accuracy"] > 0.9


def test_kto_learns_from_labels(assent: Any) -> None:
    quick = ("--max-steps", "10", "--batch-size", "8", "--learning-rate", "1e-3")
    folder = assent("kto", "--model", "policy", "--data", "labels.jsonl", *quick)
    loads(folder)
    assert rows(folder)[0]["loss"] == pytest.approx(0.5, abs=1e-6)
    assert rows(folder)[-1]["reward_desirable"] > rows(folder)[-1]["reward_undesirable"] + 0.1


@pytest.mark.parametrize(
    "settings",
    [
        ("--reward", "reward"),
        ("--reward", "reward", "--critic", "reward", "--minibatches", "2"),
        ("--reward-function", "rules.py:words", "--critic", "shared", "--samples-per-prompt", "2"),
        ("--reward", "reward", "--dtype", "bfloat16", "--gradient-checkpointing", "--temperature", "0.7"),
    ],
    ids=["reward model", "critic from reward", "function", "bfloat16"],
)
def test_ppo(settings: tuple[str, ...], assent: Any) -> None:
    folder = assent("ppo", "--model", "policy", "--data", "prompts.jsonl", *QUICK, *SHORT, *settings)
    loads(folder)
    assert (folder / "critic.safetensors").is_file()
    assert len(rows(folder)) == 3
    assert all(math.isfinite(value) for row in rows(folder) for value in row.values())


def test_ppo_with_a_reward_model_of_another_tokenizer(assent: Any) -> None:
    reward = assent("reward", "--model", "gpt2", "--data", "pairs.jsonl", *QUICK)
    loads(assent("ppo", "--model", "policy", "--data", "prompts.jsonl", "--reward", str(reward), *QUICK, *SHORT))


def test_sample_and_evaluate(assent: Any) -> None:
    drawn = assent("sample", "--model", "policy", "--data", "prompts.jsonl", "--n", "3", *SHORT)
    pairs = read_completions(drawn / "completions.jsonl")
    assert len(pairs) == 48
    assert all(0 < len(completion.token_ids) <= 6 for _, completion in pairs)
    tuned = assent("sft", "--model", "policy", "--data", "demos.jsonl", "--learning-rate", "1e-2", *QUICK)
    common = ("--data", "prompts.jsonl", *SHORT)
    alone = json.loads((assent("evaluate", "--model", "policy", *common, out="a") / "evaluation.json").read_text())
    assert alone["policies"]["model"]["kl"] == 0.0
    assert alone["win_rates"] == []
    against = ("--model", str(tuned), "--against", "policy", *common)
    for judge in (("--judge", "reward"), ("--judge-function", "rules.py:words")):
        judged = json.loads((assent("evaluate", *against, *judge, out=judge[0]) / "evaluation.json").read_text())
        assert judged["policies"]["model"]["kl"] != 0.0
        assert 0.0 <= judged["win_rates"][0]["rate"] <= 1.0


def test_evaluate_leaves_out_the_kl_between_models_of_different_tokenizers(assent: Any) -> None:
    models = ("--model", "gpt2", "--against", "policy", "--data", "prompts.jsonl")
    folder = assent("evaluate", *models, "--judge", "reward", *SHORT)
    found = json.loads((folder / "evaluation.json").read_text())
    assert "kl" not in found["policies"]["model"]
    assert found["win_rates"]


def test_settings_have_the_names_and_meanings_of_transformers(assent: Any) -> None:
    data = ("--model", "policy", "--data", "demos.jsonl", "--batch-size", "4", "--eval-split", "0.25")
    cosine = ("--num-train-epochs", "2", "--lr-scheduler-type", "cosine", "--warmup-steps", "2", "--eval-steps", "3")
    folder = assent("sft", *data, *cosine, "--learning-rate", "1e-3", out="cosine")
    rates = [row["learning_rate"] for row in rows(folder)]
    assert len(rates) == 9  # 18 examples, twice, in fours
    assert rates[0] < rates[1] < rates[2] == 1e-3
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert [row["step"] for row in rows(folder) if "eval_loss" in row] == [3, 6, 9]
    constant = ("--max-steps", "4", "--lr-scheduler-type", "constant", "--weight-decay", "0.1", "--seed", "3")
    assert {row["learning_rate"] for row in rows(assent("sft", *data, *constant, out="constant"))} == {1e-4}


def test_early_stopping_keeps_the_best_weights(assent: Any) -> None:
    settings = ("--max-steps", "40", "--batch-size", "4", "--eval-split", "0.25", "--eval-steps", "1")
    stop = ("--early-stopping-patience", "2", "--load-best-model-at-end", "--learning-rate", "0.3")
    folder = assent("sft", "--model", "policy", "--data", "demos.jsonl", *settings, *stop)
    losses = [row["eval_loss"] for row in rows(folder)]
    assert len(losses) < 40
    assert json.loads((folder / "manifest.json").read_text())["metrics"]["eval_loss"] == min(losses)
    assert losses[-3] == min(losses)


def test_rows_with_an_empty_answer_can_be_left_out(assent: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gaps.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": ""}\n' * 4)
    folder = assent("sft", "--model", "policy", "--data", "gaps.jsonl", "--empty", "skip", *QUICK)
    assert json.loads((folder / "manifest.json").read_text())["metrics"]["examples"] == 4


def test_the_same_command_again_does_nothing_and_a_setting_of_no_effect_changes_nothing(
    assent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("sft", "--model", "policy", "--data", "demos.jsonl", *QUICK)
    folder = assent(*arguments)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert main([*arguments, "--save-steps", "7", "--save-total-limit", "1", "--out", str(folder)]) == 0
    assert "already done" in "".join(capsys.readouterr())
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_an_upload_that_fails_keeps_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    arguments = ["sft", "--model", "policy", "--data", "demos.jsonl", *QUICK, "--push-to-hub", "me/model"]
    arguments += ["--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "set HF_TOKEN" in capsys.readouterr().err
    loads(tmp_path / "out")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    monkeypatch.setattr("assent.data.hub._reachable", lambda: False)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "already done" in said.out + said.err
    assert "the hub cannot be reached" in said.err


def test_the_template_stops_for_people_and_goes_on_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path("policy").resolve()
    assert main(["init", str(tmp_path / "project")]) == 0
    monkeypatch.chdir(tmp_path / "project")
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    stages = recipe["stages"]
    stages["sft"] |= {"model": str(model), "num_train_epochs": 1, "overlong": "truncate"}
    for name in ("sample", "ppo", "evaluate"):
        stages[name] |= {"max_new_tokens": 4, "truncate_prompts": "left"}
    stages["reward"]["overlong"] = "drop"
    stages["ppo"] |= {"max_steps": 2, "batch_size": 4}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    Path("prompts.jsonl").write_text("".join(f'{{"prompt": "Film {n}."}}\n' for n in range(4)))
    demos = "".join(f'{{"prompt": "Film {n}.", "completion": " good"}}\n' for n in range(4))
    Path("demonstrations.jsonl").write_text(demos)

    assert main(["run", "recipe.yaml"]) == 3
    said = capsys.readouterr().err
    assert "0 of 4 rankings are in" in said
    assert "assent label serve runs/project/feedback.db" in said
    with FeedbackStore.open("runs/project/feedback.db") as store:
        for question in store.questions():
            count = len(question.completion_ids)
            store.add_ranking(question.id, "ann", range(1, count + 1), order=tuple(range(count)))
    assert main(["label", "status", "runs/project/feedback.db"]) == 0
    assert "4 questions, 4 answers" in capsys.readouterr().out
    assert main(["label", "export", "runs/project/feedback.db", "--out", "rankings.jsonl"]) == 0
    assert len(rows(Path(), "rankings.jsonl")) == 4

    assert main(["run", "recipe.yaml"]) == 0, capsys.readouterr().err
    assert "sample: done before" in "".join(capsys.readouterr())
    loads(Path("runs/project/ppo").resolve())
    for verb in (["status"], ["report", "--json"], ["lineage", "runs/project/ppo"], ["plan", "recipe.yaml"]):
        assert main(verb) == 0
    said = capsys.readouterr().out
    assert "rankings 4" in said
    assert '"distinct_2_ratio"' in said
    assert "demonstrations.jsonl" in said
    assert "nothing changed" in said
