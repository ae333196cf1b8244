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


def test_the_bar_is_driven_like_plain_lines(capsys):
    bar = display.RichDisplay()
    bar.advance()  # before start and after stop it does nothing
    bar.start("training", None)
    bar.advance(2, loss=1.0)
    bar.say("[not] markup")
    bar.stop()
    bar.stop()
    assert "[not] markup" in capsys.readouterr().out


def test_durations():
    assert [display.duration(s) for s in (0.4, 59, 185, 7800)] == ["0 s", "59 s", "3 min 05 s", "2 h 10 min"]
