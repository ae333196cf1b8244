"""Rows behind one another in one sequence give the states and gradients of rows side by side."""

from typing import Any

import pytest
import torch

from assent.errors import ModelError
from assent.models.packing import check_packing, pack, unpack
from assent.models.scalar import Critic
from assent.testing.tiny import CAUSAL, tiny_causal, tiny_reward, tiny_seq2seq

LENGTHS = (5, 1, 11, 2, 8)


def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.randint(3, 300, (5, 11), generator=torch.Generator().manual_seed(0))
    place = torch.arange(11)
    mask = place < torch.tensor(LENGTHS)[:, None]
    return torch.where(mask, tokens, 0), mask, mask & (place >= 2)


def test_packed_by_hand():
    tokens, mask = torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([[True, True, False], [True, True, True]])
    packed = pack(tokens, mask)
    assert packed.tokens.tolist() == [[5, 6, 7, 8, 9]]
    assert packed.positions.tolist() == [[0, 1, 0, 1, 2]]
    states = torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]])
    assert unpack(states, mask)[..., 0].tolist() == [[1.0, 2.0, 0.0], [3.0, 4.0, 5.0]]


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [(name, kind) for name in CAUSAL for kind in ("sdpa", "eager") if (name, kind) != ("gemma2", "sdpa")],
)
def test_logprobs_and_gradients_are_those_of_padded_rows(architecture: str, attention: str):
    tokens, mask, written = rows()
    found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
    for packing in (False, True):
        policy = tiny_causal(architecture)
        policy.model.set_attn_implementation(attention)
        policy.packing = packing
        sizes: list[tuple[int, ...]] = []
        embeddings: Any = policy.model.get_input_embeddings()
        embeddings.register_forward_hook(lambda m, i, out, sizes=sizes: sizes.append(tuple(out.shape[:2])))
        hidden = policy.hidden(tokens, mask, written)
        assert sizes == [(1, sum(LENGTHS)) if packing else (5, 11)]
        logprobs, _ = policy.token_logprobs(hidden, tokens, written, 0.9)
        (logprobs * torch.linspace(0.5, 1.5, logprobs.numel()).reshape(logprobs.shape)).sum().backward()
        found.append((logprobs, {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}))
    (one, apart), (two, packed) = found
    assert one[written].std() > 0.3
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
    scale = max(float(g.abs().max()) for g in apart.values())
    assert packed.keys() == apart.keys()
    for name, gradient in apart.items():
        assert float((packed[name] - gradient).abs().max()) < 1e-5 * scale, name


def test_values_and_scores_are_those_of_padded_rows():
    tokens, mask, written = rows()
    critic, reward = Critic(tiny_causal().trunk, 32), tiny_reward()
    torch.nn.init.normal_(critic.head.out.weight)
    with torch.no_grad():
        values, scores = critic.values(tokens, mask, written), reward.scores(tokens, mask)
        critic.packing = reward.packing = True
        got = critic.values(tokens, mask, written)
        torch.testing.assert_close(got[written], values[written], rtol=0, atol=1e-5)
        torch.testing.assert_close(reward.scores(tokens, mask), scores, rtol=0, atol=1e-5)
    assert scores.std() > 0.1


@pytest.mark.parametrize("architecture", CAUSAL)
def test_real_architectures_pass_the_trial(architecture: str):
    check_packing(tiny_causal(architecture).trunk)


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        (lambda: tiny_seq2seq().trunk, "this model has an encoder"),
        (lambda: tiny_reward("bert").trunk, r"\(BertModel\) does not keep rows apart"),
    ],
)
def test_models_that_would_mix_rows_up_are_refused(trunk: Any, message: str):
    with pytest.raises(ModelError, match=message):
        check_packing(trunk())
