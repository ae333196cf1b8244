"""A loop of the user's own: the same weights as the stage's loop, bit for bit; and what is typed wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import assent
from assent.algorithms import load_algorithm
from assent.errors import DataError, RecipeError
from assent.testing.tiny import tiny_causal
from assent.training import on_policy
from assent.training.sources import stream_places
from assent.types import Prompt
from tests.training.tiny_runs import PROMPTS, rollout_task, weights

SETTINGS: dict[str, Any] = {
    "max_steps": 4,
    "samples_per_prompt": 2,
    "epochs": 2,
    "minibatches": 2,
    "max_new_tokens": 5,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "linear",
}


def reward(text: str) -> float:
    return text.count("e") + 0.1 * len(text)


def own_loop(trainer: Any, steps: int) -> list[dict[str, float]]:
    figures: list[dict[str, float]] = []
    for step in range(trainer.steps_done, steps):
        prompts = [PROMPTS[i] for i in stream_places(len(PROMPTS), 3, 3, step)]
        completions = trainer.generate(prompts)
        figures.append(trainer.step(prompts, completions, [reward(c.text) for c in completions]))
    return figures


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_an_own_loop_gives_the_weights_of_the_stages_loop(algorithm: str, tmp_path: Path):
    task = rollout_task(algorithm, tmp_path / "stage", batch_size=6, **SETTINGS)
    _, roles = on_policy.train(task)
    trainer = assent.Trainer(tiny_causal(), algorithm, seed=3, **SETTINGS, **own_settings(algorithm))
    figures = own_loop(trainer, 4)
    want = weights(dict(roles.trained))
    assert {"reward_mean", "kl", "grad_norm"} <= set(figures[0])
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, want[f"policy.{name}"]), name


def own_settings(algorithm: str) -> dict[str, Any]:
    """What :func:`rollout_task` sets besides, as far as the algorithm has it."""
    from tests.training.tiny_runs import run_settings

    given = {"entropy_coefficient": 0.01, "kl_target": 0.5, "kl_horizon": 50.0}
    return {name: value for name, value in given.items() if name in type(run_settings(algorithm)).model_fields}


def test_an_own_loop_goes_on_from_its_checkpoint(tmp_path: Path):
    whole = assent.Trainer(tiny_causal(), "ppo", seed=3, **SETTINGS)
    own_loop(whole, 4)
    first = assent.Trainer(tiny_causal(), "ppo", seed=3, folder=tmp_path, **SETTINGS)
    own_loop(first, 2)
    first.checkpoint()
    again = assent.Trainer(tiny_causal(), "ppo", seed=3, folder=tmp_path, say=lambda text: None, **SETTINGS)
    assert again.steps_done == 2
    own_loop(again, 4)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_texts_of_ones_own_raise_their_probability(tmp_path: Path):
    """Completions that no engine sampled: strings, the good one of each prompt rewarded."""
    from assent.evaluation.tokens import token_logprobs
    from assent.types import Completion

    trainer = assent.Trainer(
        tiny_causal(), "reinforce", learning_rate=1e-2, kl_coefficient=0.0, minibatches=1, epochs=1
    )
    prompts = ["The film is", "The film is", [{"role": "user", "content": "The cat?"}]]

    def logprob() -> float:
        ids = trainer.model.tokenizer("The film is").input_ids
        answer = trainer.model.tokenizer(" good", add_special_tokens=False).input_ids
        row = Completion("c", "p", " good", tuple(answer), prompt_token_ids=tuple(ids))
        return sum(token_logprobs(trainer.model, [row], 1.0)[0])

    before = logprob()
    for _ in range(3):
        trainer.step(prompts, [" good", " bad", " fine"], [1.0, -1.0, 0.0])
    assert logprob() > before + 0.1
    trainer.save(tmp_path / "model")
    from transformers import AutoModelForCausalLM

    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert torch.equal(saved["model.norm.weight"], trainer.model.model.state_dict()["model.norm.weight"])


def test_an_algorithm_of_ones_own():
    """Only its name is another: the weights are those of assent's."""
    own = replace(load_algorithm("rloo"), name="mine")
    found: list[torch.Tensor] = []
    for algorithm in ("rloo", own):
        trainer = assent.Trainer(tiny_causal(), algorithm, samples_per_prompt=2, max_new_tokens=4, learning_rate=1e-2)
        prompts = ["The film is", "It was"]
        completions = trainer.generate(prompts)
        trainer.step(prompts, completions, [reward(c.text) for c in completions])
        found.append(trainer.model.model.get_input_embeddings().weight.detach())
    assert torch.equal(*found)
    assert not torch.equal(found[0], tiny_causal().model.get_input_embeddings().weight)


def test_a_second_draw_within_a_step_differs_and_the_first_can_be_repeated():
    trainers = [assent.Trainer(tiny_causal(), "rloo", samples_per_prompt=3, max_new_tokens=8) for _ in range(2)]
    first, again = (trainer.generate(["The film is"]) for trainer in trainers)
    assert [c.token_ids for c in first] == [c.token_ids for c in again]
    assert [c.token_ids for c in trainers[0].generate(["The film is"])] != [c.token_ids for c in first]
    twins = trainers[1].generate(["It was", "It was"])
    assert [c.token_ids for c in twins[:3]] != [c.token_ids for c in twins[3:]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: assent.Trainer(tiny_causal(), "pppo"), RecipeError, "no algorithm 'pppo'.*ppo"),
        (lambda: assent.Trainer(tiny_causal(), "dpo"), RecipeError, "'dpo' learns from comparisons"),
        (lambda: assent.Trainer(tiny_causal(), clip_lo=0.1), RecipeError, "unknown setting 'clip_lo'.*clip_low"),
        (lambda: assent.Trainer(tiny_causal(), lr_scheduler_type="linear"), RecipeError, "needs max_steps"),
        (lambda: stepped([1.0]), DataError, "2 completions but 1 rewards"),
        (lambda: stepped([1.0, float("nan")]), DataError, "reward 1 is nan"),
        (lambda: stepped([1.0, 2.0, 3.0], 3), DataError, "2 prompts for 3 completions"),
    ],
)
def test_what_is_typed_wrong_is_told(call: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        call()


def stepped(rewards: list[float], completions: int = 2) -> None:
    trainer = assent.Trainer(tiny_causal(), "ppo")
    trainer.step([Prompt(id="a", text="The"), "It"], [" film"] * completions, rewards)
