import sys

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from assent.errors import DataError, RecipeError
from assent.evaluation.references import chrf, reference_scores, rouge_l
from assent.types import Prompt

TEXTS = ["The cat sat on the mat.", "A slow film.", "Quick"]
REFERENCES = [["The cat sat on a mat.", "There was a cat."], ["a slow, slow film"], ["quick!"]]


def test_equals_the_libraries_on_one_reference_each() -> None:
    single = [[some[0]] for some in REFERENCES]
    found = reference_scores(TEXTS, single)
    assert found.bleu == pytest.approx(sacrebleu.corpus_bleu(TEXTS, [[some[0] for some in single]]).score)
    assert found.chrf == pytest.approx(sacrebleu.corpus_chrf(TEXTS, [[some[0] for some in single]]).score)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    rouge = [scorer.score(some[0], text)["rougeL"].fmeasure for text, some in zip(TEXTS, single, strict=True)]
    assert found.rouge_l == pytest.approx(sum(rouge) / 3)
    assert found.n == 3


def test_exact_match_and_f1_by_hand() -> None:
    found = reference_scores(TEXTS, REFERENCES)
    # 'cat sat on mat' matches without articles; 'slow film' against 'slow slow film' is 2*2/5; 'quick' matches
    assert found.exact_match == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx((1 + 0.8 + 1) / 3)


def test_the_best_of_several_references_counts() -> None:
    several = reference_scores(["a dog", "a cat"], [["a bird", "a dog"], ["a cat"]])
    assert several.exact_match == several.f1 == several.rouge_1 == 1.0
    assert several.bleu == pytest.approx(reference_scores(["a dog", "a cat"], [["a dog"], ["a cat"]]).bleu)


def test_empty_answers_score_nothing() -> None:
    found = reference_scores(["", "x"], [["some text"], ["y"]])
    assert found.f1 == found.exact_match == 0.0


@pytest.mark.parametrize(("texts", "references"), [([], []), (["a"], []), (["a"], [[]])])
def test_refuses_a_text_without_reference(texts: list, references: list) -> None:
    with pytest.raises(ValueError):
        reference_scores(texts, references)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(RecipeError, match=r"assent\[metrics\]"):
        reference_scores(TEXTS, REFERENCES)


def test_judges_of_single_answers_are_the_libraries_measures() -> None:
    prompt = Prompt("p", text="?", metadata={"reference": TEXTS[0]})
    for text in ("The cat sat.", "A dog."):
        assert chrf(prompt, text) == pytest.approx(sacrebleu.sentence_chrf(text, [TEXTS[0]]).score)
        wanted = RougeScorer(["rougeL"], use_stemmer=True).score(TEXTS[0], text)["rougeL"].fmeasure
        assert rouge_l(prompt, text) == pytest.approx(wanted)
    assert chrf(prompt, f" {TEXTS[0]}") == pytest.approx(100.0)
    for judge in (chrf, rouge_l):
        with pytest.raises(DataError, match="prompt 'q' has no column 'reference'"):
            judge(Prompt("q", text="?"), "x")
