"""Draws follow the distribution that they say; random numbers belong to the row."""

import numpy as np
import pytest
import torch
from scipy import stats

from assent.rollout.sampling import draw, invert, row_uniforms, truncate
from assent.types import SamplingSettings

LOGITS = torch.tensor([1.2, -0.3, 0.0, 2.0, -1.5, 0.7, 1.1, -0.8])
DRAWS = 20_000


def sample(**settings: float) -> tuple[np.ndarray, torch.Tensor, torch.Tensor, torch.Tensor]:
    sampling = SamplingSettings(**settings)  # pyright: ignore[reportArgumentType]
    uniforms = torch.from_numpy(np.random.default_rng(0).random(DRAWS))
    tokens, logprobs, drawn = draw(LOGITS.expand(DRAWS, -1), uniforms, sampling)
    return np.bincount(tokens.numpy(), minlength=len(LOGITS)), tokens, logprobs, drawn


def chi_square(counts: np.ndarray, p: torch.Tensor) -> float:
    """The p-value of the counts under ``p``; impossible tokens must not have been drawn."""
    want = p.double().numpy()
    assert counts[want == 0].sum() == 0
    return float(stats.chisquare(counts[want > 0], want[want > 0] / want.sum() * counts.sum()).pvalue)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_draws_follow_the_softmax_at_the_temperature(temperature: float):
    p = torch.softmax(LOGITS / temperature, -1)
    counts, tokens, logprobs, drawn = sample(temperature=temperature)
    assert chi_square(counts, p) > 0.001
    other = torch.softmax(LOGITS / (temperature * 1.1), -1)
    assert chi_square(counts, other) < 1e-4  # the test would notice
    torch.testing.assert_close(logprobs, p.log()[tokens], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(drawn, logprobs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 3}, [3, 0, 6]),
        ({"top_p": 0.6}, [3, 0, 6]),
        ({"top_k": 4, "top_p": 0.8}, [3, 0, 6]),
        ({"top_p": 0.01}, [3]),
        ({"top_k": 100}, list(range(8))),
    ],
)
def test_truncated_draws(settings: dict[str, float], kept: list[int]):
    full = torch.softmax(LOGITS, -1)
    p = torch.zeros(8).index_copy(0, torch.tensor(kept), full[kept])
    p = p / p.sum()
    counts, tokens, logprobs, drawn = sample(**settings)
    if len(kept) > 1:
        assert chi_square(counts, p) > 0.001
    assert set(tokens.tolist()) == set(kept)
    torch.testing.assert_close(logprobs, full.log()[tokens], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(drawn, p.log()[tokens], rtol=1e-5, atol=1e-6)


def test_the_nucleus_is_that_of_transformers():
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(50, 1, dtype=torch.long)
    for top_k, top_p, temperature in ((0, 0.7, 1.0), (10, 1.0, 0.5), (10, 0.5, 2.0)):
        theirs = TemperatureLogitsWarper(temperature)(ids, logits) if temperature != 1.0 else logits
        theirs = TopKLogitsWarper(top_k)(ids, theirs) if top_k else theirs
        theirs = TopPLogitsWarper(top_p)(ids, theirs) if top_p < 1 else theirs
        ours = truncate(torch.log_softmax(logits / temperature, -1), top_k, top_p)
        assert torch.equal(ours.isinf(), theirs.isinf())


def test_greedy_takes_the_most_probable():
    counts, _, logprobs, drawn = sample(temperature=0.0)
    assert counts[3] == DRAWS
    assert float(logprobs[0]) == pytest.approx(float(torch.log_softmax(LOGITS, -1)[3]), abs=1e-6)
    assert float(drawn.abs().max()) == 0.0


def test_banned_tokens_are_not_drawn_and_change_no_other_logprob():
    uniforms = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    banned = torch.tensor([3, 0])
    tokens, logprobs, drawn = draw(LOGITS.expand(200, -1), uniforms, SamplingSettings(), banned)
    p = torch.softmax(LOGITS, -1)
    assert not set(tokens.tolist()) & {3, 0}
    torch.testing.assert_close(logprobs, p.log()[tokens], rtol=1e-5, atol=1e-6)
    rest = 1 - p[3] - p[0]
    torch.testing.assert_close(drawn, (p / rest).log()[tokens], rtol=1e-5, atol=1e-5)
    assert draw(LOGITS[None], uniforms[:1], SamplingSettings(temperature=0.0), banned)[0].tolist() == [6]


def test_the_ends_of_the_unit_interval():
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    logits = torch.tensor([-torch.inf, 0.3, -torch.inf, 0.1, -torch.inf]).expand(2, -1)
    assert draw(logits, ends, SamplingSettings())[0].tolist() == [1, 3]


@pytest.mark.parametrize("size", [1, 8, 255, 256, 257, 1000, 32_000])
def test_inversion_in_blocks_is_inversion(size: int):
    generator = torch.Generator().manual_seed(size)
    p = torch.softmax(torch.randn(64, size, generator=generator) * 3, -1)
    p[1::2] *= torch.rand(32, size, generator=generator) < 0.05  # truncated, whole blocks of it
    p[:, size // 2] += 0.01
    uniforms = torch.rand(64, dtype=torch.float64, generator=generator)
    cumulative = p.double().cumsum(-1)
    want = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0]
    tokens, total = invert(p, uniforms)
    assert torch.equal(tokens, want)
    torch.testing.assert_close(total, cumulative[:, -1], rtol=1e-6, atol=0)
    ends = torch.tensor([0.0, 1 - 2**-53] * 32, dtype=torch.float64)
    first, last = (p > 0).int().argmax(1), size - 1 - (p.flip(1) > 0).int().argmax(1)
    assert torch.equal(invert(p, ends)[0], torch.where(ends == 0, first, last))


def test_a_ban_holds_in_the_rows_that_it_names():
    uniforms = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    rows = torch.arange(200) % 2 == 0
    found = draw(LOGITS.expand(200, -1), uniforms, SamplingSettings(), torch.tensor([3, 0]), rows)
    banned = draw(LOGITS.expand(200, -1), uniforms, SamplingSettings(), torch.tensor([3, 0]))
    free = draw(LOGITS.expand(200, -1), uniforms, SamplingSettings())
    for got, with_ban, without in zip(found, banned, free, strict=True):
        assert torch.equal(got, torch.where(rows, with_ban, without))


def test_numbers_that_are_not_finite_crash_nothing():
    """The loss and its gradient report them."""
    bad = torch.full((2, 300), torch.nan)
    assert draw(bad, torch.tensor([0.1, 0.9], dtype=torch.float64), SamplingSettings())[0].max() < 300


def test_random_numbers_belong_to_seed_prompt_and_sample():
    base = row_uniforms(1, "a", 0, 5)
    assert np.array_equal(base, row_uniforms(1, "a", 0, 5))
    assert np.array_equal(base, row_uniforms(1, "a", 0, 9)[:5])  # a longer limit changes nothing before it
    others = [row_uniforms(2, "a", 0, 5), row_uniforms(1, "b", 0, 5), row_uniforms(1, "a", 1, 5)]
    assert all(not np.array_equal(base, other) for other in others)
    assert not np.array_equal(row_uniforms(1, "a1", 1, 5), row_uniforms(1, "a", 11, 5))
    many = np.concatenate([row_uniforms(0, str(i), 0, 10) for i in range(500)])
    assert stats.kstest(many, "uniform").pvalue > 0.001
