"""KTO against its paper in plain Python: value, baseline, saturation, and where it gets its rows from."""

import math
from typing import Any

import pytest
import torch

from assent.algorithms import kto
from assent.algorithms.batch import Batch, Outputs, Pairs
from assent.errors import RecipeError
from assent.training.reduce import reduce_loss
from assent.training.sources import DatasetSource, Example, Row, with_mismatched

NONE = torch.zeros(0)
CPU = torch.device("cpu")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def matrix(rows: Any) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# Two rows to train on and two mismatched ones; the last token of row 1 and the first of all are not the completion's.
REAL = [[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1]]
REF = [[-8.0, -1.0, -2.0], [-8.0, -1.5, -8.0], [-8.0, -3.0, -1.0], [-8.0, -8.0, -2.0]]
OLD = [[-5.0, -1.0, -2.5], [-5.0, -1.0, -5.0], [-5.0, -1.0, -0.5], [-5.0, -5.0, -1.5]]
NEW = [[-4.0, -0.5, -1.0], [-4.0, -0.5, -4.0]]


def batch_of(labels: Any, old: Any = OLD, mismatched: Any = (0, 0, 1, 1)) -> Batch:
    return Batch(
        tokens=torch.zeros(4, 3, dtype=torch.long),
        mask=torch.ones(4, 3, dtype=torch.bool),
        completion_mask=torch.tensor(REAL).bool(),
        groups=torch.arange(4),
        pairs=Pairs.none(),
        columns={
            "labels": matrix(labels),
            "mismatched": matrix(mismatched),
            "ref_logprobs": matrix(REF),
            "old_logprobs": matrix(old),
        },
    )


def outputs(logprobs: Any) -> Outputs:
    return Outputs(logprobs if isinstance(logprobs, torch.Tensor) else matrix(logprobs), NONE, NONE, NONE)


def prepared(labels: Any = (1, 0, 9, 9), settings: Any = None, **more: Any) -> Batch:
    return kto.prepare(batch_of(labels, **more), settings or kto.KTOSettings(), {})[0]


def total(batch: Batch, settings: kto.KTOSettings, logprobs: Any = NEW) -> torch.Tensor:
    found, parts = kto.loss(outputs(logprobs), batch, settings), kto.weights(batch, settings)
    return reduce_loss(found.terms, found.coefficients, parts, {name: part.count for name, part in parts.items()})


def test_the_baseline_is_the_mean_log_ratio_of_the_mismatched_rows():
    batch, state, figures = kto.prepare(batch_of((1, 0, 9, 9)), kto.KTOSettings(), {})
    z0 = ((-1.0 + 3.0) + (-0.5 + 1.0) + (-1.5 + 2.0)) / 2
    assert z0 == 1.5
    assert figures == {"kl_baseline": pytest.approx(z0)}
    assert state == {}
    assert batch.rows == 2
    assert batch["labels"].tolist() == [1.0, 0.0]
    assert batch["kl_baseline"].tolist() == pytest.approx([z0, z0])


def test_the_baseline_is_never_negative_and_zero_without_mismatched_rows():
    assert prepared(old=[[x - 9.0 for x in row] for row in OLD])["kl_baseline"].tolist() == [0.0, 0.0]
    alone = prepared((1, 0, 1, 0), mismatched=(0, 0, 0, 0))
    assert alone.rows == 4
    assert alone["kl_baseline"].tolist() == [0.0] * 4


def test_the_loss_by_hand():
    settings = kto.KTOSettings(beta=0.3, lambda_desirable=1.2, lambda_undesirable=0.7)
    up, down = -0.5 - 1.0 + 1.0 + 2.0, -0.5 + 1.5
    want = (1.2 * (1 - sigmoid(0.3 * (up - 1.5))) + 0.7 * (1 - sigmoid(0.3 * (1.5 - down)))) / 2
    batch = prepared(settings=settings)
    assert float(total(batch, settings)) == pytest.approx(want, abs=1e-12)
    found = kto.loss(outputs(NEW), batch, settings).metrics
    figures = {name: float(mean.total / mean.count) for name, mean in found.items()}
    assert figures["loss"] == pytest.approx(want, abs=1e-12)
    assert figures["reward_desirable"] == pytest.approx(0.3 * up)
    assert figures["reward_undesirable"] == pytest.approx(0.3 * down)
    assert figures["accuracy"] == 0.5  # up is not above 1.5, down is below it


def test_a_label_between_takes_its_share_of_both():
    settings = kto.KTOSettings(beta=0.3, lambda_desirable=2.0, lambda_undesirable=0.5)
    part = {label: total(prepared((label, label, 9, 9)), settings) for label in (0.0, 0.25, 1.0)}
    torch.testing.assert_close(part[0.25], 0.25 * part[1.0] + 0.75 * part[0.0], rtol=0, atol=1e-12)
    assert abs(float(part[1.0] - part[0.0])) > 0.1


def gradient(labels: Any, logprobs: Any, settings: kto.KTOSettings) -> torch.Tensor:
    leaf = matrix(logprobs).requires_grad_()
    total(prepared(labels, settings), settings, leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


def test_the_gradient_in_closed_form():
    """-lambda beta s (1 - s) for each token of a desirable answer, + for an undesirable one: z0 stays a constant."""
    settings = kto.KTOSettings(beta=0.3, lambda_desirable=1.2, lambda_undesirable=0.7)
    up, down = sigmoid(0.3 * (1.5 - 1.5)), sigmoid(0.3 * (1.5 - 1.0))
    want = matrix([[0, 1, 1], [0, 1, 0]])
    want[0] *= -1.2 * 0.3 * up * (1 - up) / 2
    want[1] *= 0.7 * 0.3 * down * (1 - down) / 2
    torch.testing.assert_close(gradient((1, 0, 9, 9), NEW, settings), want, rtol=0, atol=1e-12)


def test_the_baseline_carries_no_gradient():
    old = matrix(OLD).requires_grad_()
    batch = kto.prepare(batch_of((1, 0, 9, 9)).with_columns(old_logprobs=old), kto.KTOSettings(), {})[0]
    assert not batch["kl_baseline"].requires_grad
    low, high = (batch.with_columns(kl_baseline=torch.full((2,), z, dtype=torch.float64)) for z in (0.0, 2.0))
    settings = kto.KTOSettings()
    assert float(total(low, settings)) != float(total(high, settings))  # it moves the loss all the same


def test_it_saturates_on_both_sides():
    """A gain or loss of 40 / beta pulls no more; at z0 the pull is greatest."""
    settings = kto.KTOSettings(beta=0.5)
    middle = -gradient((1, 0, 9, 9), NEW, settings)[0, 1]
    assert float(middle) == pytest.approx(0.5 * 0.25 / 2, abs=1e-12)
    for far in (-80.0, 80.0):
        moved = [[-4.0, -0.5 + far, -1.0], NEW[1]]
        assert 0.0 <= float(-gradient((1, 0, 9, 9), moved, settings)[0, 1]) < 1e-12


def test_good_rises_and_bad_falls():
    settings = kto.KTOSettings()
    raised = [[x + 0.1 for x in row] for row in NEW]
    good, bad = prepared((1, 1, 9, 9)), prepared((0, 0, 9, 9))
    assert float(total(good, settings, raised)) < float(total(good, settings)) - 1e-3
    assert float(total(bad, settings, raised)) > float(total(bad, settings)) + 1e-3


def example(prompt: Any, answer: Any, label: float = 1.0) -> Example:
    mask = [False] * len(prompt) + [True] * len(answer)
    return Example([Row([*prompt, *answer], mask)], columns={"labels": [label]})


def test_mismatched_rows_are_the_next_examples_answer_after_this_ones_prompt():
    three = [example([1, 5], [7, 2]), example([1, 6], [8, 8, 2], 0.0), example([1], [9, 2])]
    made = with_mismatched(three, 9)
    assert [list(e.rows[0].token_ids) for e in made[:3]] == [[1, 5, 7, 2], [1, 6, 8, 8, 2], [1, 9, 2]]
    assert [list(e.rows[0].token_ids) for e in made[3:]] == [[1, 5, 8, 8, 2], [1, 6, 9, 2], [1, 7, 2]]
    assert [list(e.rows[0].completion_mask) for e in made[3:]] == [
        [False, False, True, True, True],
        [False, False, True, True],
        [False, True, True],
    ]
    assert [list(e.columns["mismatched"]) for e in made] == [[0.0]] * 3 + [[1.0]] * 3
    assert [list(e.columns["labels"]) for e in made] == [[1.0], [0.0], [1.0]] * 2
    assert [list(e.columns) for e in three] == [["labels"]] * 3


def test_an_answer_to_the_same_prompt_is_no_mismatch():
    same = [example([1, 5], [7, 2]), example([1, 5], [8, 2]), example([1, 6], [9, 2])]
    made = with_mismatched(same, 9)
    assert [list(e.rows[0].token_ids) for e in made[3:]] == [[1, 5, 9, 2], [1, 5, 9, 2], [1, 6, 7, 2]]


def test_where_all_prompts_are_the_same_the_next_answer_is_taken():
    same = [example([1, 5], [7 + i, 2]) for i in range(3)]
    assert [list(e.rows[0].token_ids) for e in with_mismatched(same, 9)[3:]] == [
        [1, 5, 8, 2],
        [1, 5, 9, 2],
        [1, 5, 7, 2],
    ]
    assert len(with_mismatched(same[:1], 9)) == 1


def test_mismatched_rows_are_no_longer_than_the_longest_row():
    two = [example([1, 5, 5, 5], [2]), example([1, 6], [8, 8, 8, 2])]
    made = with_mismatched(two, 6)
    assert [list(e.rows[0].token_ids) for e in made[2:]] == [[1, 5, 5, 5, 8, 8], [1, 6, 2]]
    assert list(made[2].rows[0].completion_mask) == [False] * 4 + [True] * 2


def test_the_source_adds_them_to_every_batch():
    made = [example([1, 10 + i], [20 + i, 2], float(i % 2)) for i in range(6)]
    batch, _ = DatasetSource(made, 3, 1, 0, CPU, mismatched=True).batch(1)
    assert batch["mismatched"].tolist() == [0.0] * 3 + [1.0] * 3
    prompts, answers = batch.tokens[:, 1].tolist(), batch.tokens[:, 2].tolist()
    assert [a - p for p, a in zip(prompts[:3], answers[:3], strict=True)] == [10] * 3
    assert prompts[3:] == prompts[:3]
    assert answers[3:] == [*answers[1:3], answers[0]]
    assert len(batch.groups.unique()) == 6
    assert "mismatched" not in DatasetSource(made, 3, 1, 0, CPU).batch(1)[0].columns


@pytest.mark.parametrize(("count", "size"), [(4, 1), (1, 4)])
def test_one_example_a_batch_is_refused(count: int, size: int):
    made = [example([1, i], [7, 2]) for i in range(count)]
    with pytest.raises(RecipeError, match="two examples or more in a batch"):
        DatasetSource(made, size, 1, 0, CPU, mismatched=True)
