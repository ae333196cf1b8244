"""Hand-written rows of the published layouts, and the records that they are."""

import json

import pytest

from assent.data.forms import FORMS, Vote
from assent.data.forms.reading import Reading
from assent.data.readers import read_comparisons
from assent.errors import DataError
from assent.types import Demonstration, Judgement, Message, Ranking
from tests.unit.data.form_rows import (
    ALPACA,
    ARENA,
    AXES,
    COMPARISON,
    HELPSTEER2,
    HH,
    KAGGLE,
    PREFERENCE2,
    PREFERENCE3,
    SHP,
    TREE,
    ULTRA,
    USER,
    said,
)


def read(tmp_path, *rows, form=None, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = Reading(path, form)
    records = [record for _, record in reading]
    return records, reading.report


VOTES = [
    ("hh-rlhf", HH, ("So.", "No.", "a", 0.0, "")),
    ("shp", SHP, ("Steam it.", "Boil it.", "a", 2.0482, "")),
    ("summarize", COMPARISON, (" Dog gone.", " The dog ran off.", "b", 0.0, "w1")),
    ("helpsteer2-preference", PREFERENCE2, ("Air.", "Because.", "a", 2.0, "")),
    ("helpsteer3", PREFERENCE3, ("Air.", "Because air scatters.", "b", 3.0, "")),
    ("arena", ARENA, ("Air.", "No.", "both bad", 0.0, "arena_user_973")),
    ("alpaca", ALPACA, ("Blue", "Red, a colour.", "b", 0.0, "alpaca_eval_gpt4")),
]


@pytest.mark.parametrize(("form", "row", "expected"), VOTES, ids=[case[0] for case in VOTES])
def test_votes(tmp_path, form, row, expected):
    (vote,), report = read(tmp_path, row)
    assert report.form == form
    assert isinstance(vote, Vote)
    assert (vote.a, vote.b, vote.outcome, vote.strength, vote.annotator) == expected
    assert report.records == {"vote": 1}
    assert report.refused == 0


@pytest.mark.parametrize(("form", "row", "expected"), VOTES, ids=[case[0] for case in VOTES])
def test_training_reads_the_same_votes_as_comparisons(tmp_path, form, row, expected):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (pair,) = read_comparisons(path)
    a, b, outcome, strength, _ = expected
    assert (pair.chosen, pair.rejected) == ((b, a) if outcome == "b" else (a, b))
    assert pair.tie == (outcome == "both bad")
    assert pair.margin == strength


def test_prompts_of_votes(tmp_path):
    prompts = {}
    for form, row, _ in VOTES:
        (vote,), _ = read(tmp_path, row, form=form)
        prompts[form] = vote.prompt
    assert prompts["hh-rlhf"].messages == (
        Message("user", "Hi"),
        Message("assistant", "Hello!"),
        Message("user", "Why?"),
    )
    assert prompts["shp"].metadata == {"post_id": "qt3nxl", "domain": "askculinary_train"}
    assert prompts["summarize"].text == "SUBREDDIT: r/pets\n\nTITLE: Dog\n\nPOST: My dog ran off.\n\nTL;DR:"
    assert prompts["arena"].messages == prompts["helpsteer3"].messages == (Message(**USER),)
    (vote,), _ = read(tmp_path, ALPACA)
    assert vote.confidence == pytest.approx(0.9)
    (vote,), _ = read(tmp_path, ARENA)
    assert (vote.id, vote.created) == ("58210e39b3fd", 1682351591.1322)


def test_what_a_layout_has_and_no_record_keeps_is_named(tmp_path):
    _, report = read(tmp_path, SHP, SHP)
    assert report.not_read["score_A"] == report.not_read["seconds_difference"] == 2
    assert "score_A (2 rows)" in "\n".join(report.lines())
    _, report = read(tmp_path, COMPARISON)
    assert set(report.not_read) == {"batch", "split", "extra"}


def test_ratings(tmp_path):
    records, report = read(tmp_path, HELPSTEER2)
    assert report.form == "helpsteer"
    assert {r.criterion: r.label for r in records} == {
        "helpfulness": 4,
        "correctness": 3,
        "coherence": 4,
        "complexity": 1,
        "verbosity": 0,
    }
    assert records[0].prompt.messages == (Message("user", "Hi"), Message("assistant", "Hello!"), Message(**USER))
    records, report = read(tmp_path, AXES)
    assert report.form == "summarize-axes"
    assert [(r.criterion, r.label, r.annotator) for r in records] == [("overall", 7, "w2"), ("accuracy", 6, "w2")]
    assert records[0].prompt.text == "Article:\nA long story.\n\nTL;DR:"


def test_ultrafeedback_is_a_ranking_by_score_and_a_rating_for_each_aspect(tmp_path):
    records, report = read(tmp_path, ULTRA)
    assert report.form == "ultrafeedback"
    ranking, *ratings = records
    assert isinstance(ranking, Ranking)
    assert (ranking.texts, ranking.ranks) == (("Air scatters.", "No idea.", "Dunno."), (1, 2, 2))
    assert all(isinstance(rating, Judgement) and rating.annotator == "gpt-4" for rating in ratings)
    assert [(r.response, r.criterion, r.label) for r in ratings] == [
        ("Air scatters.", "helpfulness", 5),
        ("Air scatters.", "overall", 8.5),
        ("No idea.", "overall", 2),
        ("Dunno.", "overall", 2),
    ]


def test_binarized_ultrafeedback_keeps_its_scores(tmp_path):
    row = {
        "prompt": USER["content"],
        "prompt_id": "p1",
        "chosen": [USER, said("Air.")],
        "rejected": [USER, said("No.")],
        "messages": [USER, said("Air.")],
        "score_chosen": 8.0,
        "score_rejected": 3.5,
    }
    records, report = read(tmp_path, row)
    assert report.form == "ultrafeedback-binarized"
    assert (records[0].a, records[0].b, records[0].outcome) == ("Air.", "No.", "a")
    assert [(r.response, r.label) for r in records[1:]] == [("Air.", 8.0), ("No.", 3.5)]


@pytest.mark.parametrize("row", [TREE, TREE["prompt"]], ids=["tree", "root message"])
def test_oasst(tmp_path, row):
    records, report = read(tmp_path, row)
    assert report.form == "oasst"
    ranking, best, last = records
    assert (ranking.completion_ids, ranking.texts, ranking.ranks) == (("m2", "m3"), ("No.", "Air."), (2, 1))
    assert (best.response, best.author) == ("Air.", "u1")
    assert isinstance(last, Demonstration)
    assert last.response == "Dust."
    assert [m.content for m in last.prompt.messages] == ["Why is the sky blue?", "Air.", "And red?"]


def test_the_kaggle_table_of_the_arena(tmp_path):
    path = tmp_path / "train.csv"
    cells = ['"' + str(cell).replace('"', '""') + '"' for cell in KAGGLE.values()]
    path.write_text(",".join(KAGGLE) + "\n" + ",".join(cells) + "\n")
    ((_, vote),) = Reading(path)
    assert (vote.a, vote.b, vote.outcome, vote.id) == ("Air.", "No.", "b", "30192")


REFUSED = [
    ({**SHP, "labels": 2}, "column 'labels': expected 1 .A preferred. or 0"),
    ({**SHP, "human_ref_A": ""}, "column 'human_ref_A' is empty"),
    ({**SHP, "score_ratio": "much"}, "column 'score_ratio': expected a number, got 'much'"),
    ({**COMPARISON, "choice": 2}, "column 'choice': expected 0 or 1, got 2"),
    ({**COMPARISON, "summaries": COMPARISON["summaries"][:1]}, "expected two, got 1"),
    ({**COMPARISON, "info": "x"}, "column 'info': expected an object, got str"),
    ({**AXES, "summary": {"text": "x", "axes": {"overall": None}}}, "no axis has a rating"),
    ({**HELPSTEER2, "helpfulness": "good"}, "column 'helpfulness': expected a number, got 'good'"),
    ({**PREFERENCE2, "preference_strength": 4}, "expected -3 .the first is much better. to 3, got 4"),
    ({**PREFERENCE3, "context": [said("x")]}, "does not end with a user turn"),
    ({**ULTRA, "completions": [{"response": 3}]}, r"completions\[0\].response: expected text, got int"),
    ({**ARENA, "winner": "nobody"}, "expected model_a, model_b, tie or tie .bothbad., got 'nobody'"),
    (
        {**ARENA, "conversation_a": [USER, said("A"), USER, said("B")]},
        "differ by more than the last answer: 3 messages of 'conversation_a' follow the 1 shared",
    ),
    ({**ALPACA, "preference": None}, "column 'preference' is empty"),
    ({**ALPACA, "preference": 3}, "column 'preference': expected 1, 2"),
    ({**TREE, "prompt": {"role": "prompter", "text": "x", "replies": 3}}, "'replies': expected a list of messages"),
    ({**TREE, "prompt": {"role": "prompter", "text": "x"}}, "no ranked replies"),
    ({**KAGGLE, "winner_model_a": 1}, "one must be 1"),
    ({**KAGGLE, "prompt": '["a", "b"]'}, "a battle of 2 turns"),
]


@pytest.mark.parametrize(("row", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_a_refused_row_is_told_with_its_line(tmp_path, row, reason):
    good = {**SHP}
    records, report = read(tmp_path, row, form=None)
    assert records == []
    assert (report.rows, report.refused) == (1, 1)
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 1: .*{reason}"):
        list(Reading(tmp_path / "rows.jsonl", strict=True))
    records, report = read(tmp_path, good, row, good, form="shp")
    assert (len(records), report.rows, report.refused) == (2, 3, 1)
    assert str(report.refusals[0]).startswith(f"{tmp_path / 'rows.jsonl'}, line 2: ")


def test_bad_lines_are_counted_and_the_rest_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(SHP).encode() + b"\n"
    bad = b'{"history": \n' + b"[1]\n" + b"\xff\n" + b'{"history": "\\ud800"}\n' + b'{"a": ' + b"1" * 5000 + b"}\n"
    path.write_bytes(good + bad + good)
    told = []
    reading = Reading(path, told=told.append)
    assert len(list(reading)) == 2
    assert (reading.report.rows, reading.report.refused) == (7, 5)
    assert [error.line for error in told] == [2, 3, 4, 5, 6]
    assert [str(error).split(": ", 1)[1][:20] for error in told] == [
        "not JSON: Expecting ",
        "expected an object {",
        "not UTF-8 (byte 1); ",
        "half of a surrogate ",
        "not JSON: Exceeds th",
    ]


def test_an_unknown_form_and_unknown_columns(tmp_path):
    with pytest.raises(DataError, match="no form 'hh-rlfh'; did you mean 'hh-rlhf'"):
        Reading("x", "hh-rlfh")
    with pytest.raises(DataError, match=r"line 1: columns colour are of no form known here .records, arena"):
        read(tmp_path, {"colour": "blue"})


def test_every_form_says_what_it_is():
    assert all(form.name == name and form.title for name, form in FORMS.items())
