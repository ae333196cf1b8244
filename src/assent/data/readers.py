"""Data files in the field's usual columns, read into the records of :mod:`assent.types`.

Every ``source`` is what :func:`read_rows` takes: a file, a folder with one file a split, or a hub dataset.  Ids are the
row's own ``id`` column (``prompt_id`` for the prompt of a pair), or made of the content, so that equal content has an
equal id; rows are never dropped as duplicates here.

All readers raise :class:`DataError` naming the file and line: columns that are not there (with those that are), an
empty text where one is needed (``empty="skip"`` leaves such rows out instead), a value of the wrong kind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from assent.data import parse
from assent.data.forms import FORMS, Vote
from assent.data.jsonl import read_jsonl, write_completions, write_jsonl
from assent.data.layouts import EmptyField, NoAnswer, cells
from assent.data.rows import Row, read_rows
from assent.errors import DataError
from assent.types import Comparison, Completion, Demonstration, Judgement, Prompt, Ranking

__all__ = [
    "OnEmpty",
    "Row",
    "describe",
    "locate_prompt",
    "read_comparisons",
    "read_completions",
    "read_demonstrations",
    "read_jsonl",
    "read_judgements",
    "read_prompts",
    "read_rankings",
    "read_rows",
    "read_texts",
    "write_completions",
    "write_jsonl",
]

OnEmpty = Literal["error", "skip"]
"""What a reader does with a row whose text is empty."""

T = TypeVar("T")


def comparison_of(row: Row) -> Comparison:
    """:func:`parse.parse_comparison`, or the one vote of a row of a published form."""
    try:
        return parse.parse_comparison(row)
    except parse.MissingColumn:
        form = next((form for form in FORMS.values() if form.tells(row)), None)
        found = [] if form is None else [vote for vote in form.read(row) if isinstance(vote, Vote)]
        if len(found) != 1:
            raise
        return found[0].comparison()


_PARSERS: dict[str, Callable[[Row], Any]] = {
    "prompts": parse.parse_prompt,
    "texts": parse.parse_text,
    "demonstrations": parse.parse_demonstration,
    "comparisons": comparison_of,
    "judgements": parse.parse_judgement,
    "completions": parse.parse_completion,
    "rankings": parse.parse_ranking,
}


def read_prompts(source: str | Path, split: str | None = None, *, empty: OnEmpty = "error") -> list[Prompt]:
    """Prompts, from the first of these columns that is there: ``prompt`` (text, messages, HH dialogue, or an object
    with ``text``), ``messages`` or ``conversations`` (up to the last user turn), ``instruction`` (+ ``input``,
    ``system``) and ``question`` (a user message), ``text``.  The other columns become the prompt's metadata.
    """
    return _read("prompts", parse.parse_prompt, source, split, empty)


def read_texts(source: str | Path, split: str | None = None, *, empty: OnEmpty = "error") -> list[str]:
    """Plain texts: column ``text`` or ``sentence``, or the lines of a ``.txt`` file."""
    return _read("texts", parse.parse_text, source, split, empty)


def read_demonstrations(
    source: str | Path, split: str | None = None, *, empty: OnEmpty = "error"
) -> list[Demonstration]:
    """Demonstrations: a prompt column as in :func:`read_prompts` (but ``text``) with ``completion``, ``response``,
    ``output`` or ``answer``; or ``messages`` / ``conversations``, whose last assistant turn is the response.
    """
    return _read("demonstrations", parse.parse_demonstration, source, split, empty)


def read_comparisons(source: str | Path, split: str | None = None, *, empty: OnEmpty = "error") -> list[Comparison]:
    """Pairs of answers to one prompt.  Layouts:

    - ``prompt`` (or ``instruction``, ``question``, ``messages``) with ``chosen`` and ``rejected`` as texts;
    - ``chosen`` and ``rejected`` as message lists: the prompt is the shared prefix (TRL, UltraFeedback), or stands in
      ``prompt`` / ``conversations`` where the two hold the answer alone (LLaMA-Factory);
    - ``chosen`` and ``rejected`` as HH-RLHF dialogues, the prompt again the shared prefix;
    - :class:`Comparison` records as :func:`write_jsonl` writes them, ties and weights included;
    - any form of :data:`assent.data.forms.FORMS` with one vote a row: Stanford Human Preferences, Chatbot Arena,
      AlpacaEval, summarize-from-feedback, HelpSteer 2 and 3 preferences.

    Columns ``margin`` and ``confidence`` are kept; scores are not turned into margins.
    """
    return _read("comparisons", comparison_of, source, split, empty)


def read_judgements(source: str | Path, split: str | None = None, *, empty: OnEmpty = "error") -> list[Judgement]:
    """Labels (numbers; true and false are 1 and 0) of single answers: ``prompt`` + ``completion`` + ``label`` (TRL's
    KTO), ``messages`` + ``label`` (LLaMA-Factory's KTO), ``text`` or ``sentence`` + ``label`` (classification: the
    text is the response and the prompt is the empty text), or :class:`Judgement` records.
    """
    return _read("judgements", parse.parse_judgement, source, split, empty)


def read_completions(
    source: str | Path, split: str | None = None, *, empty: OnEmpty = "error"
) -> list[tuple[Prompt, Completion]]:
    """Sampled answers with their prompts, as :func:`write_completions` writes them, or any prompt + completion rows
    (then without token ids).  An empty answer that a policy sampled is kept: it is a fact about the policy.
    """
    return _read("completions", parse.parse_completion, source, split, empty)


def read_rankings(source: str | Path, split: str | None = None, *, empty: OnEmpty = "error") -> list[Ranking]:
    """Rankings: :class:`Ranking` records, or ``prompt`` + a list ``completions`` + a list ``ranks`` (1 best, ties
    share a rank, null failed), with an ``annotator`` or ``worker`` column where known.
    """
    return _read("rankings", parse.parse_ranking, source, split, empty)


def describe(source: str | Path, split: str | None = None) -> list[str]:
    """The kinds that ``source`` could be read as, judged by its first row: of prompts, texts, demonstrations,
    comparisons, judgements, completions, rankings.
    """
    return _kinds(cells(next(iter(read_rows(source, split)))))


def locate_prompt(source: str | Path, prompt_id: str, split: str | None = None) -> tuple[str, int] | None:
    """File and line of the first row whose prompt has this id; ``None`` where there is none (for error messages)."""
    for row in map(cells, read_rows(source, split)):
        for parser in _PARSERS.values():
            try:
                record = parser(row)
            except (ValueError, DataError):
                continue
            prompt = record[0] if isinstance(record, tuple) else getattr(record, "prompt", record)
            if isinstance(prompt, Prompt) and prompt.id == prompt_id:
                return row.path, row.line
    return None


def _read(kind: str, parser: Callable[[Row], T], source: str | Path, split: str | None, empty: OnEmpty) -> list[T]:
    records: list[T] = []
    skipped: DataError | None = None
    for row in map(cells, read_rows(source, split)):
        try:
            records.append(parser(row))
        except parse.MissingColumn as missing:
            raise _missing(row, kind, str(missing)) from None
        except EmptyField as found:
            skipped = row.error(f"{found}; expected text: fill it in or remove the row")
            if empty == "error":
                raise skipped from None
        except ValueError as refused:
            raise row.error(str(refused)) from None
    if not records and skipped is not None:
        raise skipped
    return records


def _missing(row: Row, kind: str, expected: str) -> DataError:
    found = ", ".join(row.values) or "none"
    others = [other for other in _kinds(row) if other != kind]
    hint = f"; it can be read as {', '.join(others)}" if others else ""
    return row.error(f"no {kind} in columns {found}; expected {expected}: rename the columns{hint}")


def _kinds(row: Row) -> list[str]:
    kinds: list[str] = []
    for kind, parser in _PARSERS.items():
        try:
            parser(row)
        except NoAnswer:
            continue
        except EmptyField:
            pass
        except (ValueError, DataError):
            continue
        kinds.append(kind)
    return kinds
