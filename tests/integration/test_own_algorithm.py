"""An algorithm of one's own, from a file, through the command line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from assent.cli import main

OWN = """
from dataclasses import replace

from assent.algorithms import load_algorithm

ALGORITHM = replace(load_algorithm("{name}"), name="mine")
"""


def trained(words: tuple[str, ...], out: Path) -> dict[str, torch.Tensor]:
    assert main([*words, "--out", str(out)]) == 0
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "data", "settings"),
    [
        ("dpo", ("--data", "pairs.jsonl"), {"max_steps": "2", "batch_size": "4", "beta": "0.3"}),
        ("rloo", ("--data", "prompts.jsonl", "--reward", "reward"), {"max_steps": "2", "batch_size": "8"}),
        ("ppo", ("--data", "prompts.jsonl", "--reward", "reward"), {"max_steps": "1", "critic": "shared"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_trains_as_the_one_it_is_a_copy_of(
    name: str,
    data: tuple[str, ...],
    settings: dict[str, str],
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(workshop)
    own = tmp_path / "mine.py"
    own.write_text(OWN.format(name=name))
    given = {**settings, **({} if name == "dpo" else {"max_new_tokens": "6", "samples_per_prompt": "2"})}
    options = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", value)]
    ours = trained((name, "--model", "policy", *data, *options), tmp_path / "ours")
    options = [word for key, value in given.items() for word in ("--settings", f"{key}={value}")]
    theirs = trained(("train", "--algorithm", str(own), "--model", "policy", *data, *options), tmp_path / "theirs")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    inputs = json.loads((tmp_path / "theirs/manifest.json").read_text())["inputs"]
    assert {"algorithm", "model", "data"} <= {given["name"] for given in inputs}  # another file is another identity


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("x = 1", (), "has no algorithm 'ALGORITHM'"),
        ("ALGORITHM = 3", (), "ALGORITHM is a int, expected an Algorithm record"),
        ("import nothing_there", (), "cannot be imported (ModuleNotFoundError"),
        (OWN.format(name="dpo"), ("--settings", "beat=1"), "unknown setting 'beat'; did you mean 'beta'"),
        (OWN.format(name="reward"), (), "trains a reward model"),
    ],
)
def test_what_is_wrong_with_the_file_is_told(
    text: str,
    options: tuple[str, ...],
    said: str,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(workshop)
    own = tmp_path / "mine.py"
    own.write_text(text)
    typed = ["train", "--algorithm", str(own), "--model", "policy", "--data", "pairs.jsonl", *options]
    assert main([*typed, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
