"""From prompts to ids: one BOS, one EOS that carries loss, masks over the right turns, and nothing silently cut."""

import json
from pathlib import Path

import pytest
from small_tokenizers import BOS_EOS, byte_level, every_tokenizer, make

from assent.data.chat import (
    encode_completion,
    encode_demonstration,
    encode_prompt,
    encode_row,
    encode_text,
    ensure_chat_template,
)
from assent.data.readers import read_prompts
from assent.data.tokenizers import adds_bos
from assent.errors import DataError, ModelError
from assent.types import Demonstration, Message, Prompt

TEXT = Prompt("t", text="Once upon a time")
TALK = Prompt("m", messages=(Message("user", "hello"), Message("assistant", "yes"), Message("user", "bad film")))

each = pytest.mark.parametrize("name", [pytest.param(name, id=Path(name).name) for name in every_tokenizer()])


@each
def test_bos_stands_at_the_start_at_most_once(name):
    tokenizer = make(name)
    bos = tokenizer.bos_token_id
    for prompt in (TEXT, TALK):
        told = encode_prompt(tokenizer, prompt, add_bos=True)
        assert told[:1].count(bos) == (bos is not None)
        if bos != tokenizer.eos_token_id:
            assert told.count(bos) == (bos is not None)
    assert (encode_prompt(tokenizer, TEXT)[0] == bos) == adds_bos(tokenizer)
    assert encode_prompt(tokenizer, TEXT) == tokenizer(TEXT.text).input_ids
    if bos is not None:
        written = Prompt("b", text=tokenizer.bos_token + "The film")
        assert encode_prompt(tokenizer, written, add_bos=True).count(bos) == 1


@each
@pytest.mark.parametrize("response", [" there was a girl.", "there", "  two", "\n\nA line", "é🎬"])
def test_a_row_is_the_text_and_ends_with_eos_once(name, response):
    tokenizer = make(name)
    row = encode_row(tokenizer, TEXT, response)
    assert row.completion_ids[-1] == tokenizer.eos_token_id
    assert row.completion_ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(row.prompt_ids + row.completion_ids[:-1], skip_special_tokens=True) == TEXT.text + response
    closed = encode_row(tokenizer, TEXT, response + tokenizer.eos_token)
    assert closed.completion_ids.count(tokenizer.eos_token_id) == 1


@each
def test_only_the_last_answer_is_trained_unless_all_are_asked_for(name):
    tokenizer = make(name)
    demonstration = Demonstration(TALK, "good")

    def trained(tokens):
        kept = [i for i, counted in zip(tokens.ids, tokens.completion_mask, strict=True) if counted]
        return tokenizer.decode([i for i in kept if i not in ends]), kept[-1]

    ends = set(encode_completion(tokenizer, (1,), "", chat=True)) | {tokenizer.eos_token_id}
    last, every = (encode_demonstration(tokenizer, demonstration, turns=turns) for turns in ("last", "all"))
    assert trained(last) == ("good", tokenizer.eos_token_id)
    text, end = trained(every)
    assert (text.replace(" ", ""), end) == ("yesgood", tokenizer.eos_token_id)
    decoded = [tokenizer.decode(t.ids, skip_special_tokens=True).replace(" ", "") for t in (last, every)]
    assert decoded[0] == decoded[1]
    assert last.completion_mask[: len(encode_prompt(tokenizer, TALK))] == (False,) * len(encode_prompt(tokenizer, TALK))
    # each earlier turn is trained up to the token that closes it, and that token with it
    closes = [i for i, counted in zip(every.ids, every.completion_mask, strict=True) if counted and i in ends]
    assert len(closes) == 2 * len(ends) - (len(ends) - 1)


@each
def test_a_message_prompt_ends_where_the_answer_begins(name):
    tokenizer = make(name)
    opened = tokenizer.decode(encode_prompt(tokenizer, TALK))
    assert opened.endswith("assistant\n") or opened.endswith("assistant:\n")
    resumed = Prompt("r", messages=(Message("user", "hello"), Message("assistant", "yes, the")))
    assert tokenizer.decode(encode_prompt(tokenizer, resumed)).endswith("yes, the")


def test_a_turn_is_closed_as_its_template_closes_it_and_then_by_eos():
    gemma, chatml = make("gemma-like"), make("chatml")
    tail = [gemma.convert_tokens_to_ids("<end_of_turn>"), gemma.eos_token_id]
    assert list(encode_row(gemma, TALK, "yes").completion_ids[-2:]) == tail
    assert encode_row(gemma, TEXT, "yes").completion_ids[-1:] == (gemma.eos_token_id,)
    assert gemma.convert_tokens_to_ids("<end_of_turn>") not in encode_row(gemma, TEXT, "yes").completion_ids
    assert encode_row(chatml, TALK, "yes").completion_ids.count(chatml.eos_token_id) == 1


def test_the_plain_template_is_saved_with_the_tokenizer(tmp_path):
    tokenizer = make("gpt2-like")
    assert ensure_chat_template(tokenizer)
    assert not ensure_chat_template(tokenizer)
    ids = encode_prompt(tokenizer, TALK)
    tokenizer.save_pretrained(tmp_path)
    again = make(str(tmp_path))
    assert again.chat_template == tokenizer.chat_template
    assert encode_prompt(again, TALK) == ids
    assert tokenizer.decode(ids) == "user:\nhello\n\nassistant:\nyes<|endoftext|>\n\nuser:\nbad film\n\nassistant:\n"
    assert make("llama2-like").bos_token_id == encode_prompt(make("llama2-like"), TALK)[0]


def test_a_template_that_rewrites_history_cannot_train_all_turns():
    forgets = (
        "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}"
        "{{ m['role'] + m['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant' }}{% endif %}"
    )
    tokenizer = byte_level(BOS_EOS, template=forgets)
    assert encode_demonstration(tokenizer, Demonstration(TALK, "yes")).ids
    with pytest.raises(ModelError, match="rewrites earlier turns"):
        encode_demonstration(tokenizer, Demonstration(TALK, "yes"), turns="all")


def test_a_template_that_refuses_roles_says_so():
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ 'x' }}"
    tokenizer = byte_level(BOS_EOS, template=strict)
    with pytest.raises(DataError, match="refuses messages of roles system, user: no system"):
        encode_prompt(tokenizer, Prompt("s", messages=(Message("system", "a"), Message("user", "b"))))


def test_a_conversation_that_the_template_refuses_is_named_by_its_line(tmp_path):
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ 'x' }}"
    tokenizer = byte_level(BOS_EOS, template=strict)
    path = tmp_path / "p.jsonl"
    rows = [[{"role": role, "content": "a"} for role in roles] for roles in (["user"], ["system", "user"])]
    path.write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    with pytest.raises(DataError, match=r"p\.jsonl, line 2: the model's chat template refuses"):
        encode_prompt(tokenizer, read_prompts(path)[1], source=path)


def test_a_template_that_fails_at_the_end_of_a_turn_says_so():
    tokenizer = byte_level(BOS_EOS, template="{{ 1 // (2 - messages | length) }}")
    with pytest.raises(DataError, match="chat template refuses messages of roles user, assistant"):
        encode_completion(tokenizer, [3], "b", chat=True)


def test_a_prompt_that_does_not_fit_names_file_line_length_limit_and_the_way_out(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": text}) for text in ("hello", "The film is good. " * 20)))
    tokenizer = make("gpt2-like")
    prompt = read_prompts(path)[1]
    length = len(encode_prompt(tokenizer, prompt))
    with pytest.raises(DataError) as caught:
        encode_prompt(tokenizer, prompt, max_tokens=16, source=path)
    said = str(caught.value)
    assert said.startswith(f"{path}, line 2: prompt {prompt.id} ('The film is good.")
    assert f"has {length} tokens, at most 16 fit" in said
    assert "max_prompt_tokens" in said
    assert "truncate_prompts: left" in said
    assert encode_prompt(tokenizer, prompt, max_tokens=length) == encode_prompt(tokenizer, prompt)
    with pytest.raises(DataError, match=f"has {length} tokens, at most {length - 1} fit"):
        encode_row(tokenizer, prompt, "yes", max_length=length)


@each
def test_truncation_on_the_left_keeps_bos_and_the_end(name):
    tokenizer = make(name)
    whole = encode_prompt(tokenizer, TEXT, add_bos=True)
    cut = encode_prompt(tokenizer, TEXT, add_bos=True, max_tokens=len(whole) - 1, truncate="left")
    assert len(cut) == len(whole) - 1
    start = 0 if tokenizer.bos_token_id is None else 1
    assert cut == whole[:start] + whole[start + 1 :]


def test_truncation_of_a_conversation_drops_whole_turns_and_keeps_the_system():
    tokenizer = make("chatml")
    turns = (Message("system", "yes"), *TALK.messages, Message("assistant", "no"), Message("user", "hello"))
    whole = encode_prompt(tokenizer, Prompt("l", messages=turns))
    short = encode_prompt(tokenizer, Prompt("s", messages=(turns[0], turns[-1])))
    middle = encode_prompt(tokenizer, Prompt("s", messages=(turns[0], *turns[3:])))
    long = Prompt("l", messages=turns)
    assert encode_prompt(tokenizer, long, max_tokens=len(whole) - 1, truncate="left") == middle
    assert encode_prompt(tokenizer, long, max_tokens=len(middle) - 1, truncate="left") == short


def test_an_answer_that_is_cut_off_has_no_eos():
    tokenizer = make("gpt2-like")
    whole = encode_row(tokenizer, TEXT, " there was a girl.")
    length = len(whole.prompt_ids) + len(whole.completion_ids)
    cut = encode_row(tokenizer, TEXT, " there was a girl.", max_length=length - 1)
    assert cut.completion_ids == whole.completion_ids[:-1]
    tokens = encode_demonstration(tokenizer, Demonstration(TALK, "yes " * 9), 40, turns="all")
    assert len(tokens.ids) == len(tokens.completion_mask) <= 40


@each
def test_a_plain_text_is_all_trained(name):
    tokenizer = make(name)
    tokens = encode_text(tokenizer, "The film is good.")
    assert all(tokens.completion_mask)
    assert tokens.ids[-1] == tokenizer.eos_token_id
    assert list(tokens.ids[:-1]) == tokenizer("The film is good.").input_ids
    assert encode_text(tokenizer, "The film is good.", 3).ids == tokens.ids[:3]
    if tokenizer.bos_token_id is not None:
        assert encode_text(tokenizer, "The film", add_bos=True).ids[0] == tokenizer.bos_token_id


def test_a_tokenizer_without_eos_is_an_error():
    with pytest.raises(ModelError, match="no EOS token"):
        encode_text(byte_level({"bos_token": "<bos>"}), "yes")
