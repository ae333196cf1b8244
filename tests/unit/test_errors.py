"""An error is one line for people, whatever the data that it quotes."""

from assent.errors import DataError, RunError


def test_what_is_quoted_is_shown_on_one_printable_line():
    assert str(RunError("unknown key 'a\r\nb\u2028\ud800'")) == "unknown key 'a\\r\\nb\\u2028\\ud800'"
    assert str(DataError("odd", "a\nfile", 3)) == "a\\nfile, line 3: odd"
    assert str(RunError("café “…”")) == "café “…”"


def test_what_is_quoted_is_cut_in_its_middle():
    said = str(RunError(f"f.jsonl, line 1: unknown role '{'x' * 9_000}'; expected one of system, user"))
    assert len(said) < 1_600
    assert said.startswith("f.jsonl, line 1: unknown role 'xxx")
    assert said.endswith("xxx'; expected one of system, user")
