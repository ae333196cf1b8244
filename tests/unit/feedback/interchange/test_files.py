"""Files into the store and out of it, by hand: counts, refusals, names of what is lost, and the command line."""

import json

import pytest

from assent.cli import main
from assent.errors import DataError
from assent.feedback.answers import Answer
from assent.feedback.interchange.exporting import export_file
from assent.feedback.interchange.importing import import_file
from assent.feedback.questions import Criterion, Question
from assent.feedback.responses import Labels, Preference, Ranks, Ratings, Skipped, Written
from assent.feedback.store import FeedbackStore
from assent.types import Prompt
from tests.unit.data.form_rows import (
    ALPACA,
    ARENA,
    AXES,
    COMPARISON,
    HELPSTEER2,
    HH,
    PREFERENCE2,
    PREFERENCE3,
    SHP,
    TREE,
    ULTRA,
)

PROMPT = Prompt("p", text="Say it.")


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def store(tmp_path):
    with FeedbackStore.open(tmp_path / "s.db") as opened:
        yield opened


IMPORTED = [
    (HH, [("hh-rlhf", Ranks((1, 2)))]),
    (SHP, [("shp", Ranks((1, 2)))]),
    (COMPARISON, [("w1", Ranks((2, 1)))]),
    (AXES, [("w2", Ratings(({"accuracy": 6, "overall": 7},)))]),
    (
        HELPSTEER2,
        [
            (
                "helpsteer",
                Ratings(({"helpfulness": 4, "correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 0},)),
            )
        ],
    ),
    (PREFERENCE2, [("helpsteer2-preference", Preference(-2))]),
    (PREFERENCE3, [("helpsteer3", Preference(3))]),
    (ARENA, [("arena_user_973", Ranks((None, None)))]),
    (ALPACA, [("alpaca_eval_gpt4", Ranks((2, 1)))]),
    (TREE, [("oasst", Ranks((2, 1))), ("u1", Written("Air.")), ("oasst", Written("Dust."))]),
    ({"prompt": "a", "completion": "b", "label": False}, [("trl", Labels((0,)))]),
]


@pytest.mark.parametrize(("row", "expected"), IMPORTED, ids=range(len(IMPORTED)))
def test_a_row_of_each_form_is_an_answer_in_the_store(store, tmp_path, row, expected):
    report = import_file(store, write(tmp_path / "f.jsonl", row))
    assert (report.kept.answers, report.rows.refused) == (len(expected), 0)
    assert [(answer.annotator, answer.response) for answer in store.answers()] == expected
    again = import_file(store, tmp_path / "f.jsonl")
    assert (again.kept.questions, again.kept.answers, again.kept.known) == (0, 0, len(expected))


def test_what_the_store_cannot_hold_is_refused_with_its_line(store, tmp_path):
    report = import_file(store, write(tmp_path / "f.jsonl", {**ULTRA, "correct_answers": []}))
    assert [str(error).split(", ", 1)[1] for error in report.rows.refusals] == [
        "line 1: a rating of 8.5 on overall: the store holds whole numbers, here from 0 to 10"
    ]
    row = {"prompt": "a", "completion": "b", "label": 0.5}
    report = import_file(store, write(tmp_path / "g.jsonl", row), annotator="ann")
    assert "line 1: label 0.5: labels are 0 (bad) or 1 (good)" in str(report.rows.refusals[0])
    report = import_file(store, write(tmp_path / "h.jsonl", {**row, "label": 4}), scale=(1, 7))
    assert [answer.response for answer in store.answers()] == [Ratings(({"overall": 4},))]
    assert import_file(store, write(tmp_path / "i.jsonl", SHP)).lost["strength"] == 1
    assert import_file(store, write(tmp_path / "j.jsonl", ALPACA)).lost["confidence"] == 1


def test_a_second_opinion_of_one_person_is_refused_and_of_another_taken(store, tmp_path):
    other = {**COMPARISON, "choice": 0}
    report = import_file(store, write(tmp_path / "f.jsonl", COMPARISON, other, {**other, "worker": "w9"}, COMPARISON))
    assert (report.kept.questions, report.kept.answers, report.kept.known) == (1, 2, 1)
    assert str(report.rows.refusals[0]).endswith(
        "line 2: 'w1' answered this question before, and otherwise; the first answer stands"
    )
    report = import_file(store, write(tmp_path / "g.jsonl", other))
    assert (report.kept.answers, report.rows.refused) == (0, 1)
    strange = {**COMPARISON, "worker": "a\u0007b"}
    report = import_file(store, write(tmp_path / "h.jsonl", strange, {**COMPARISON, "worker": "w3"}))
    assert (report.kept.answers, report.rows.refused) == (1, 1)
    assert "line 1: annotator 'a\\x07b': give a name" in str(report.rows.refusals[0])


def test_strict_takes_nothing_of_a_file_with_a_bad_row(store, tmp_path):
    path = write(tmp_path / "f.jsonl", *[SHP] * 3, {**SHP, "labels": 7})
    with pytest.raises(DataError, match=r"f\.jsonl, line 4: column 'labels'"):
        import_file(store, path, strict=True)
    assert store.counts()["questions"] == 0
    path = write(tmp_path / "g.jsonl", SHP, {"question": 1})
    with pytest.raises(DataError, match=r"g\.jsonl, line 1: no question in this row"):
        import_file(store, path, "store", strict=True)


def fill(store):
    ranked = Question("qr", PROMPT, ("a", "b", "c"), ("A", "B", "C"))
    rated = Question("qs", PROMPT, ("a",), ("A",), task="rating", criteria=(Criterion("helpfulness", "", 0, 4),))
    written = Question("qw", PROMPT, (), (), task="demonstration")
    store.add_questions([ranked, rated, written])
    store.add_answer(Answer("qr", "ann", Ranks((1, 1, None)), order=(0, 1, 2), note="so"))
    store.add_answer(Answer("qs", "ann", Ratings(({"helpfulness": 3},)), order=(0,)))
    store.add_answer(Answer("qw", "ann", Written("It."), order=()))
    store.add_answer(Answer("qw", "bob", Skipped("not mine"), order=()))


def test_an_export_names_what_its_form_cannot_hold(store, tmp_path):
    fill(store)
    report = export_file(store, "hh-rlhf", tmp_path / "a.jsonl", extras=False)
    assert report.written == {"vote": 2}
    assert report.split == 1
    assert {"annotator", "note", "created", "id", "completion_ids", "failed", "prompt.text"} <= set(report.lost)
    assert report.refused == {
        "a vote of 'tie': hh-rlhf has a chosen and a rejected dialogue only": 1,
        "a judgement: hh-rlhf has no place for it": 1,
        "a demonstration: hh-rlhf has no place for it": 1,
        "a skipped question: no form of records has it": 1,
    }
    first = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert first == {
        "chosen": "\n\nHuman: Say it.\n\nAssistant: A",
        "rejected": "\n\nHuman: Say it.\n\nAssistant: C",
    }
    report = export_file(store, "hh-rlhf", tmp_path / "b.jsonl")
    assert not report.lost
    report = export_file(store, "helpsteer", tmp_path / "c.csv", kinds=["judgements"], criterion="helpfulness")
    assert report.written == {"judgement": 1}
    with pytest.raises(DataError, match="hh-rlhf has a chosen and a rejected dialogue only"):
        export_file(store, "hh-rlhf", tmp_path / "d.jsonl", strict=True)
    assert not (tmp_path / "d.jsonl").exists()
    with pytest.raises(DataError, match="no form 'hh' to write"):
        export_file(store, "hh", tmp_path / "e.jsonl")


def test_argilla_folders_are_what_its_client_reads(store, tmp_path):
    fill(store)
    export_file(store, "argilla", tmp_path / "d")
    names = sorted(folder.name for folder in (tmp_path / "d").iterdir())
    assert names == ["demonstration-0-3", "ranking-3-1", "rating-1-2"]
    settings = json.loads((tmp_path / "d" / "ranking-3-1" / ".argilla" / "settings.json").read_text())
    assert [(q["name"], q["settings"]["type"]) for q in settings["questions"]] == [
        ("ranking", "ranking"),
        ("failed", "multi_label_selection"),
        ("note", "text"),
    ]
    (record,) = json.loads((tmp_path / "d" / "ranking-3-1" / "records.json").read_text())
    assert set(record["fields"]) == {"prompt", "answer1", "answer2", "answer3"}
    assert record["fields"]["prompt"] == [{"role": "user", "content": "Say it."}]
    ranks = {item["value"]: item["rank"] for item in record["responses"]["ranking"][0]["value"]}
    shown = {name: record["fields"][name] for name in ranks}
    assert {shown[name]: rank for name, rank in ranks.items()} == {"A": 1, "B": 1, "C": 2}
    assert [shown[name] for name in record["responses"]["failed"][0]["value"]] == ["C"]
    with FeedbackStore.open(tmp_path / "b.db") as back:
        assert import_file(back, tmp_path / "d", "argilla", strict=True).kept.answers == 4


def test_links_in_a_folder_lead_nowhere(store, tmp_path):
    """A folder that came from elsewhere is read for its own files only."""
    fill(store)
    export_file(store, "argilla", tmp_path / "out")
    (tmp_path / "d" / "x").mkdir(parents=True)
    (tmp_path / "d" / "x" / "records.json").symlink_to(tmp_path / "out" / "ranking-3-1" / "records.json")
    with pytest.raises(DataError, match=r"no records\.json in this folder"):
        import_file(store, tmp_path / "d", "argilla")


@pytest.mark.parametrize(
    ("form", "change", "said"),
    [
        ("label-studio", {"annotations": "none"}, "'annotations': expected a list of objects, got str"),
        ("label-studio", {"annotations": [5]}, "'annotations': expected an object, got int"),
        ("label-studio", {"predictions": {"result": []}}, "'predictions': expected a list of objects, got dict"),
        ("argilla", {"responses": [1]}, "'responses': expected an object, got list"),
        ("argilla", {"responses": {"ranking": "first"}}, "responses to 'ranking': expected a list, got str"),
        (
            "argilla",
            {"responses": {"ranking": [{"value": "x"}]}},
            "a response to 'ranking' is no object with a user_id",
        ),
    ],
)
def test_answers_that_cannot_be_read_are_not_passed_over(store, tmp_path, form, change, said):
    fill(store)
    export_file(store, form, tmp_path / ("out.json" if form == "label-studio" else "out"))
    file = next(path for path in sorted(tmp_path.rglob("*.json")) if path.name in ("out.json", "records.json"))
    row = json.loads(file.read_text())[0]
    (tmp_path / "edited.json").write_text(json.dumps([row | change]))
    told = []
    with FeedbackStore.open(tmp_path / "b.db") as other:
        import_file(other, tmp_path / "edited.json", form, told=told.append)
        assert len(other.questions()) == 1
    assert [str(error) for error in told] == [f"{tmp_path / 'edited.json'}, line 1: {said}"]


@pytest.mark.parametrize(("ranks", "order"), [([1, 2, None], [2, 1, 0, 2]), ([1], [2, 1, 0]), ([1, 2, 3], [0, 0, 9])])
def test_ranks_that_do_not_fit_their_order_are_refused_with_their_line(store, tmp_path, ranks, order):
    texts = {"completion_ids": ["a", "b", "c"], "texts": ["x", "y", "z"]}
    answer = {"kind": "ranking", "annotator": "ann", "ranks": ranks, "order": order}
    row = {"question": {"id": "q", "prompt": {"id": "p", "text": "a"}, **texts}, "answers": [answer]}
    report = import_file(store, write(tmp_path / "f.jsonl", row), "store")
    assert (report.kept.questions, report.kept.answers) == (1, 0)
    assert str(report.rows.refusals[0]).startswith(f"{tmp_path / 'f.jsonl'}, line 1: ")


def test_names_in_the_data_are_never_paths(store, tmp_path):
    row = {**COMPARISON, "worker": "../../etc/x", "info": {**COMPARISON["info"], "id": "../../../tmp/y"}}
    before = sorted(tmp_path.rglob("*"))
    import_file(store, write(tmp_path / "f.jsonl", row))
    export_file(store, "argilla", tmp_path / "d")
    made = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path not in before}
    assert made <= {"f.jsonl", "d", "s.db-wal", "s.db-shm"}
    assert store.answers()[0].annotator == "../../etc/x"


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "f.jsonl", SHP, {**SHP, "labels": 9})
    assert main(["label", "import", "f.jsonl", "--into", "s.db", "--refused", "no.txt"]) == 0
    out = capsys.readouterr().out
    assert "1 new questions, 1 new answers, 0 answers known" in out
    assert "f.jsonl (shp): 2 rows, 1 vote" in out
    assert "f.jsonl, line 2: column 'labels'" in out
    assert (tmp_path / "no.txt").read_text().startswith("f.jsonl, line 2: ")
    assert main(["label", "import", "f.jsonl", "--into", "t.db", "--strict"]) == 2
    assert "f.jsonl, line 2: column 'labels'" in capsys.readouterr().err
    assert main(["label", "export", "s.db", "--format", "trl", "--out", "t.parquet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == {"vote": 1}
    for wrong, said in (
        (["label", "import", "none.jsonl", "--into", "s.db"], "none.jsonl: no such file or folder"),
        (["label", "import", "f.jsonl", "--into", "s.db", "--format", "spp"], "no form 'spp'; did you mean 'shp'"),
        (["label", "import", "f.jsonl", "--into", "s.db", "--scale", "5", "1"], "a scale that grows"),
        (["label", "export", "s.db", "--out", "t.parquet"], "t.parquet: exists; choose another place"),
        (["label", "export", "s.db", "--out", "t.xls"], "t.xls: unknown kind of file"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
