"""What annotators see of a model that learns from them: a page that renews itself, questions that come unasked."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from assent.feedback.lessons import Lesson
from tests.browser.conftest import CHROMIUM, PROMPTS, expect_prompt, sign_in

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed (apt-get install chromium)"),
]


def answer_all(store, name):
    return [store.add_ranking(question.id, name, (1, 2, 3, 4)) for question in store.questions()]


def test_the_curve_grows_while_one_looks(open_page, store, site):
    given = answer_all(store, "Bob")
    store.lessons.add_policy("run", 0)
    page = open_page()
    sign_in(page, "Ann")
    page.locator(".menu > summary").click()
    page.get_by_role("link", name="What is learned").click()
    tiles = page.locator(".tile")
    expect(tiles.nth(0)).to_contain_text("0")
    store.lessons.add("run", [Lesson(event, 1.0, 0) for event in given])
    store.lessons.add_policy("run", 1)
    expect(tiles.nth(0)).to_contain_text("3", timeout=20_000)
    expect(tiles.nth(1)).to_contain_text("100%")
    expect(tiles.nth(2)).to_contain_text("1policy")
    expect(page.get_by_role("img", name="Share of comparisons foreseen")).to_be_visible()


def test_new_questions_come_by_themselves(open_page, store, site):
    page = open_page()
    sign_in(page, "Ann")
    store.lessons.add_policy("run", 0)
    store.work.release("Ann")
    answer_all(store, "Ann")
    page.goto(f"{site}next")
    expect(page.get_by_role("heading", name="More questions are being made")).to_be_visible()
    first = store.questions()[0]
    store.add_questions([replace(first, id="new", completion_ids=tuple("wxyz"))])
    expect_prompt(page, PROMPTS[0])
