"""Good rows of every layout, and ways to spoil what is good."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.unit.data import form_rows as rows

GOOD: list[dict[str, Any]] = [
    rows.HH, rows.SHP, rows.COMPARISON, rows.AXES, rows.HELPSTEER2, rows.PREFERENCE2, rows.PREFERENCE3, rows.ULTRA,
    rows.ARENA, rows.ALPACA, rows.TREE, rows.TREE["prompt"], rows.KAGGLE,
    {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 1, "confidence": 0.9},
    {"prompt": [rows.USER], "chosen": [rows.said("b")], "rejected": [rows.said("c")]},
    {"prompt": "a", "completion": "b", "label": True},
    {"prompt": "a", "completions": ["b", "c"], "ranks": [1, None], "annotator": "ann"},
    {"messages": [rows.USER, rows.said("b")]},
    {"id": "r", "prompt": {"id": "p", "text": "a"}, "completion_ids": ["1", "2"], "texts": ["b", "c"],
     "ranks": [1, 1], "annotator": "ann"},
    {"prompt": {"id": "p", "messages": [rows.USER]}, "response": "b", "author": "ann"},
]  # fmt: skip
"""A row of each published layout, and of our own."""

MORE: list[dict[str, Any]] = [
    {"text": "a film"},
    {"sentence": "a film", "label": 1, "id": "s1"},
    {"question": "why?", "answer": "so", "id": 7},
    {"instruction": "add", "input": "1 2", "output": "3", "system": "You add."},
    {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    {"id": "c", "prompt": {"id": "p", "text": "a"}, "prompt_id": "p", "text": "b", "token_ids": [1, 2],
     "logprobs": [-0.5, -1.0], "finish_reason": "stop"},
    {"id": "j", "prompt": {"id": "p", "text": "a"}, "response": "b", "label": 0.5, "criterion": "tone"},
    {"id": "x", "prompt": {"id": "p", "text": "a"}, "chosen": "b", "rejected": "c", "tie": True, "weight": 0.5},
]  # fmt: skip
"""Rows of the plainer layouts."""

ODD_TEXTS = [
    "", " ", "\n", "\r", "\t", "\x00", "\x85", "\u2028", "\ufeff", "\ud800", "e\u0301", "𝒳", "[", "{}", "[[]]", "null",
    "nan",
    "-inf", "1e999", "9" * 5_000, "0x" + "f" * 5_000, "-1", "true", "no", "1:30", "2024-01-01", "~", "<<", "*a", "&a b",
    "$x", "$sft/..", "../up", "/", ".", "a/b", "%s{0}", "\n\nHuman: a\n\nAssistant: b", "<|eos|>", "[" * 3_000,
    '{"role": "user"}', '[{"role": "user", "content": "a"}]', "x" * 3_000,
]  # fmt: skip
ODD_NUMBERS = [0, -1, 1, 2, 3, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")]

TEXTS = st.text(max_size=6) | st.sampled_from(ODD_TEXTS)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(ODD_NUMBERS) | TEXTS
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
"""Any value that JSON can hold, and some that it should not."""


@st.composite
def spoilt(
    draw: Callable[..., Any], good: Sequence[Any] = GOOD, junk: st.SearchStrategy[Any] = JUNK, most: int = 1
) -> Any:
    """A good value with up to ``most`` values, at any depth, replaced, taken out, or put where they do not belong."""
    value = json.loads(json.dumps(draw(st.sampled_from(list(good)))))
    for _ in range(draw(st.integers(1, most))):
        _spoil(draw, value, junk)
    return value


def _spoil(draw: Callable[..., Any], value: Any, junk: st.SearchStrategy[Any]) -> None:
    holder, key = value, _a_key(draw, value)
    while key is not None and isinstance(holder[key], (dict, list)) and holder[key] and draw(st.booleans()):
        holder = holder[key]
        key = _a_key(draw, holder)
    if key is None:
        return
    way = draw(st.integers(0, 6))
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[draw(TEXTS)] = draw(junk)
    elif way == 1:
        holder.append(holder[key])
    else:
        holder[key] = draw(junk)


def _a_key(draw: Callable[..., Any], value: Any) -> Any:
    if not value:
        return None
    return draw(st.sampled_from(sorted(value))) if isinstance(value, dict) else draw(st.integers(0, len(value) - 1))


PIECES = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b'"', b"'", b"\n", b"\r", b"\r\n", b"\t", b",", b":", b": ", b"- ",
    b"{", b"}", b"[", b"]", b"[" * 3_000, b"NaN", b"1e999", b"-", b"9" * 5_000, b"\\ud800", b"null", b"true", b"{}",
    b"*a", b"&a ", b"<<: ", b"? ", b"| ", b"!!binary ", b"!!python/object/apply:os.system ", b"%YAML 9\n", b"---\n",
    b"#", b"\xe2\x80\xa8", b"\x1f\x8b", b"PK", b"\x80\x04",
]  # fmt: skip
"""What means something to one format or another."""


@st.composite
def edited(draw: Callable[..., Any], whole: bytes) -> bytes:
    """Good bytes, cut off, or with some put in, taken out, changed or repeated, in up to three places."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(1, 12))
        match draw(st.integers(0, 5)):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=6))
            case 2:
                data[at : at + size] = draw(st.binary(min_size=1, max_size=6))
            case 3:
                del data[at : at + size]
            case 4 if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case _:
                data[at:at] = data[at : at + size] * draw(st.integers(1, 4))
    return bytes(data)


def as_lines(values: Sequence[Any]) -> str:
    """JSON Lines, also of what JSON should not hold."""
    return "".join(json.dumps(value) + "\n" for value in values)
