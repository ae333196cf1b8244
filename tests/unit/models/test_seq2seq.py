"""Encoder-decoder policies: transformers' own log-probabilities, at the places where a causal model has them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForConditionalGeneration

from assent.data.chat import encode_demonstration, encode_prompt, encode_row
from assent.errors import ModelError
from assent.models.load import load_policy, new_reward_model
from assent.models.save import save_critic, save_model
from assent.models.scalar import Critic, ValueHead
from assent.models.seq2seq import Seq2SeqModel
from assent.rewards.model import same_tokenizer
from assent.testing.tiny import tiny_causal, tiny_seq2seq, tiny_tokenizer
from assent.types import Demonstration, Message, Prompt

PROMPTS, ANSWERS = (5, 2, 3), (3, 6, 1)


def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three rows of prompt and answer, their mask and the mask of the answers."""
    tokens = torch.randint(3, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    place = torch.arange(9)
    mask = place < torch.tensor([[p + a] for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    tokens[~mask] = 0
    return tokens, mask, mask & (place >= torch.tensor(PROMPTS)[:, None])


def expected(model: Any, tokens: torch.Tensor, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, T] log-probabilities and entropies by transformers' forward with labels, row by row and without padding."""
    out = [torch.zeros(tokens.shape), torch.zeros(tokens.shape)]
    for row, (p, a) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        labels = tokens[row : row + 1, p : p + a]
        log_p = torch.log_softmax(model(input_ids=tokens[row : row + 1, :p], labels=labels).logits / temperature, -1)
        place = (torch.full((a,), row), torch.arange(p, p + a))
        out[0] = out[0].index_put(place, log_p[0].gather(1, labels[0, :, None])[:, 0])
        out[1] = out[1].index_put(place, -(log_p.exp() * log_p).sum(-1)[0])
    return out[0], out[1]


def untied() -> Seq2SeqModel:
    """As Flan-T5: a head of its own, and no scale."""
    policy = tiny_seq2seq()
    policy.config.scale_decoder_outputs = False
    head = torch.nn.Linear(32, 300, bias=False)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(4))
    policy.model.set_output_embeddings(head)
    return Seq2SeqModel(policy.model, policy.tokenizer)


@pytest.mark.parametrize(("make", "scale"), [(tiny_seq2seq, 32**-0.5), (untied, 1.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_transformers_with_labels(make: Any, scale: float, temperature: float):
    policy = make()
    assert policy._head_scale == pytest.approx(scale, rel=1e-6)
    tokens, mask, written = rows()
    hidden = policy.hidden(tokens, mask, written)
    logprobs, entropy = policy.token_logprobs(hidden, tokens, written, temperature, want_entropy=True)
    want, want_entropy = expected(policy.model, tokens, temperature)
    assert want[written].std() > 0.5
    torch.testing.assert_close(logprobs, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, want_entropy, rtol=1e-5, atol=1e-5)
    before = torch.nn.functional.pad(written[:, 1:], (0, 1))
    assert float(hidden[~before].abs().max().detach()) == 0.0


def test_the_gradient_of_every_weight_is_that_of_transformers():
    policy = tiny_seq2seq()
    tokens, mask, written = rows()

    def gradients(logprobs: torch.Tensor) -> dict[str, torch.Tensor]:
        policy.zero_grad()
        (logprobs * torch.linspace(0.5, 1.5, 27).reshape(3, 9)).sum().backward()
        return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}

    got = gradients(policy.token_logprobs(policy.hidden(tokens, mask, written), tokens, written, 1.0)[0])
    want = gradients(expected(policy.model, tokens)[0])
    assert got.keys() == want.keys()
    scale = max(float(g.abs().max()) for g in want.values())
    for name, gradient in want.items():
        assert float((got[name] - gradient).abs().max()) < 1e-5 * scale, name


def test_what_stands_in_the_padding_and_behind_the_answer_changes_nothing():
    policy = tiny_seq2seq()
    tokens, mask, written = rows()
    changed = torch.where(mask, tokens, torch.tensor(299))
    with torch.no_grad():
        one, two = (policy.hidden(ids, mask, written) for ids in (tokens, changed))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_a_completion_in_several_pieces_or_without_a_prompt_is_refused():
    policy = tiny_seq2seq()
    tokens, mask, written = rows()
    torn = written.clone()
    torn[1, 4] = False
    with pytest.raises(ModelError, match="trains several turns"):
        policy.hidden(tokens, mask, torn)
    with pytest.raises(ModelError, match=r"a row here has none \(plain text\?\)"):
        policy.hidden(tokens, mask, mask)


def test_a_row_without_completion_has_no_states():
    policy = tiny_seq2seq()
    tokens, mask, written = rows()
    written[1] = False
    hidden = policy.hidden(tokens, mask, written)
    assert float(hidden[1].abs().max().detach()) == 0.0
    assert torch.isfinite(hidden).all()
    assert float(policy.hidden(tokens, mask, written & False).abs().max().detach()) == 0.0


def test_values_come_from_the_state_before_the_token():
    policy = tiny_seq2seq()
    tokens, mask, written = rows()
    critic = Critic(policy.trunk, 32)
    torch.nn.init.normal_(critic.head.out.weight)
    values = critic.values(tokens, mask, written)
    out = policy.model(input_ids=tokens[:1, :5], labels=tokens[:1, 5:8], output_hidden_states=True)
    want = out.decoder_hidden_states[-1][0] @ critic.head.out.weight[0]
    torch.testing.assert_close(values[0, 5:8], want, rtol=1e-4, atol=1e-4)
    shared = ValueHead(32)
    shared.load_state_dict(critic.head.state_dict())
    assert torch.equal(shared(policy.hidden(tokens, mask, written)), values)


def test_saved_loaded_and_read_by_plain_transformers(tmp_path: Path):
    policy = tiny_seq2seq()
    save_model(policy, tmp_path / "policy", method="test", base="none", settings={})
    plain: Any = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "policy").eval()
    tokens, mask, written = rows()
    with torch.no_grad():
        logprobs = policy.token_logprobs(policy.hidden(tokens, mask, written), tokens, written, 1.0)[0]
        torch.testing.assert_close(expected(plain, tokens)[0], logprobs, rtol=1e-5, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").get_vocab() == policy.tokenizer.get_vocab()
    again = load_policy(tmp_path / "policy")
    assert isinstance(again, Seq2SeqModel)
    with torch.no_grad():
        found = again.token_logprobs(again.hidden(tokens, mask, written), tokens, written, 1.0)[0]
    assert torch.equal(found, logprobs)
    prompt = Prompt("p", text="The film")
    assert encode_prompt(again.tokenizer, prompt) == encode_prompt(policy.tokenizer, prompt)
    assert "AutoModelForSeq2SeqLM" in (tmp_path / "policy" / "README.md").read_text()
    with pytest.raises(ModelError, match="a reward model is made from a causal model or an encoder"):
        new_reward_model(tmp_path / "policy", 0)
    save_critic(Critic(policy.trunk, 32), tmp_path)  # its encoder and decoder share their embeddings


def test_a_prompt_has_what_the_tokenizer_adds_and_an_answer_ends_once():
    tokenizer, causal = tiny_seq2seq().tokenizer, tiny_tokenizer()
    ids = [i for i in causal("The film").input_ids if i != 1]
    assert encode_prompt(tokenizer, Prompt("p", text="The film")) == [*ids, 2]
    assert encode_prompt(causal, Prompt("p", text="The film")) == [1, *ids]
    row = encode_row(tokenizer, Prompt("p", text="The film"), "The film")
    assert row.completion_ids == (*ids, 2)
    asked = encode_prompt(tokenizer, Prompt("p", messages=(Message("user", "The film"),)))
    assert tokenizer.decode(asked) == "user:\nThe film\n\nassistant:\n<|eos|>"
    short = encode_prompt(tokenizer, Prompt("p", text="The film was long"), max_tokens=3, truncate="left")
    assert short[-1] == 2
    assert len(short) == 3
    trained = encode_demonstration(tokenizer, Demonstration(Prompt("p", text="The film"), "The film"))
    assert trained.completion_mask == (False,) * (len(ids) + 1) + (True,) * (len(ids) + 1)
    assert not same_tokenizer(tokenizer, tiny_causal().tokenizer)  # the same vocabulary, but other prompts


def test_a_model_that_forces_a_first_token_is_refused():
    config = BartConfig(
        vocab_size=300, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = 0
    with pytest.raises(ModelError, match="forced_bos_token_id"):
        Seq2SeqModel(model, tiny_tokenizer())
