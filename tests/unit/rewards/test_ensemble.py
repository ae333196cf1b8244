"""An ensemble's value and uncertainty by hand; heads over one trunk; saved, loaded and scored again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assent.errors import ModelError, RecipeError
from assent.models.load import ENSEMBLE, load_reward_model, new_reward_model
from assent.models.save import save_model
from assent.rewards.ensemble import Ensemble, Pooling
from assent.rewards.model import ModelReward, load_models
from assent.rewards.rule import FunctionReward
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_causal, tiny_reward
from assent.types import Completion, Prompt

PROMPTS = [Prompt(id=str(i), text=text) for i, text in enumerate(("The film", "It was", "Once"))]
COMPLETIONS = [
    Completion(id=f"{i}/0", prompt_id=str(i), text=text, finish_reason="stop")
    for i, text in enumerate((" is good.", " a long and slow film with a fine cast.", ""))
]
VALUES = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, -4.0]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pooling(), (3.0, 0.0)),
        (Pooling("worst"), (1.0, -4.0)),
        (Pooling("variance", 0.5), (3.0 - 0.5 * 8 / 3, -0.5 * 8.0)),
    ],
)
def test_the_members_come_to_one(pooling: Pooling, expected: tuple[float, float]):
    found = pooling(VALUES)
    assert found.values == pytest.approx(expected)
    assert found.uncertainty == pytest.approx((np.sqrt(8 / 3), np.sqrt(8)))
    assert found.parts == {"member-1": (1.0, 2.0), "member-2": (3.0, 2.0), "member-3": (5.0, -4.0)}


def test_an_ensemble_of_any_sources():
    members = [FunctionReward(lambda prompt, text, k=k: k * len(text)) for k in (1.0, 3.0)]
    check_reward_source(Ensemble(members, Pooling("worst")), PROMPTS, COMPLETIONS)
    found = Ensemble(members).score(PROMPTS, COMPLETIONS)
    assert found.values == pytest.approx([2.0 * len(c.text) for c in COMPLETIONS])
    assert found.uncertainty == pytest.approx([1.0 * len(c.text) for c in COMPLETIONS])
    with pytest.raises(RecipeError, match="two members or more"):
        Ensemble(members[:1])


def test_heads_over_one_trunk_are_members(tmp_path: Path):
    policy = tmp_path / "policy"
    save_model(tiny_causal(), policy, method="none", base="none", settings={})
    model = new_reward_model(policy, 0, members=3)
    model.set_offsets([0.1, 0.2, 0.3])
    assert (model.members, model.criteria, model.offsets) == (3, (), (0.1, 0.2, 0.3))
    source = ModelReward(model)
    check_reward_source(source, PROMPTS, COMPLETIONS)
    found = source.score(PROMPTS, COMPLETIONS)
    heads = np.array(list(found.parts.values()))
    assert heads.shape == (3, 3)
    assert found.values == pytest.approx(heads.mean(0))
    save_model(model, tmp_path / "reward", method="none", base="none", settings={})
    again = load_models(str(tmp_path / "reward"), pooling=Pooling("worst")).score(PROMPTS, COMPLETIONS)
    assert again.parts == found.parts  # bit for bit
    assert again.values == pytest.approx(heads.min(0))
    with pytest.raises(ModelError, match="is a reward model of 3 members, and 2 are wanted"):
        new_reward_model(tmp_path / "reward", 0, members=2)


def test_models_of_their_own_seeds_in_one_folder(tmp_path: Path):
    models = [tiny_reward(seed=seed) for seed in (1, 2)]
    for number, model in enumerate(models, 1):
        save_model(model, tmp_path / f"member-{number}", method="none", base="none", settings={})
    (tmp_path / ENSEMBLE).write_text(json.dumps({"members": ["member-1", "member-2"]}))
    source = load_models(str(tmp_path))
    check_reward_source(source, PROMPTS, COMPLETIONS)
    alone = [ModelReward(load_reward_model(tmp_path / f"member-{n}")).score(PROMPTS, COMPLETIONS) for n in (1, 2)]
    assert source.score(PROMPTS, COMPLETIONS).parts == {"member-1": alone[0].values, "member-2": alone[1].values}
    (tmp_path / ENSEMBLE).write_text("[]")
    with pytest.raises(ModelError, match="the names of the members"):
        load_models(str(tmp_path))
