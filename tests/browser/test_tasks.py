"""Every other task in Chromium, drafts that outlive a reload and a lost connection, the menu, the dashboard."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from assent.feedback import Best, Labels, Preference, Question, Ratings, Rewritten, Skipped, Written
from assent.types import Message, Prompt
from tests.browser.conftest import (
    CHROMIUM,
    PROMPTS,
    TEXTS,
    expect_prompt,
    fits,
    rank_button,
    shoot,
    sign_in,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed (apt-get install chromium)"),
]


def ask(store, task, answers, **more):
    """A question that comes before the others."""
    question = Question(
        id=task,
        prompt=Prompt(task, messages=(Message("user", f"Do the {task}."),)),
        completion_ids=tuple(f"{task}{i}" for i in range(answers)),
        texts=tuple(TEXTS[0][:answers]),
        task=task,
        priority=1.0,
        **more,
    )
    store.add_questions([question])


def answered(page, store):
    """The one answer, once the next question is there."""
    expect_prompt(page, PROMPTS[0])
    (answer,) = store.answers()
    return answer.response


@pytest.mark.parametrize(
    ("task", "answers", "heading", "keys", "response"),
    [
        ("pairwise", 2, "Which answer is better?", ["2", "Enter"], Preference(-2)),
        ("best", 4, "Choose the best answer", ["ArrowDown", "f", "c", "Enter"], Best(2, (False, True, False, False))),
        ("label", 3, "Label the answers", ["2", "1", "f", "Enter"], Labels((1, 0, None))),
        (
            "rating",
            2,
            "Rate the answers",
            ["1", "2", "3", "f", "Enter"],
            Ratings(({"helpful": 1, "harmless": 2, "honest": 3}, None)),
        ),
    ],
)
def test_tasks_by_keyboard(open_page, store, task, answers, heading, keys, response):
    ask(store, task, answers)
    page = open_page()
    sign_in(page, "Ann", heading)
    for key in keys[:-1]:
        page.keyboard.press(key)
    shoot(page, f"{task}-desktop")
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, f"{task}-phone")
    assert fits(page, 390)
    page.keyboard.press(keys[-1])
    assert answered(page, store) == response


def test_rewrite_and_demonstration(open_page, store):
    ask(store, "rewrite", 1)
    page = open_page()
    sign_in(page, "Ann", "Write a better answer")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_label("Your better answer").fill("Air scatters blue light most.")
    shoot(page, "rewrite-desktop")
    page.keyboard.press("Control+Enter")
    assert answered(page, store) == Rewritten("Air scatters blue light most.")
    ask(store, "demonstration", 0)
    store.work.release("Ann")
    page.goto(page.url.split("/questions")[0] + "/next")
    page.get_by_label("Your answer", exact=True).fill("A draft")
    page.reload()
    expect(page.get_by_label("Your answer", exact=True)).to_have_value("A draft")
    page.get_by_role("button", name="Send").click()
    expect_prompt(page, PROMPTS[0])
    assert store.answers()[1].response == Written("A draft")


def test_skip_by_keyboard(open_page, store):
    page = open_page()
    sign_in(page, "Ann")
    page.keyboard.press("s")
    page.keyboard.type("not my field")
    page.get_by_role("button", name="Skip", exact=True).click()
    expect_prompt(page, PROMPTS[1])
    assert store.answers()[0].response == Skipped("not my field")


def test_ranks_outlive_a_reload_and_a_lost_connection(open_page, store, allowed_trouble):
    page = open_page()
    sign_in(page, "Ann")
    for key in "12":
        page.keyboard.press(key)
    page.reload()
    expect(page.locator("#status")).to_have_text("2 of 4 ranked")
    for key in ("c", "3", "d", "f"):
        page.keyboard.press(key)
    page.context.set_offline(True)
    allowed_trouble.append("ERR_INTERNET_DISCONNECTED")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("safe in this browser")
    shoot(page, "offline-desktop")
    assert store.answers() == []
    page.context.set_offline(False)
    expect_prompt(page, PROMPTS[1])
    assert [answer.ranking().ranks for answer in store.answers()] == [(1, 2, 3, None)]


def test_a_reply_that_was_lost_keeps_the_answer_once(open_page, store, allowed_trouble):
    page = open_page()
    sign_in(page, "Ann")
    lost = []

    def lose(route):
        if route.request.method == "POST" and not lost:
            lost.append(route.fetch())  # the server has it, the browser is told nothing
            route.abort()
        else:
            route.continue_()

    page.route("**/questions/*", lose)
    allowed_trouble.append("ERR_FAILED")
    for key in ("1", "2", "3", "4", "Enter"):
        page.keyboard.press(key)
    expect_prompt(page, PROMPTS[1])
    assert lost
    assert len(store.answers()) == 1


def test_correct_an_older_answer(open_page, store):
    page = open_page()
    sign_in(page, "Ann")
    for number in range(2):
        for key in ("1", "2", "3", "4", "Enter"):
            page.keyboard.press(key)
        expect_prompt(page, PROMPTS[number + 1])
    page.get_by_text("Menu").locator("..").click()
    shoot(page, "menu-desktop")
    page.get_by_role("link", name="My answers").click()
    page.get_by_role("link", name=PROMPTS[0]).click()
    expect(page.locator(".hint").first).to_contain_text("You answered this")
    rank_button(page, "A", "F").click()
    page.get_by_role("button", name="Send").click()
    expect_prompt(page, PROMPTS[2])
    assert [answer.ranking().ranks for answer in store.answers()] == [(1, 2, 3, 4), (None, 1, 2, 3)]


def test_dashboard_has_pictures(open_page, store, site):
    for name, ranks in (("Ann", (1, 2, 3, 4)), ("Bob", (1, 2, 4, 3)), ("Cat", (4, 3, 2, 1))):
        for n in range(3):
            store.add_ranking(f"q{n}", name, ranks, order=(0, 1, 2, 3), note="why?")
    page = open_page()
    page.goto(f"{site}join/{store.people.invite('viewer', 'a test', annotator='Vic')}")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("img", name="Krippendorff")).to_be_visible()
    expect(page.get_by_role("img", name="first")).to_be_visible()
    page.locator("summary", has_text=PROMPTS[0]).click()
    page.screenshot(path="screenshots/dashboard-desktop.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path="screenshots/dashboard-phone.png", full_page=True)
    assert fits(page, 390)
