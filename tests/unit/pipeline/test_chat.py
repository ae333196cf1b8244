"""``assent chat``, piped: one line a turn."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch

from assent.cli import main
from assent.feedback.answers import StoredAnswer
from assent.feedback.responses import Preference
from assent.feedback.store import FeedbackStore
from assent.models.save import save_model
from assent.pipeline.chat import Speaker, chat
from assent.pipeline.verdicts import parse
from assent.testing.tiny import tiny_causal
from assent.types import Message

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def saved(folder: Path, seed: int = 0, template: str | None = None) -> str:
    model = tiny_causal(seed=seed)
    model.tokenizer.chat_template = template
    save_model(model, folder, method="test", base="new", settings={})
    return str(folder)


@pytest.fixture
def model(tmp_path) -> str:
    return saved(tmp_path / "plain")


@pytest.fixture
def talker(tmp_path) -> str:
    return saved(tmp_path / "talker", template=TEMPLATE)


def answers(monkeypatch, capsys, text: str, *arguments: str) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["chat", "--max-new-tokens", "8", *arguments]) == 0  # the tiny models' context is 64
    return capsys.readouterr().out


def test_each_line_is_continued(monkeypatch, capsys, model):
    options = ("--temperature", "0")
    once = answers(monkeypatch, capsys, "The film\n", model, *options)
    both = answers(monkeypatch, capsys, "The film\n\nThe film\n", model, *options)
    assert once.strip()
    assert both == once + once  # an empty line is no turn, and a model without template keeps no history


def test_the_seed_decides_and_temperature_zero_is_greedy(monkeypatch, capsys, model):
    def drawn(seed: str, temperature: str) -> str:
        return answers(monkeypatch, capsys, "The film\n", model, "--seed", seed, "--temperature", temperature)

    assert drawn("1", "1") == drawn("1", "1") != drawn("2", "1")
    assert drawn("1", "0") == drawn("2", "0")


def test_greedy_is_the_most_probable_token(model):
    speaker = Speaker(model, 5, 0.0)
    pieces: list[str] = []
    speaker.answer("The film is", 0, pieces.append)
    ids, _ = speaker._encode("The film is")
    tokens = list(ids)
    with torch.no_grad():
        for _ in range(5):
            tokens.append(int(speaker.policy.model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] in speaker.policy.eos_token_ids:
                break
    expected = speaker.policy.tokenizer.decode(tokens[len(ids) :], skip_special_tokens=True)
    assert "".join(pieces) == expected


def test_two_models_are_labelled(monkeypatch, capsys, tmp_path, model):
    other = saved(tmp_path / "other", seed=1)
    out = answers(monkeypatch, capsys, "The film\n", model, "--against", other, "--temperature", "0")
    alone = answers(monkeypatch, capsys, "The film\n", model, "--temperature", "0")
    second = answers(monkeypatch, capsys, "The film\n", other, "--temperature", "0")
    assert out == f"A: {alone}B: {second}"


def test_a_conversation_is_kept_until_reset(monkeypatch, capsys, talker):
    options = (talker, "--temperature", "0")
    fresh = answers(monkeypatch, capsys, "good film\n", *options)
    out = answers(monkeypatch, capsys, "a slow film\n/reset\ngood film\n", *options)
    assert out.endswith(f"the conversation starts afresh\n{fresh}")


def test_the_history_reaches_the_model(talker):
    speaker = Speaker(talker, 4, 0.0)
    pieces: list[str] = []
    speaker.answer("a film", 0, pieces.append)
    assert speaker.history == [Message("user", "a film"), Message("assistant", "".join(pieces))]
    ids, _ = speaker._encode("so")
    text = speaker.policy.tokenizer.decode(ids)
    assert text == f"user: a film\nassistant: {''.join(pieces)}\nuser: so\nassistant: "


def test_turns_that_no_longer_fit_are_left_out_and_said_so(talker):
    speaker = Speaker(talker, 4, 0.0)
    pieces: list[str] = []
    for _ in range(4):
        speaker.answer("It was a long and slow film.", 0, pieces.append)
    assert any("no longer fits" in piece for piece in pieces)
    assert all("no longer fits" not in message.content for message in speaker.history)
    ids, cut = speaker._encode("so")
    assert cut
    assert len(ids) <= speaker.room


def test_backslash_n_is_a_line_feed(monkeypatch, capsys, model):
    said: list[str] = []
    monkeypatch.setattr(Speaker, "answer", lambda self, text, seed, write: said.append(text) or "")
    answers(monkeypatch, capsys, "one\\ntwo\n", model)
    assert said == ["one\ntwo"]


def test_quit_leaves_before_the_rest_is_read(monkeypatch, capsys, model):
    assert answers(monkeypatch, capsys, "/quit\nThe film\n", model) == ""


def test_ctrl_c_leaves_with_status_0(monkeypatch, capsys, model):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Speaker, "answer", interrupt)
    answers(monkeypatch, capsys, "The film\n", model)


def test_no_room_for_the_answer(monkeypatch, capsys, model):
    assert main(["chat", model, "--max-new-tokens", "64"]) == 2
    assert "context of 64 tokens has no room" in capsys.readouterr().err


def test_columns_on_a_terminal(monkeypatch, capsys, tmp_path, model):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    other = saved(tmp_path / "other", seed=1)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stdin", io.StringIO("The [film]\n"))
    monkeypatch.setenv("COLUMNS", "300")
    chat(model, other, max_new_tokens=4, temperature=0.0, seed=0)
    assert f"A: {model}" in screen.getvalue()
    assert f"B: {other}" in screen.getvalue()


@pytest.fixture
def other(tmp_path) -> str:
    return saved(tmp_path / "other", seed=1)


def kept(path: Path) -> list[StoredAnswer]:
    with FeedbackStore.open(path) as store:
        return store.answers()


def test_a_verdict_goes_into_the_store(monkeypatch, capsys, tmp_path, model, other):
    path = tmp_path / "feedback.db"
    options = (model, "--against", other, "--temperature", "0", "--store", str(path), "--name", "ann")
    out = answers(monkeypatch, capsys, "The film\nbb\nA long\nwhat\nx\nSo\n\n", *options)
    first, second = kept(path)
    alone = answers(monkeypatch, capsys, "The film\n", other, "--temperature", "0").rstrip("\n")
    assert first.question.prompt.text == "The film"
    assert first.question.texts[1] == alone
    assert (first.annotator, first.response, first.order) == ("ann", Preference(2), (0, 1))
    ranking = first.ranking()
    assert ranking is not None
    assert ranking.ranks == (2, 1)
    assert [id_.rpartition("#")[0] for id_ in ranking.completion_ids] == [model, other]
    assert second.response == Preference(0, (True, True))
    assert "'what' is no verdict" in out  # asked again
    assert out.endswith(f"preferred: {model} 0, {other} 1, ties 0, both failed 1\n")
    with FeedbackStore.open(path) as store:
        assert store.work.coverage("chat").closed == 2  # nobody else is asked


def test_blind_hides_who_is_who_until_the_verdict(monkeypatch, capsys, tmp_path, model, other):
    path, texts = tmp_path / "feedback.db", {}
    for source in (model, other):
        texts[source] = answers(monkeypatch, capsys, "The film\n", source, "--temperature", "0").rstrip("\n")
    orders = set()
    for _ in range(30):
        options = (model, "--against", other, "--temperature", "0", "--blind", "--store", str(path), "--name", "ann")
        lines = answers(monkeypatch, capsys, "The film\naaa\n", *options).splitlines()
        (answer,) = kept(path)  # the same question, so each corrects the one before
        named = [(model, other)[place] for place in answer.order]
        assert lines[:2] == [f"A: {texts[named[0]]}", f"B: {texts[named[1]]}"]
        assert lines[2] == f"A was {named[0]}, B was {named[1]}"
        assert answer.response == Preference(-3)
        orders.add(answer.order)
        if len(orders) == 2:
            break
    assert orders == {(0, 1), (1, 0)}


def test_both_go_on_from_the_better_answer(monkeypatch, capsys, tmp_path, talker):
    other = saved(tmp_path / "other", seed=1, template=TEMPLATE)
    path = tmp_path / "feedback.db"
    options = (talker, "--against", other, "--temperature", "0", "--store", str(path), "--name", "ann")
    answers(monkeypatch, capsys, "film\nb\nso\na\n", *options)
    first, second = kept(path)
    assert second.question.prompt.messages == (
        Message("user", "film"),
        Message("assistant", first.question.texts[1]),
        Message("user", "so"),
    )


def test_a_verdict_can_be_taken_back(monkeypatch, capsys, tmp_path, model, other):
    path = tmp_path / "feedback.db"
    options = (model, "--against", other, "--temperature", "0", "--store", str(path), "--name", "ann")
    out = answers(monkeypatch, capsys, "The film\n=\n/undo\n/undo\n", *options)
    assert kept(path) == []
    assert out.splitlines()[2:] == [
        "taken back", "there is no verdict to take back", f"preferred: {model} 0, {other} 0, ties 0"
    ]  # fmt: skip


def test_verdicts_need_two_models_and_a_person(capsys, tmp_path, model):
    assert main(["chat", model, "--blind"]) == 2
    assert "give --against MODEL" in capsys.readouterr().err
    store = str(tmp_path / "feedback.db")
    assert main(["chat", model, "--against", model, "--store", store, "--name", "simulated:ann"]) == 2
    assert "are programs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [("A", Preference(-1)), (" bbb ", Preference(3)), ("=", Preference(0)), ("", None)],
)
def test_what_a_verdict_says(typed, verdict):
    assert parse(typed) == verdict


@pytest.mark.parametrize("typed", ["ab", "aaaa", "c", "a b"])
def test_what_is_no_verdict(typed):
    with pytest.raises(ValueError, match="is no verdict"):
        parse(typed)
