"""SST-2 in its forms, and halves that share no sentence."""

import pytest

from assent.data.sst2 import LabelledText, read_sst2, review_prompts, sentences_of, split_halves
from assent.errors import DataError

SENTENCES = [
    "the film is a quiet and moving triumph of small things",
    "nothing in this loud and empty mess is worth the price of a ticket",
    "an actor 's showcase that never finds its feet",
    "a warm , funny and generous comedy about getting old",
    "the jokes are stale and the plot is thin as paper",
    "you will leave the theatre humming and smiling for a week",
]
PHRASES = [
    "quiet and moving",
    "moving triumph of small things",
    "loud and empty",
    "stale",
    "finds its feet",
    "the",
    "and",
]
ROWS = [LabelledText(text, i % 2) for i, text in enumerate(SENTENCES + PHRASES)]


def padded(rows):
    return {f" {' '.join(row.text.lower().split())} " for row in rows}


def shares_a_sentence(a, b):
    """Whether a sentence (a row that no longer row contains) of one half contains or is in a row of the other.

    By brute force over texts, unlike the index of the code under test.
    """
    everything = "\n".join(sorted(padded(a) | padded(b)))
    for one, other in ((padded(a), padded(b)), (padded(b), padded(a))):
        joined = "\n".join(sorted(other))
        roots = [text for text in one if everything.count(text) == 1]
        if any(root in joined for root in roots):
            return True
        if any(text in root for root in roots for text in other):
            return True
    return False


def test_halves_share_no_sentence_and_phrases_of_both_are_dropped():
    a, b, report = split_halves(ROWS, seed=0)
    assert (report.rows, report.roots, report.components) == (13, 6, 6)
    assert (len(a), len(b)) == (report.half_a, report.half_b)
    assert len(a) + len(b) + report.dropped == len(ROWS)
    assert not shares_a_sentence(a, b)
    assert shares_a_sentence(ROWS[::2], ROWS[1::2])  # the check itself sees a split by rows
    texts = [{row.text for row in half} for half in (a, b)]
    assert "and" not in texts[0] | texts[1]  # in sentences of both
    for phrase, sentence in [("quiet and moving", 0), ("loud and empty", 1), ("finds its feet", 2), ("stale", 4)]:
        assert (phrase in texts[0]) == (SENTENCES[sentence] in texts[0])
    assert {len(texts[0] & set(SENTENCES)), len(texts[1] & set(SENTENCES))} <= {2, 3, 4}


def test_the_same_seed_gives_the_same_halves_in_any_order_and_another_seed_others():
    a, _, _ = split_halves(ROWS, seed=0)
    again, _, _ = split_halves(list(reversed(ROWS)), seed=0)
    assert {row.text for row in again} == {row.text for row in a}
    seeds = [{row.text for row in split_halves(ROWS, seed=seed)[0]} for seed in range(6)]
    assert any(seed != seeds[0] for seed in seeds)


def test_sentences_that_share_six_words_stay_together():
    twins = ["one two three four five six seven", "zero two three four five six seven eight", "quite another sentence"]
    for seed in range(8):
        a, b, report = split_halves([LabelledText(text, 1) for text in twins], seed)
        assert report.components == 2
        assert {len(a), len(b)} == {1, 2}


def test_containment_is_by_whole_words_and_case_and_space_do_not_matter():
    rows = [LabelledText(t, 1) for t in ("The  great escape", "eat", "great ESCAPE", "a heat wave")]
    assert [row.text for row in sentences_of(rows)] == ["The  great escape", "eat", "a heat wave"]


def test_prompts_are_first_words_once_each_balanced_and_shorter_than_their_sentence():
    prompts = review_prompts(ROWS, (2, 3), seed=1)
    assert len(prompts) == 6
    assert [p.metadata["label"] for p in prompts] == [0, 1] * 3
    for prompt in prompts:
        assert 2 <= len(prompt.text.split()) <= 3
        assert any(text.startswith(prompt.text + " ") for text in SENTENCES)
    assert len({p.id for p in prompts}) == 6
    assert review_prompts(ROWS, (2, 3), seed=1) == prompts
    assert review_prompts(ROWS, (2, 3), seed=2) != prompts
    with pytest.raises(ValueError, match="1 <= low <= high"):
        review_prompts(ROWS, (3, 2))


def test_both_layouts_and_a_folder_are_read(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\ngood one\t1\nbad one\t0\n")
    (tmp_path / "dev.tsv").write_text('"fine\t1\n')
    assert read_sst2(tmp_path) == [LabelledText("good one", 1), LabelledText("bad one", 0)]
    assert read_sst2(tmp_path, "validation") == [LabelledText('"fine', 1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("good\n", "line 1: 1 fields; expected text<TAB>label"),
        ("good\t1\nbad\t2\n", "line 2: label '2'; expected 0 or 1"),
        ("label\tsentence\n-1\tgood\n", "line 2: label '-1'; expected 0 or 1; this split's labels are hidden"),
        ("label\tsentence\n1\t \n", "line 2: column 'sentence' is empty"),
        ("label\tphrase\n1\tx\n", "line 2: columns label, phrase; expected sentence"),
        ("", "empty"),
    ],
)
def test_wrong_files(tmp_path, text, said):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_sst2(tmp_path / "a.tsv")
    assert said in str(caught.value)
