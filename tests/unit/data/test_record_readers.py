"""Each layout of the field becomes the record it means."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from assent.data import readers
from assent.errors import DataError
from assent.types import Comparison, Completion, Demonstration, Judgement, Message, Prompt, Ranking, to_json

U, A, S = (lambda text, role=role: Message(role, text) for role in ("user", "assistant", "system"))


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def one(tmp_path: Path, row: Any, reader: Any) -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (record,) = reader(path)
    return record


def test_metadata_is_what_can_be_written_again(tmp_path: Path) -> None:
    """Parquet has times and bytes, and JSON of other makers NaN, which no file of ours holds."""
    row = {
        "prompt": "x",
        "score": float("nan"),
        "when": datetime(2024, 5, 1, tzinfo=UTC),
        "raw": b"a",
        "deep": [{"s": 1}],
    }
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "p.parquet")
    (prompt,) = readers.read_prompts(tmp_path / "p.parquet")
    assert prompt.metadata == {"score": None, "when": "2024-05-01T00:00:00+00:00", "raw": "b'a'", "deep": [{"s": 1}]}
    own = {"prompt": {"id": "p", "text": "x", "metadata": {"score": float("nan")}}, "response": "b"}
    found = one(tmp_path, own, readers.read_demonstrations)
    assert readers.write_jsonl(tmp_path / "again.jsonl", [found]) == 1


@pytest.mark.parametrize(
    ("row", "text", "messages"),
    [
        ({"prompt": " The film"}, " The film", None),
        ({"prompt": {"text": "An hour", "toxicity": 0.1}}, "An hour", None),
        ({"text": "It was"}, "It was", None),
        ({"prompt": chat("hi")}, None, (U("hi"),)),
        ({"messages": chat("hi", "yo", "bye", "so")}, None, (U("hi"), A("yo"), U("bye"))),
        (
            {"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}]},
            None,
            (S("s"), U("q")),
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}, None, (U("q"),)),
        ({"messages": json.dumps(chat("hi"))}, None, (U("hi"),)),
        ({"prompt": "\n\nHuman: hi \n\nAssistant:"}, None, (U("hi"),)),
        ({"instruction": "Add", "input": "1 2", "system": "Be brief"}, None, (S("Be brief"), U("Add\n\n1 2"))),
        ({"instruction": "Add", "input": ""}, None, (U("Add"),)),
        ({"question": "Why?"}, None, (U("Why?"),)),
    ],
)
def test_prompts(tmp_path: Path, row: Any, text: str | None, messages: Any) -> None:
    prompt = one(tmp_path, row, readers.read_prompts)
    assert (prompt.text, prompt.messages) == (text, messages)


def test_other_columns_of_a_prompt_are_its_metadata_and_ids_are_kept(tmp_path: Path) -> None:
    row = {"id": 7, "prompt": {"text": "x", "toxicity": 0.5}, "label": 1, "none": None, "metadata": {"k": "v"}}
    assert one(tmp_path, row, readers.read_prompts) == Prompt(
        "7", text="x", metadata={"toxicity": 0.5, "label": 1, "k": "v"}
    )


def test_the_same_prompt_has_the_same_id_in_every_layout(tmp_path: Path) -> None:
    ids = {
        one(tmp_path, {"messages": chat("q", "a")}, readers.read_prompts).id,
        one(tmp_path, {"question": "q"}, readers.read_prompts).id,
        one(tmp_path, {"instruction": "q", "output": "a"}, readers.read_demonstrations).prompt.id,
        one(tmp_path, {"chosen": chat("q", "a"), "rejected": chat("q", "b")}, readers.read_comparisons).prompt.id,
        one(tmp_path, {"messages": chat("q", "a"), "label": 1}, readers.read_judgements).prompt.id,
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("row", "shown", "response"),
    [
        ({"prompt": "p", "completion": " c"}, "p", " c"),
        ({"prompt": "p", "response": "c", "text": "unused"}, "p", "c"),
        ({"prompt": chat("p"), "completion": [{"role": "assistant", "content": "c"}]}, "user: p", "c"),
        ({"instruction": "i", "input": "x", "output": "o"}, "user: i\n\nx", "o"),
        ({"question": "q", "answer": "a"}, "user: q", "a"),
        ({"messages": chat("q", "a", "r", "b", "s")}, "user: q\n\nassistant: a\n\nuser: r", "b"),
    ],
)
def test_demonstrations(tmp_path: Path, row: Any, shown: str, response: str) -> None:
    found = one(tmp_path, row, readers.read_demonstrations)
    assert (found.prompt.shown(), found.response) == (shown, response)


HH = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: pens?\n\nAssistant:"


@pytest.mark.parametrize(
    ("row", "prompt", "chosen", "rejected"),
    [
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "p", "c", "r"),
        ({"instruction": "i", "chosen": "c", "rejected": "r"}, (U("i"),), "c", "r"),
        ({"chosen": chat("q", "c"), "rejected": chat("q", "r")}, (U("q"),), "c", "r"),
        ({"prompt": "q", "chosen": chat("q", "c"), "rejected": chat("q", "r")}, (U("q"),), "c", "r"),
        (
            {"chosen": chat("q", "a", "b", "c"), "rejected": chat("q", "a", "b", "r")},
            (U("q"), A("a"), U("b")),
            "c",
            "r",
        ),
        ({"chosen": chat("q", "same"), "rejected": chat("q", "same")}, (U("q"),), "same", "same"),
        ({"prompt": chat("q"), "chosen": chat("q", "c")[1:], "rejected": chat("q", "r")[1:]}, (U("q"),), "c", "r"),
        ({"chosen": HH + " yes", "rejected": HH + " no\n"}, (U("hi"), A("yo"), U("pens?")), "yes", "no"),
        (
            # the two dialogues fork into turns of unequal number: those of one speaker in a row are one turn
            {"chosen": HH + " a\n\nAssistant: b", "rejected": HH + " c"},
            (U("hi"), A("yo"), U("pens?")),
            "a\n\nb",
            "c",
        ),
        (
            {
                "conversations": [{"from": "human", "value": "q"}],
                "chosen": {"from": "gpt", "value": "c"},
                "rejected": {"from": "gpt", "value": "r"},
            },
            (U("q"),),
            "c",
            "r",
        ),
    ],
)
def test_comparisons(tmp_path: Path, row: Any, prompt: Any, chosen: str, rejected: str) -> None:
    found = one(tmp_path, row, readers.read_comparisons)
    assert (found.prompt.messages or found.prompt.text, found.chosen, found.rejected) == (prompt, chosen, rejected)


def test_margin_and_confidence_are_kept(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    found = one(tmp_path, row | {"margin": "2.5", "confidence": 0.75}, readers.read_comparisons)
    assert (found.margin, found.confidence) == (2.5, 0.75)
    plain = one(tmp_path, row, readers.read_comparisons)
    assert (plain.margin, plain.confidence) == (0.0, 1.0)
    assert "confidence" not in to_json(plain)


@pytest.mark.parametrize(
    ("row", "prompt", "response", "label"),
    [
        ({"prompt": "p", "completion": "c", "label": True}, "p", "c", 1.0),
        ({"prompt": chat("p"), "completion": chat("p", "c")[1:], "label": False}, (U("p"),), "c", 0.0),
        ({"messages": chat("p", "c"), "label": "false"}, (U("p"),), "c", 0.0),
        ({"text": "whole", "label": "1"}, "", "whole", 1.0),
        ({"sentence": "whole", "label": 3.5}, "", "whole", 3.5),
    ],
)
def test_judgements(tmp_path: Path, row: Any, prompt: Any, response: str, label: float) -> None:
    found = one(tmp_path, row, readers.read_judgements)
    shown = found.prompt.messages if found.prompt.text is None else found.prompt.text
    assert (shown, found.response, found.label) == (prompt, response, label)


def test_rankings_as_lists(tmp_path: Path) -> None:
    row = {"id": "post", "prompt": "p", "summaries": ["a", "b", "c"], "rank": [2, 1, None], "worker": "w"}
    found = one(tmp_path, row, readers.read_rankings)
    assert (found.prompt.text, found.texts, found.ranks, found.annotator) == ("p", ("a", "b", "c"), (2, 1, None), "w")
    other = one(tmp_path, row | {"worker": "v"}, readers.read_rankings)
    assert other.id != found.id
    assert other.completion_ids == found.completion_ids


P = Prompt("p1", messages=(U("q"),), metadata={"n": 1})
OWN = [
    (P, readers.read_prompts),
    (Demonstration(P, "r", author="ann", rewrite_of="c0"), readers.read_demonstrations),
    (
        Comparison("c1", P, "a", "b", tie=True, weight=0.5, margin=1.0, confidence=0.75, ranking="r1", group="g"),
        readers.read_comparisons,
    ),
    (Judgement("j1", P, "r", 0.0, criterion="safe", annotator="ann", created=5.0), readers.read_judgements),
    (Ranking("r1", P, ("a", "b"), ("x", "y"), (1, None), "ann", seconds=3.0), readers.read_rankings),
]


@pytest.mark.parametrize(("record", "reader"), OWN, ids=[type(record).__name__ for record, _ in OWN])
def test_our_own_records_come_back_as_they_were(tmp_path: Path, record: Any, reader: Any) -> None:
    assert readers.write_jsonl(tmp_path / "own.jsonl", [record, record]) == 2
    assert reader(tmp_path / "own.jsonl") == [record, record]
    assert readers.read_jsonl(tmp_path / "own.jsonl", type(record)) == [record, record]


def test_completions_come_back_with_their_prompts_and_an_empty_sample_is_kept(tmp_path: Path) -> None:
    pairs = [(P, Completion("c1", "p1", "yes", (5, 2), (-0.5, -0.1), policy="m@3")), (P, Completion("c2", "p1", ""))]
    readers.write_completions(tmp_path / "own.jsonl", pairs)
    assert readers.read_completions(tmp_path / "own.jsonl") == pairs
    found = one(tmp_path, {"prompt": "p", "response": "r"}, readers.read_completions)
    assert (found[0].text, found[1].text, found[1].prompt_id) == ("p", "r", found[0].id)


def test_an_unknown_field_of_our_own_record_is_named(tmp_path: Path) -> None:
    row = to_json(OWN[2][0]) | {"wieght": 1.0}
    with pytest.raises(DataError, match=r"rows.jsonl, line 1: unknown field 'wieght' in a Comparison"):
        one(tmp_path, row, readers.read_comparisons)


EMPTY = [
    ({"prompt": "p", "completion": " "}, readers.read_demonstrations, "column 'completion' is empty"),
    ({"prompt": "", "completion": "c"}, readers.read_demonstrations, "column 'prompt' is empty"),
    ({"prompt": "p", "chosen": "", "rejected": "r"}, readers.read_comparisons, "column 'chosen' is empty"),
    ({"prompt": "p", "chosen": "c", "rejected": "\n"}, readers.read_comparisons, "column 'rejected' is empty"),
    ({"chosen": chat("q", ""), "rejected": chat("q", "r")}, readers.read_comparisons, "the answer in column 'chosen'"),
    ({"chosen": HH, "rejected": HH + " x"}, readers.read_comparisons, "the answer in column 'chosen' is empty"),
    ({"messages": chat("q")}, readers.read_demonstrations, "no assistant turn"),
    ({"messages": []}, readers.read_prompts, "no messages"),
    ({"text": "", "label": 1}, readers.read_judgements, "column 'text' is empty"),
    ({"text": ""}, readers.read_texts, "column 'text' is empty"),
    (to_json(Demonstration(P, "")), readers.read_demonstrations, "column 'response' is empty"),
]


@pytest.mark.parametrize(("row", "reader", "said"), EMPTY)
def test_an_empty_text_is_an_error_with_file_and_line_or_skipped(
    tmp_path: Path, row: Any, reader: Any, said: str
) -> None:
    good = {
        readers.read_demonstrations: {"prompt": "p", "completion": "c"},
        readers.read_comparisons: {"prompt": "p", "chosen": "c", "rejected": "r"},
        readers.read_prompts: {"prompt": "p"},
        readers.read_judgements: {"text": "t", "label": 1},
        readers.read_texts: {"text": "t"},
    }[reader]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in (good, row, good)))
    with pytest.raises(DataError) as caught:
        reader(path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert said in str(caught.value)
    assert "remove the row" in str(caught.value)
    assert len(reader(path, empty="skip")) == 2
    path.write_text(json.dumps(row))
    with pytest.raises(DataError):
        reader(path, empty="skip")  # nothing is left


WRONG = [
    ({"prompt": 3}, readers.read_prompts, "column 'prompt': expected text, got int"),
    ({"messages": [{"role": "boss", "content": "x"}]}, readers.read_prompts, "unknown role 'boss'"),
    ({"messages": [{"role": "user"}]}, readers.read_prompts, "has no text in 'content'"),
    ({"messages": ["hi"]}, readers.read_prompts, "expected a message {role, content}, got str"),
    ({"text": "t", "label": "good"}, readers.read_judgements, "expected a number or true/false, got 'good'"),
    ({"text": "t", "label": "nan"}, readers.read_judgements, "expected a finite number"),
    ({"chosen": chat("q", "a", "r", "s"), "rejected": chat("q", "b")}, readers.read_comparisons, "more than the last"),
    ({"prompt": "p", "chosen": "c", "rejected": "r", "confidence": 0}, readers.read_comparisons, "confidence 0 is no"),
    ({"prompt": "p", "chosen": "c", "rejected": "r", "confidence": 1.5}, readers.read_comparisons, "above 0 and up to"),
    ({"prompt": "p", "chosen": "c", "rejected": "r", "confidence": "high"}, readers.read_comparisons, "got 'high'"),
    (
        {"prompt": {"id": "p", "text": "p"}, "id": "1", "chosen": "c", "rejected": "r", "confidence": -0.5},
        readers.read_comparisons,
        "confidence -0.5",
    ),
    ({"prompt": "p", "completions": ["a"], "ranks": [0]}, readers.read_rankings, "expected a list of ranks"),
    ({"prompt": "p", "completions": ["a"], "ranks": [1, 2]}, readers.read_rankings, "differ in length"),
]


@pytest.mark.parametrize(("row", "reader", "said"), WRONG)
def test_a_value_of_the_wrong_kind_names_file_line_and_column(tmp_path: Path, row: Any, reader: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        one(tmp_path, row, reader)
    assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}, line 1: ")
    assert said in str(caught.value)


def test_a_missing_column_says_what_is_there_what_was_expected_and_what_else_the_file_is(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        one(tmp_path, {"prompt": "p", "chosen": "c", "rejekted": "r"}, readers.read_comparisons)
    said = str(caught.value)
    assert "no comparisons in columns prompt, chosen, rejekted; expected prompt + chosen + rejected" in said
    assert "rename the columns; it can be read as prompts" in said


def test_describe(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"text": "t", "label": 1}))
    assert readers.describe(path) == ["prompts", "texts", "judgements"]
    path.write_text(json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"}))
    assert readers.describe(path) == ["prompts", "comparisons"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    readers.write_jsonl(path, [P])
    before = path.read_bytes()

    def records() -> Any:
        yield P
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        readers.write_jsonl(path, records())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["own.jsonl"]
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        readers.write_jsonl(tmp_path / "no" / "own.jsonl", [P])
