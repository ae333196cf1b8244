"""The report in Chromium: no script error, no request, and the filter does what it says."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assent.reports.compare import write_comparison
from assent.reports.extract import extract
from assent.reports.page import write_report

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def fixture() -> Any:
    path = Path(__file__).parents[1] / "unit" / "reports" / "fixture.py"
    spec = importlib.util.spec_from_file_location("report_fixture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def report(fixture: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(fixture.write_run(folder), folder / "out", "Test data")
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def with_evidence(fixture: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose evaluation has everything that there can be in one, and its costs."""
    folder = tmp_path_factory.mktemp("evidence")
    run = fixture.write_run(folder, fixture.with_evidence())
    write_report(run, folder / "out", "Test data", hourly_price=1.5, currency="EUR")
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def comparison(fixture: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    runs = [fixture.write_run(folder / name, given) for name, given in (("a", None), ("b", fixture.SENTIMENT))]
    write_comparison([extract(run) for run in runs], ["first", "second"], folder / "out")
    return folder / "out" / "compare.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Any, file: Path, width: int = 1200, scheme: str = "light") -> Iterator[Any]:
    """A page that fails the test on any console message of level error or warning, and on any request."""
    context = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=scheme)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda sent: faults.append(sent.url) if sent.url != file.as_uri() else None)
    page.goto(file.as_uri())
    yield page
    context.close()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


@pytest.fixture
def page(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    with opened(browser, report, *getattr(request, "param", ())) as page:
        yield page


@pytest.mark.parametrize(
    "page", [(1200, "light"), (1200, "dark"), (390, "light"), (390, "dark"), (768, "light")], indirect=True
)
def test_fits_the_screen_in_light_and_dark(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        ".map(c => c.match(/\\d+/g).map(Number).reduce((a, b) => a + b))"
    )
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (ink > paper) == dark
    assert page.locator("figure svg").first.is_visible()


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("which", ["with_evidence", "comparison"])
def test_other_pages_fit_the_screen(browser: Any, which: str, width: int, request: pytest.FixtureRequest) -> None:
    with opened(browser, request.getfixturevalue(which), width, "dark") as page:
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("figure svg").first.is_visible()


def test_samples_by_gain_and_by_policy(page: Any) -> None:
    cards = page.locator("#samples-list article.sample:visible")
    page.select_option("#which", "lost")
    gains = [float(x) for x in cards.evaluate_all("all => all.map(each => each.dataset.gain)")]
    assert gains
    assert max(gains) < 0
    assert int(page.locator("#shown").text_content().split()[-1]) < 60
    page.select_option("#which", "all")
    shown = page.locator("#samples-list .answer[data-policy=dpo]:visible")
    assert shown.count() == 6
    page.uncheck(".shown-policies input[data-policy=dpo]")
    assert shown.count() == 0
    page.fill("#find", "harbour")  # hidden policies stay hidden
    assert shown.count() == 0
    page.check(".shown-policies input[data-policy=dpo]")
    assert shown.count() == 6


def test_filter_and_order(page: Any) -> None:
    cards, shown = page.locator("article.sample:visible"), page.locator("#shown")
    assert cards.count() == 6
    assert shown.text_content() == "6 of 60"
    page.fill("#find", "HARBOUR film")
    assert "harbour" in cards.first.inner_text().lower()
    assert shown.text_content() == "6 of 8"
    page.click("#more")
    assert cards.count() == 8
    page.fill("#find", "no such words")
    assert shown.text_content() == "nothing found"
    assert cards.count() == 0
    page.fill("#find", "")
    page.select_option("#sort", "best")
    best = [float(x) for x in cards.evaluate_all("all => all.map(each => each.dataset.gain)")]
    assert best == sorted(best, reverse=True)
    page.select_option("#sort", "worst")
    assert float(cards.first.get_attribute("data-gain")) < min(best)


def test_colours_can_be_switched_off(page: Any) -> None:
    token = page.locator(".sample .up").first
    before = token.evaluate("e => getComputedStyle(e).backgroundColor")
    page.uncheck("#colours")
    assert token.evaluate("e => getComputedStyle(e).backgroundColor") != before


def test_a_box_of_the_lineage_opens_its_settings(page: Any) -> None:
    page.click(".lineage .across a[href='#settings-ppo'] rect")
    assert page.locator("#settings-ppo").evaluate("e => e.open")


def test_prints_with_everything_unfolded(page: Any) -> None:
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".settings details[open]").count() == 0
    assert page.pdf().startswith(b"%PDF")


def test_reads_without_scripts(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("article.sample:visible").count() == 60
    assert not page.locator("#find").is_visible()
    context.close()
