"""Every kind of page for a screen reader, by keyboard and for weak eyes: axe-core's rules, the order of focus.

Labels, roles and contrast are checked by axe-core in light, dark and on a phone; what it cannot see is checked here.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from assent.feedback import FeedbackStore, SimulatedAnnotator
from assent.feedback.lessons import Lesson
from assent.feedback.people import About
from assent.feedback.questions import TASKS
from assent.feedback.simulated_answers import simulated_answers
from tests.browser.conftest import CHROMIUM, fits, shoot
from tests.unit.web.conftest import question

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed (apt-get install chromium)"),
]
LOOKS = {
    "light": {"width": 1280, "height": 860},
    "dark": {"width": 1280, "height": 860, "color_scheme": "dark"},
    "phone": {"width": 390, "height": 844, "is_mobile": True, "has_touch": True},
    "phone-dark": {"width": 390, "height": 844, "is_mobile": True, "has_touch": True, "color_scheme": "dark"},
}
PAGES = ["instructions", "mine", "me", "live", "dashboard", "people", "project", "audit", "nowhere", "done"]
AXE = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
  const shown = e.matches('input') && style.opacity === '0' ? getComputedStyle(e.nextElementSibling) : style;
  const all = [...document.querySelectorAll('*')];
  return {place: all.indexOf(e), name: e.outerHTML.slice(0, 120), outline: parseFloat(shown.outlineWidth),
          style: shown.outlineStyle, seen: box.bottom > 0 && box.top < innerHeight, body: e === document.body};
}"""


WIDE = f"Code:\n\n```\n{'print(x) ' * 40}\n```\n\n|{' column |' * 30}\n|{'---|' * 30}\n|{' cell |' * 30}"
LONG = "A long answer, with a [link](https://example.org). " * 60


def texts(task):
    """Answers with all that a page may show."""
    return {"demonstration": (), "pairwise": (WIDE, LONG)}.get(task, (WIDE, LONG, "short", "> quoted"))


@pytest.fixture
def allowed_trouble():
    return ["404"]


@pytest.fixture
def store(tmp_path):
    """A question of each task, and enough answers for every picture of the dashboard."""
    with FeedbackStore.open(tmp_path / "feedback.sqlite") as opened:
        opened.add_questions([replace(question(n, task), texts=texts(task)) for n, task in enumerate(TASKS)])
        opened.add_questions([question(n) for n in range(10, 40)])
        people = [SimulatedAnnotator(f"simulated:{n}", noise=0.5) for n in range(4)]
        asked = opened.questions()[len(TASKS) :]
        worth = {"overall": lambda _, text: -float(text.split()[1])}
        given = opened.add_answers(simulated_answers(asked, people, worth, {q.id: 4 for q in asked}, seed=0))
        opened.lessons.add_policy("run", 0)
        opened.lessons.add("run", [Lesson(event, event % 3 / 2, 0) for event in given])
        yield opened


def violations(page):
    found = Axe().run(page, options=AXE).response["violations"]
    return [
        f"{page.url}: {rule['id']}: {node['target']} {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found
        for node in rule["nodes"]
    ]


def enter(page, site, store, name, role):
    page.goto(f"{site}join/{store.people.invite(role, 'a test', annotator=name)}")
    problems = violations(page)
    page.get_by_role("button", name="Start").click()
    page.wait_for_load_state()
    return problems


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_keeps_the_rules(open_page, store, look):
    page = open_page(**LOOKS[look])
    root = page.url.split("sign-in")[0]
    problems = violations(page)
    page.goto(root + "register")
    problems += violations(page)
    problems += enter(page, root, store, "Root", "admin")
    store.people.describe("Root", About(languages="de"))
    for task in TASKS:
        assert page.locator(f'form[data-task="{task}"]').count() == 1
        shoot(page, f"{task}-{look}")
        problems += violations(page)
        assert fits(page, LOOKS[look]["width"]), page.url
        page.keyboard.press("?")
        problems += violations(page)
        page.keyboard.press("Escape")
        page.locator(".menu > summary").click()
        problems += violations(page)
        page.locator(".menu > summary").click()
        page.locator("#skipping summary").click()
        with page.expect_navigation():
            page.locator("#skip").click()
    for name in PAGES:
        page.goto(root + name)
        if name == "dashboard":
            page.locator(".tiles").wait_for()
        shoot(page, f"{name}-{look}")
        problems += violations(page)
        assert fits(page, LOOKS[look]["width"]), page.url
    assert problems == []


def test_focus_goes_down_the_page_and_is_seen(open_page, store):
    page = open_page()
    enter(page, page.url.split("sign-in")[0], store, "Ann", "annotator")
    for task in TASKS[:-1]:
        places = []
        page.evaluate("document.activeElement.blur()")
        for _ in range(80):
            page.keyboard.press("Tab")
            here = page.evaluate(FOCUS)
            if here["body"] or (places and here["place"] == places[0]):
                break
            assert here["seen"], f"{task}: focus out of sight: {here['name']}"
            assert here["outline"] >= 2, f"{task}: focus not shown: {here['name']}"
            assert here["style"] != "none", f"{task}: focus not shown: {here['name']}"
            places.append(here["place"])
        assert places == sorted(places), f"{task}: focus jumps about"
        assert len(places) > 5
        page.locator("#skipping summary").click()
        with page.expect_navigation():
            page.locator("#skip").click()
