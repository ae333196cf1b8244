import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import fixture
import numpy as np
import pytest
from matplotlib.figure import Figure

from assent.reports import draw
from assent.reports.extract import extract
from assent.reports.page import aligned, flat, render, spans, write_report
from assent.reports.records import Fit, Policy, Sample, SampleText, Series, Training

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Balance(HTMLParser):
    """Collects ids and finds tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("evaluation", [fixture.EVALUATION, fixture.with_evidence(), fixture.SENTIMENT, {}])
def test_page_is_whole_and_self_contained(tmp_path: Path, evaluation: dict) -> None:
    got = write_report(fixture.write_run(tmp_path, evaluation), tmp_path / "out", "Test data")
    page = (tmp_path / "out" / "report.html").read_text()
    check = Balance()
    check.feed(page)
    assert check.open == []
    assert len(check.ids) == len(set(check.ids))
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert "@import" not in page
    assert "#0102" not in page  # every stand-in colour became a variable
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == got
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]


def test_the_same_run_gives_the_same_page(run: Path, page: str) -> None:
    assert render(extract(run)) == page


def test_text_of_models_and_settings_is_escaped(tmp_path: Path) -> None:
    run = fixture.write_run(tmp_path, linked=False, curves=False)
    evil = "</p><script>alert(1)</script>"
    row = {"prompt": evil, "completions": {"ppo": {"text": evil, "tokens": [evil], "token_kl": [2.0]}}}
    (run / "evaluate" / "samples.jsonl").write_text(json.dumps(row))
    page = render(extract(run, title=evil))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 3
    assert "&lt;b&gt;test data&lt;/b&gt;" in page


def test_every_section_says_what_it_knows(page: str) -> None:
    for text in (
        "PPO",
        "DPO",
        "ceiling",
        "Krippendorff",
        "dov<small>simulated",
        "16\u202f384",
        "1\u202fmin 36\u202fs",
        "lora.rank",
    ):
        assert text in page
    assert page.count('<article class="sample"') == 60


def test_evidence_is_drawn_and_told(tmp_path: Path) -> None:
    run = fixture.write_run(tmp_path, fixture.with_evidence(), curves=False)
    page = render(replace(extract(run), hourly_price=1.0))
    for text in (
        "Over-optimisation",
        ">peak at 5.3<",
        ">alarm<",
        "Better stopped at step 45",
        "great great great",
        "People <small>people, who did not see",
        "points of Elo",
        "1 of 2 gaps",
        "old people",
        "At equal length",
        "hellaswag, acc_norm",
        "1\u202f200 of 1\u202f500, 80\u202f%",
        "at step 45",
        "Time and cost",
        "Prefers the longer answer",
        "simulated:dov<small>by annotator",
    ):
        assert text in page, text


def test_the_fitted_forms_by_hand() -> None:
    fit = Fit("gold", alpha=2.0, beta=0.5)
    d = np.array([1.0, np.e])
    assert draw.form(fit, d, "rl") == pytest.approx([2.0, np.e * 1.5])
    assert draw.form(fit, d, "best-of-n") == pytest.approx([1.5, np.e * (2 - 0.5 * np.e)])


def test_token_colours() -> None:
    text = SampleText("good film .", tokens=("Ġgood", "Ġfilm", "Ġ."), token_kl=(2.0, -0.5, 0.01))
    pieces = spans(Sample("p", {"ppo": text, "sft": SampleText(" plain ")}), scale=1.0)
    assert pieces["ppo"] == [
        ("good", "up", "1.00", "2.00 nats"),
        (" film", "down", "0.50", "−0.50 nats"),
        (" .", "", "0.01", "0.01 nats"),
    ]
    assert pieces["sft"] == [("plain", "", "", "")]


def test_tokens_of_whole_words_get_their_spaces_back() -> None:
    text = SampleText("good film", tokens=("good", "film"), token_kl=(1.0, 1.0))
    assert [piece[0] for piece in spans(Sample("p", {"ppo": text}), 1.0)["ppo"]] == ["good", " film"]


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        (["un", "believ", "able", "film", "</s>"], "unbelievable film", ["un", "believ", "able", " film", " </s>"]),
        ([" a", "b", "\n", "c"], "ab\nc", ["a", "b", "\n", "c"]),
        (["the", "the"], "the the", ["the", " the"]),
        (["caf", "\ufffd", "\ufffd", "!"], "café!", ["caf", "", "", "é!"]),
        (["caf", "\ufffd", "\ufffd"], "café", ["caf", "", "é"]),
        ([], "anything", []),
    ],
)
def test_pieces_of_words_stay_together(tokens: list[str], text: str, expected: list[str]) -> None:
    assert aligned(tokens, text) == expected


def test_flat_settings() -> None:
    assert flat({"a": 1, "b": {"c": None, "d": {"e": "x"}}, "f": {}}) == [
        ("a", "1"), ("b.c", "null"), ("b.d.e", "x"), ("f", "{}"),
    ]  # fmt: skip


def test_long_curves_are_thinned() -> None:
    steps = tuple(float(i) for i in range(50_000))
    noisy = tuple(np.random.Generator(np.random.Philox(0)).normal(size=50_000).tolist())
    pictures = draw.training_pictures(Training("ppo", "ppo", {"kl": Series(steps, noisy)}), draw.PANELS)
    assert len(pictures) == 1
    assert len(pictures[0].svg) < 60_000


def test_the_running_mean_by_hand() -> None:
    y = np.zeros(60)
    y[0] = 6.0
    got = draw._smoothed(y)  # half a window is two points
    assert got[:4] == pytest.approx([2.0, 1.5, 1.2, 0.0])


def test_a_picture_without_numbers_is_left_out() -> None:
    assert draw.training_pictures(Training("sft", "sft", {"loss": Series((1.0,), (2.0,))}), draw.PANELS) == []


@pytest.mark.parametrize(
    ("others", "side"), [([(5.0, 1.0)], "bottom"), ([(2.1, 1.05)], "top"), ([(2.0, 1.0)], "bottom")]
)
def test_a_name_stands_below_its_point_where_another_is_close_above(
    others: list[tuple[float, float]], side: str
) -> None:
    axes = Figure().add_subplot()
    points = [(0.0, 0.0), (2.0, 1.0), *others]
    policies = [Policy(name=str(i), figures={"kl": x, "utility": y}) for i, (x, y) in enumerate(points)]
    draw.named_points(axes, [("black", policy) for policy in policies], "utility", 8)
    assert axes.texts[1].get_verticalalignment() == side
