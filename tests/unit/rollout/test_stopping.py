"""Stop texts: completions end where the text stands, whichever tokens spell it."""

from dataclasses import replace
from typing import Any

import pytest

from assent.rollout.engine import EncodedPrompt
from assent.rollout.local import LocalEngine
from assent.rollout.stopping import StopTexts
from assent.testing.tiny import tiny_causal
from assent.types import SamplingSettings

PROMPTS = [EncodedPrompt(str(i), tuple(range(5 + i, 9 + 2 * i))) for i in range(6)]


class OwnForward(LocalEngine):
    """Decodes by the model's own forward pass."""

    def _fast_weights(self) -> None:
        return None


@pytest.mark.parametrize("kind", [LocalEngine, OwnForward])
def test_a_completion_ends_before_the_stop_text_and_keeps_its_tokens(kind: Any):
    policy = tiny_causal()
    sampling = SamplingSettings(max_new_tokens=20, seed=3)
    free = kind(policy).generate(PROMPTS, sampling, 8)
    stops = ("an", "e ", "m")
    found = kind(policy, slots=16).generate(PROMPTS, replace(sampling, stop=stops), 8)
    decode = policy.tokenizer.decode
    ended = 0
    for whole, cut in zip(free, found, strict=True):
        places = [whole.text.find(stop) for stop in stops if stop in whole.text]
        if not places:
            assert cut.token_ids == whole.token_ids
            assert cut.text == whole.text
            continue
        ended += 1
        assert cut.text == whole.text[: min(places)]
        assert cut.finish_reason == "stop"
        assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
        assert len(cut.logprobs) == len(cut.token_ids)
        assert any(stop in decode(cut.token_ids, skip_special_tokens=True) for stop in stops)
        assert not any(stop in decode(cut.token_ids[:-1], skip_special_tokens=True) for stop in stops)
    assert 4 < ended < len(free)


def follow(tokenizer: Any, text: str, sampling: SamplingSettings) -> tuple[int, str | None]:
    """After how many tokens the text ends, and what is left of it."""
    stops = StopTexts(tokenizer, sampling, 1)
    for count, token in enumerate(tokenizer(text, add_special_tokens=False).input_ids, 1):
        if stops.ends(0, token):
            return count, stops.cut[0]
    return 0, None


def test_a_stop_text_across_tokens_and_one_before_the_shortest_length():
    tokenizer = tiny_causal().tokenizer
    text = "The film is good. The film is bad."
    assert follow(tokenizer, text, SamplingSettings(stop=("m is g",)))[1] == "The fil"
    assert follow(tokenizer, text, SamplingSettings(stop=("bad", "film")))[1] == "The "
    assert follow(tokenizer, text, SamplingSettings(stop=("nowhere",))) == (0, None)
    count, left = follow(tokenizer, text, SamplingSettings(stop=("film",)))
    later, rest = follow(tokenizer, text, SamplingSettings(stop=("film",), min_new_tokens=count))
    assert (left, rest) == ("The ", "The film is good. The ")
    assert later > count


def test_a_tokenizer_without_a_fast_backend_decodes_anew():
    class Slow:
        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            return "".join(chr(i) for i in ids)

    stops = StopTexts(Slow(), SamplingSettings(stop=("cd",)), 2)
    assert [stops.ends(1, ord(letter)) for letter in "abcd"] == [False, False, False, True]
    assert stops.cut == {1: "ab"}
