"""A classifier's probability of a class, against transformers' own pipeline of tokens, logits and softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from assent.errors import ModelError, RecipeError
from assent.rewards.classifier import ClassifierReward, ClassifierSettings
from assent.testing.reward_source import check_reward_source
from assent.testing.tiny import tiny_causal, tiny_tokenizer
from assent.types import Completion, Message, Prompt

TEXTS = ("good film", "a bad and slow film", "girl", "the cat saw the girl and the girl saw the cat")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForSequenceClassification, BertConfig, GPT2Config

    folder, tokenizer = tmp_path_factory.mktemp("classifiers"), tiny_tokenizer()
    shape = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    bert = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    named = {"id2label": {0: "negative", 1: "neutral", 2: "positive"}}
    configs: dict[str, Any] = {
        "bert": BertConfig(**shape, **bert, **named),
        "toxic": BertConfig(**shape, **bert, **named, problem_type="multi_label_classification"),
        "gpt2": GPT2Config(**shape, n_embd=16, n_layer=1, n_head=2, n_positions=64, **named),
    }
    for name, config in configs.items():
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    plain = tiny_causal()
    plain.model.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    return folder


def by_hand(folder: Path, text: str) -> torch.Tensor:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits[0]


@pytest.mark.parametrize("name", ["bert", "toxic", "gpt2"])
def test_the_probability_is_the_models_own(folders: Path, name: str):
    source = ClassifierReward(ClassifierSettings(model=str(folders / name), label="Positive"))
    prompts = [Prompt(str(i), text="Say: ") for i in range(len(TEXTS))]
    completions = [Completion(f"{i}/0", str(i), text) for i, text in enumerate(TEXTS)]
    check_reward_source(source, prompts, completions)
    logits = [by_hand(folders / name, text) for text in TEXTS]
    wanted = [float(x.sigmoid()[2] if name == "toxic" else x.softmax(0)[2]) for x in logits]
    assert source.score(prompts, completions).values == pytest.approx(wanted, abs=1e-5)
    odds = ClassifierReward(
        ClassifierSettings(model=str(folders / name), label="2", scale="log-odds", weight=-1.0, read="both")
    )
    both = [by_hand(folders / name, f"Say: {text}") for text in TEXTS]
    share = [float(x.sigmoid()[2] if name == "toxic" else x.softmax(0)[2]) for x in both]
    expected = [-torch.logit(torch.tensor(p)).item() for p in share]
    assert odds.score(prompts, completions).values == pytest.approx(expected, abs=1e-4)


def test_a_conversation_is_read_as_a_person_reads_it(folders: Path):
    source = ClassifierReward(ClassifierSettings(model=str(folders / "bert"), label="positive", read="both"))
    prompt = Prompt("c", messages=(Message("user", "the film"),))
    got = source.score([prompt], [Completion("c/0", "c", "good")]).values[0]
    assert got == pytest.approx(float(by_hand(folders / "bert", "user: the film\n\nassistant: good").softmax(0)[2]))


def test_a_class_that_is_not_there_and_a_model_that_is_no_classifier_are_refused(folders: Path):
    with pytest.raises(RecipeError, match="has no class 'positiv'; its classes are negative, neutral, positive; did"):
        ClassifierReward(ClassifierSettings(model=str(folders / "bert"), label="positiv"))
    with pytest.raises(ModelError, match="is no sequence-classification model"):
        ClassifierReward(ClassifierSettings(model=str(folders / "policy"), label="x"))
