"""A PAD that is not EOS for every tokenizer, BOS habits that are saved, and clear errors."""

from pathlib import Path

import pytest
from small_tokenizers import BOS_EOS, byte_level, every_tokenizer, make

from assent.data import tokenizers
from assent.data.tokenizers import adds_bos, ensure_pad_token, load_tokenizer, set_bos
from assent.errors import ModelError


@pytest.mark.parametrize("name", [pytest.param(name, id=Path(name).name) for name in every_tokenizer()])
def test_pad_is_a_token_of_its_own_and_stays_one_after_saving(name, tmp_path):
    tokenizer = make(name)
    before = len(tokenizer)
    grown = ensure_pad_token(tokenizer, before)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id, tokenizer.bos_token_id)
    assert grown == (len(tokenizer) == before + 1)
    assert not ensure_pad_token(tokenizer, len(tokenizer))
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("special", "more", "pad", "grown"),
    [
        ({"eos_token": "<e>", "pad_token": "<e>"}, [], "<|pad|>", True),
        ({"eos_token": "<e>", "pad_token": "<p>"}, ["<pad>"], "<p>", False),
        (BOS_EOS, ["<|finetune_right_pad_id|>", "<pad>"], "<|finetune_right_pad_id|>", False),
        (BOS_EOS | {"unk_token": "<unk>"}, [], "<unk>", False),
        ({"bos_token": "<pad>", "eos_token": "<e>"}, [], "<|pad|>", True),
    ],
)
def test_which_pad_is_taken(special, more, pad, grown):
    tokenizer = byte_level(special, more)
    assert ensure_pad_token(tokenizer, len(tokenizer)) == grown
    assert tokenizer.pad_token == pad


def test_a_model_with_room_to_spare_need_not_grow():
    tokenizer = make("gpt2-like")
    assert not ensure_pad_token(tokenizer, len(tokenizer) + 64)


def test_the_habit_about_bos_is_saved(tmp_path):
    tokenizer = byte_level(BOS_EOS)
    assert not adds_bos(tokenizer)
    set_bos(tokenizer, True)
    assert tokenizer("The film").input_ids.count(tokenizer.bos_token_id) == 1
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert adds_bos(again)
    set_bos(again, False)
    assert not adds_bos(again)
    with pytest.raises(ModelError, match="no BOS token"):
        set_bos(byte_level({"eos_token": "<e>"}), True)


def test_a_model_folder_without_a_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="has no tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="its tokenizer cannot be loaded"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("You are trying to access a gated repo."), "accept its terms at https://huggingface.co/o/n, then set"),
        (OSError("o/n is not a local folder and is not a valid model identifier"), "check the spelling"),
        (ConnectionError("no route"), "check the network"),
        (RuntimeError("one\ntwo"), "cannot be had from the hub: one"),
    ],
)
def test_what_the_hub_says_becomes_one_sentence(error, said):
    explained = str(tokenizers.explain(error, "o/n"))
    assert said in explained
    assert "\n" not in explained
