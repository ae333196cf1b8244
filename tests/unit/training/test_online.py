"""A reward model that learns answer by answer: the same bits however the answers were spread over time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.testing.tiny import tiny_reward
from assent.training.examples import comparison_examples
from assent.training.online import OnlineReward, OnlineSettings, Update
from assent.training.sources import Example, Pair
from assent.types import Comparison, Prompt
from tests.training.tiny_runs import WORDS

SETTINGS = OnlineSettings(learning_rate=3e-3, replayed=3, warmup_steps=2)


def examples(count: int) -> dict[int, Example]:
    """By event: rankings in which the text with "good" in it wins."""
    draw, model = random.Random(0), tiny_reward()
    pairs = [
        Comparison(f"c{n}", Prompt(f"p{n}", text=f"The film {n} is"), f" good {draw.choice(WORDS[3:])}", f" bad {n}")
        for n in range(count)
    ]
    made, _ = comparison_examples(model.tokenizer, pairs, 64, "error", "test")
    return dict(enumerate(made, 10))


def opened(folder: Path, **given: Any) -> OnlineReward:
    return OnlineReward(tiny_reward(), SETTINGS, folder, seed=1, say=lambda text: None, **given)


def weights(online: OnlineReward) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in online.model.parameters()])


def test_a_break_changes_no_bit(tmp_path: Path) -> None:
    given = examples(8)
    before = list(examples(11).values())[8:]
    whole = opened(tmp_path / "whole", before=before)
    updates = [whole.learn(event, example) for event, example in given.items()]
    first = opened(tmp_path / "parts", before=before)
    told: list[Update] = []
    for event in range(10, 14):
        told.append(first.learn(event, given[event]))
        first.place.upto = event
    first.training.save()
    first.learn(14, given[14])  # and is killed before that is saved
    second = opened(tmp_path / "parts", before=before)
    assert (second.place.upto, second.place.learned) == (13, [10, 11, 12, 13])
    second.pool.update({event: given[event] for event in second.place.learned})
    told += [second.learn(event, given[event]) for event in range(14, 18)]
    assert told == updates
    assert torch.equal(weights(whole), weights(second))
    assert any(place < 0 for update in updates for place in update.replayed), "what was learned before the run"


def test_what_it_has_learned_it_foresees(tmp_path: Path) -> None:
    online, given = opened(tmp_path), examples(40)
    foreseen = [online.learn(event, example).accuracy for event, example in given.items()]
    assert sum(map(float, filter(None, foreseen[20:]))) / 20 > 0.9


def test_what_was_withdrawn_is_not_replayed(tmp_path: Path) -> None:
    online, given = opened(tmp_path), examples(6)
    for event in range(10, 14):
        online.learn(event, given[event])
    del online.pool[11]
    assert set(online.learn(14, given[14]).replayed) == {10, 12, 13}


def test_accuracy_is_of_the_decided_pairs(tmp_path: Path) -> None:
    online, (one, two) = opened(tmp_path), list(examples(2).values())
    rows = [*one.rows, *two.rows]
    order = [float(score) for score in torch.cat([_scores(online, row.token_ids) for row in rows])]
    best, worst = order.index(max(order)), order.index(min(order))
    middle = next(place for place in range(4) if place not in (best, worst))
    example = Example(rows, [Pair(best, worst), Pair(worst, middle), Pair(best, middle, tie=True)])
    assert online.accuracy(example) == pytest.approx(0.5)
    assert online.accuracy(Example(rows, [Pair(best, worst, tie=True)])) is None


def _scores(online: OnlineReward, ids: Any) -> torch.Tensor:
    tokens = torch.tensor([list(ids)])
    with torch.no_grad():
        return online.model.scores(tokens, torch.ones_like(tokens, dtype=torch.bool))[0]
