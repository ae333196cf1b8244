from __future__ import annotations

import io

from assent.pipeline import display


def test_plain_lines_come_at_most_every_ten_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    plain = display.PlainDisplay(stream)
    plain.start("training", 100)
    for _ in range(50):
        now[0] += 0.5
        plain.advance(loss=2.5)
    plain.stop()
    assert stream.getvalue().splitlines() == [
        "  training: 20/100, 40 s left, loss 2.5",
        "  training: 40/100, 30 s left, loss 2.5",
    ]


def test_time_left_is_by_what_was_done_now(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    plain = display.PlainDisplay(stream)
    plain.start("ppo", 100, done=90)
    now[0] += 10
    plain.advance(**{"tokens/s": 1234.0})
    assert stream.getvalue() == "  ppo: 91/100, 1 min 30 s left, tokens/s 1234\n"


def test_a_terminal_sees_each_figure_with_its_curve(monkeypatch):
    from rich.console import Console

    view = display.RichDisplay()
    view.start("ppo", 4)
    for step in range(4):
        view.advance(**{"reward": float(step), "KL": 2.5, "tokens/s": 12_345.6})
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(view._view())
    view.stop()
    text = console.export_text()
    assert "4/4" in text
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["reward", "3", "▁▃▆█"], ["KL", "2.5", "▁▁▁▁"], ["tokens/s", "12,346", "▁▁▁▁"]
    ]  # fmt: skip


def test_a_long_curve_is_means_of_equal_stretches():
    assert display.curve([0.0, 1.0, 4.0, 5.0, 8.0, 9.0], width=3) == "▁▅█"
    assert display.curve([]) == ""
    assert len(display.curve(list(range(1000)))) == display.CURVE


def test_the_bar_is_driven_like_plain_lines(capsys):
    bar = display.RichDisplay()
    bar.advance()  # before start and after stop it does nothing
    bar.start("training", None)
    bar.advance(2, loss=1.0)
    bar.say("[not] markup")
    bar.stop()
    bar.stop()
    assert "[not] markup" in capsys.readouterr().out


def test_numbers():
    shown = [display.number(value) for value in (0.000123456, -2.5, 1234.4, 12_345.6, float("nan"), 1e20)]
    assert shown == ["0.0001235", "-2.5", "1234", "12,346", "nan", "1e+20"]


def test_durations():
    assert [display.duration(s) for s in (0.4, 59, 185, 7800)] == ["0 s", "59 s", "3 min 05 s", "2 h 10 min"]
