"""Chunked log-probabilities against whole logits: values, entropies and gradients, at the chunks' edges."""

import pytest
import torch

from assent.models import logprobs as module
from assent.models.logprobs import chunked_logprobs, plain_logprobs

D, V = 16, 37


def inputs(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, D, generator=draw).requires_grad_()
    weight = (0.5 * torch.randn(V, D, generator=draw)).requires_grad_()
    return hidden, weight, torch.randint(0, V, (rows,), generator=draw)


def gradients(found: tuple[torch.Tensor, torch.Tensor], hidden: torch.Tensor, weight: torch.Tensor, entropy: bool):
    """Of a sum with a weight of its own for each entry, so that no row can stand for another."""
    rows = torch.linspace(0.5, 2.0, len(found[0]))
    total = (rows * found[0]).sum() + ((rows.flip(0) * found[1]).sum() if entropy else 0.0)
    return torch.autograd.grad(total, (hidden, weight))


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 20])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("entropy", [True, False])
def test_chunked_equals_plain(rows: int, temperature: float, entropy: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(module.CHUNK_LOGITS, "cpu", 64)
    monkeypatch.setattr(module, "FEWEST_COLUMNS", 8)
    hidden, weight, targets = inputs(rows)
    chunked = chunked_logprobs(hidden, weight, targets, temperature, entropy)
    plain = plain_logprobs(hidden @ weight.T, targets, temperature)
    torch.testing.assert_close(chunked[0], plain[0], rtol=1e-5, atol=1e-5)
    assert chunked[1].shape == ((rows,) if entropy else (0,))
    if entropy:
        torch.testing.assert_close(chunked[1], plain[1], rtol=1e-5, atol=1e-5)
    got = gradients(chunked, hidden, weight, entropy)
    want = gradients(plain, hidden, weight, entropy)
    assert want[0].abs().min() < want[0].abs().max()
    torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[1], want[1], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("vocabulary", [255, 256, 257, 1024])
def test_chunks_of_columns_of_the_real_size(vocabulary: int, monkeypatch: pytest.MonkeyPatch):
    assert module.FEWEST_COLUMNS == 256
    monkeypatch.setitem(module.CHUNK_LOGITS, "cpu", 1)
    hidden, _, _ = inputs(50)
    draw = torch.Generator().manual_seed(vocabulary)
    weight = (0.5 * torch.randn(vocabulary, D, generator=draw)).requires_grad_()
    targets = torch.randint(0, vocabulary, (50,), generator=draw)
    chunked, plain = chunked_logprobs(hidden, weight, targets), plain_logprobs(hidden @ weight.T, targets)
    torch.testing.assert_close(chunked[0], plain[0], rtol=1e-5, atol=1e-5)
    for got, want in zip(
        gradients(chunked, hidden, weight, False), gradients(plain, hidden, weight, False), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_the_entropy_alone_has_its_gradient():
    hidden, weight, targets = inputs(9)
    got = torch.autograd.grad(chunked_logprobs(hidden, weight, targets, 0.7, True)[1].sum(), (hidden, weight))
    want = torch.autograd.grad(plain_logprobs(hidden @ weight.T, targets, 0.7)[1].sum(), (hidden, weight))
    assert want[0].abs().max() > 0.05
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_values_by_hand():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    logprob, entropy = chunked_logprobs(hidden, weight, torch.tensor([2]), 0.5, True)
    z = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
    p = z.exp() / z.exp().sum()
    assert float(logprob) == pytest.approx(float(p[2].log()), abs=1e-6)
    assert float(entropy) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-6)


def test_no_rows_give_nothing_and_a_zero_gradient():
    hidden, weight, targets = inputs(0)
    logprobs, _ = chunked_logprobs(hidden, weight, targets)
    assert logprobs.shape == (0,)
    logprobs.sum().backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) == 0.0


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, targets = inputs(5)
    chunked_logprobs(hidden, weight.detach(), targets)[0].sum().backward()
    want = torch.autograd.grad(plain_logprobs(hidden @ weight.T, targets)[0].sum(), hidden)[0]
    torch.testing.assert_close(hidden.grad, want, rtol=1e-4, atol=1e-5)


def test_under_autocast_the_gradient_is_of_the_logits_of_the_forward():
    """Logits of 30 in bfloat16 are off by 0.1: a normaliser from those and logits from float32 would not belong."""
    hidden, weight, targets = inputs(40)
    with torch.no_grad():
        hidden.mul_(6.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chunked = chunked_logprobs(hidden, weight, targets, 1.0, True)
        plain = plain_logprobs(hidden @ weight.T, targets)
    assert chunked[0].dtype == torch.float32
    torch.testing.assert_close(chunked[0], plain[0], rtol=1e-5, atol=1e-5)
    got, want = gradients(chunked, hidden, weight, False), gradients(plain, hidden, weight, False)
    for one, other in zip(got, want, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.01
