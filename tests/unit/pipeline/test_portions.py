"""Portions that are kept, torn and edited."""

import pytest

from assent.pipeline.portions import Portions


def test_what_was_done_is_not_done_again(tmp_path):
    made: list[str] = []

    def make(name: str):
        made.append(name)
        return [0.1 + 0.2, 1e-300, {"text": "ü\n\u2028"}, None, len(made)]

    first = Portions(tmp_path)
    values = [first.get(name, lambda name=name: make(name)) for name in ("a", "b", "a")]
    assert made == ["a", "b"]
    path = tmp_path / "checkpoints" / "portions.jsonl"
    whole = path.read_bytes()
    again = Portions(tmp_path)
    assert [again.get(name, pytest.fail) for name in ("a", "b")] == values[:2]
    for damaged in (whole[:-10], whole.replace(b"null,2]", b"null,3]").replace(b"null, 2]", b"null, 3]")):
        path.write_bytes(damaged)
        other = Portions(tmp_path)
        assert other.get("a", pytest.fail) == values[0]
        made.clear()
        other.get("b", lambda: make("b"))
        assert made == ["b"]
        assert Portions(tmp_path).get("a", pytest.fail) == values[0]
