"""The ranking page as a person uses it: keys, mouse, drag and drop; wide and narrow, light and dark."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from assent.feedback import Question
from assent.types import Message, Prompt
from tests.browser.conftest import (
    CHROMIUM,
    PROMPTS,
    expect_prompt,
    fits,
    letter_of,
    rank_button,
    ranks_of,
    shoot,
    sign_in,
    wanted_keys,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed (apt-get install chromium)"),
]


def test_rank_four_by_keyboard(open_page, store):
    page = open_page()
    shoot(page, "sign-in-desktop")
    sign_in(page, "Ann")
    shoot(page, "ranking-desktop-empty")
    # Letters choose, digits rank; two answers share rank 1 and one fails.
    for answer, key in enumerate("1F1 "):
        page.keyboard.press(letter_of(store, 0, "Ann", answer).lower())
        expect(page.locator(".answer.current")).to_have_attribute("data-letter", letter_of(store, 0, "Ann", answer))
        if key != " ":
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_have_text(re.compile("Not ranked yet: " + letter_of(store, 0, "Ann", 3)))
    assert store.rankings() == [], "nothing is sent before all have a rank"
    page.keyboard.press("2")
    page.keyboard.press("n")
    page.keyboard.type("f1 is text here? yes")
    page.keyboard.press("Escape")
    shoot(page, "ranking-desktop")
    page.keyboard.press("Enter")
    expect_prompt(page, PROMPTS[1])
    assert ranks_of(store, 0, "Ann") == [1, None, 1, 2]
    assert store.rankings()[0].note == "f1 is text here? yes"
    expect(page).not_to_have_title("broken in")


def test_four_keys_and_enter_are_enough(open_page, store):
    page = open_page()
    sign_in(page, "Ann")
    for number in range(3):
        for key in wanted_keys(store, number, "Ann", ["2", "1", "F", "3"]):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page.locator(".bar .progress")).to_contain_text(f"{number + 1}/3")
        page.wait_for_load_state()
    expect(page.get_by_role("heading", name="All done, thank you")).to_be_visible()
    shoot(page, "done-desktop")
    assert [ranks_of(store, n, "Ann") for n in range(3)] == [[2, 1, None, 3]] * 3


def test_arrows_backspace_and_correction(open_page, store):
    page = open_page()
    sign_in(page, "Ann")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".answer.current")).to_have_attribute("data-letter", "B")
    page.keyboard.press("4")
    expect(page.locator(".answer.current")).to_have_attribute("data-letter", "C")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Backspace")
    expect(page.locator("#status")).to_have_text("0 of 4 ranked")
    page.keyboard.press("9")
    expect(page.locator("#status")).to_have_text("0 of 4 ranked")


def test_rank_by_buttons_and_undo(open_page, store):
    page = open_page()
    sign_in(page, "Bob")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    for letter, rank in zip("ABCD", ["2", "2", "F", "1"], strict=True):
        rank_button(page, letter, rank).click()
    page.get_by_role("button", name="Send").click()
    expect_prompt(page, PROMPTS[1])
    assert store.rankings()[0].ranks == (2, 2, None, 1)
    page.get_by_role("button", name="Undo last").click()
    expect_prompt(page, PROMPTS[0])
    assert store.rankings() == []
    expect(page.locator('.lane[data-rank="2"] .letter')).to_have_text(["A", "B"])
    page.keyboard.press("c")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect_prompt(page, PROMPTS[1])
    assert store.rankings()[0].ranks == (2, 2, 3, 1)


def drag(page, handle, lane):
    """Press, move in steps, let go."""
    start, end = handle.bounding_box(), page.locator(f'.lane[data-rank="{lane}"]').bounding_box()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=6)
    page.mouse.up()


def test_rank_by_drag_and_drop(open_page, store):
    page = open_page()
    sign_in(page, "Cat")
    # From the answer itself, and as a chip of the tray; two on one lane tie; one moves again.
    drag(page, page.locator("#answer-A .letter"), "1")
    drag(page, page.locator('.lane.rest .letter[data-letter="B"]'), "1")
    drag(page, page.locator('.lane.rest .letter[data-letter="C"]'), "3")
    drag(page, page.locator('.lane.rest .letter[data-letter="D"]'), "2")
    drag(page, page.locator('.lane[data-rank="3"] .letter'), "F")
    expect(page.locator('.lane[data-rank="1"] .letter')).to_have_text(["A", "B"])
    page.get_by_role("button", name="Send").click()
    expect_prompt(page, PROMPTS[1])
    assert store.rankings()[0].ranks == (1, 1, None, 2)


def test_instructions_are_one_key_away(open_page):
    page = open_page()
    sign_in(page, "Ann")
    page.keyboard.press("1")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Instructions")
    expect(dialog).to_contain_text("the shorter is better")
    shoot(page, "instructions-desktop")
    page.keyboard.press("2")
    page.keyboard.press("?")
    expect(dialog).to_be_hidden()
    expect(page.locator("#status")).to_have_text("1 of 4 ranked")
    page.locator("#help").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_phone_in_the_dark(open_page, store):
    page = open_page(390, 844, color_scheme="dark", has_touch=True, is_mobile=True, device_scale_factor=2)
    shoot(page, "sign-in-phone-dark")
    sign_in(page, "Dan")
    shoot(page, "ranking-phone-dark")
    assert fits(page, 390)
    for letter, rank in zip("ABCD", ["1", "2", "2", "F"], strict=True):
        rank_button(page, letter, rank).tap()
    page.locator("#answer-D").scroll_into_view_if_needed()
    shoot(page, "ranking-phone-dark-ranked")
    page.get_by_role("button", name="Send").tap()
    expect_prompt(page, PROMPTS[1])
    assert store.rankings()[0].ranks == (1, 2, 2, None)


def test_phone_light_and_desktop_dark_look_right(open_page):
    page = open_page(390, 844, is_mobile=True, has_touch=True, device_scale_factor=2)
    sign_in(page, "Eve")
    rank_button(page, "B", "1").tap()
    shoot(page, "ranking-phone")
    page = open_page(1440, 900, color_scheme="dark")
    sign_in(page, "Eva")
    page.keyboard.press("1")
    page.keyboard.press("F")
    shoot(page, "ranking-desktop-dark")


@pytest.mark.parametrize(("width", "name"), [(1280, "desktop"), (390, "phone"), (320, "small-phone")])
def test_nine_answers_fit(open_page, store, width, name):
    nine = Question(
        id="nine",
        prompt=Prompt(
            "nine", messages=(Message("system", "Be brief."), Message("user", "x" * 400), Message("assistant", "y"))
        ),
        completion_ids=tuple(f"n{i}" for i in range(9)),
        texts=("w" * 500, "", *(f"answer {i}\n\n    indented" for i in range(7))),
        priority=1.0,
    )
    store.add_questions([nine])
    page = open_page(width, 800, is_mobile=width < 600)
    sign_in(page, "Ann")
    for key in "123456":
        page.keyboard.press(key)
    page.evaluate("scrollTo(0, 0)")
    shoot(page, f"nine-{name}")
    assert fits(page, width)
    for key in "789":
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect_prompt(page, PROMPTS[0])
    assert store.rankings()[0].ranks == tuple(range(1, 10))
    shoot(page, f"second-question-{name}")
    assert fits(page, width)
    assert store.work.progress("Ann").answered == 1


def test_works_without_scripts(open_page, store):
    page = open_page(java_script_enabled=False)
    sign_in(page, "Fay")
    for letter, rank in zip("ABCD", ["1", "2", "3", "F"], strict=True):
        rank_button(page, letter, rank).click()
    page.get_by_role("button", name="Send").click()
    assert store.rankings()[0].ranks == (1, 2, 3, None)


def test_answering_by_finger_drag(open_page, store):
    page = open_page(390, 844, has_touch=True, is_mobile=True)
    sign_in(page, "Gil")
    chip = page.locator('.lane.rest .letter[data-letter="A"]').bounding_box()
    lane = page.locator('.lane[data-rank="2"]').bounding_box()
    session = page.context.new_cdp_session(page)

    def touch(kind, points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    x, y = chip["x"] + chip["width"] / 2, chip["y"] + chip["height"] / 2
    touch("touchStart", [{"x": x, "y": y}])
    to_x, to_y = lane["x"] + lane["width"] / 2, lane["y"] + lane["height"] / 2
    for part in (0.25, 0.5, 0.75, 1.0):
        touch("touchMove", [{"x": x + (to_x - x) * part, "y": y + (to_y - y) * part}])
    touch("touchEnd", [])
    expect(page.locator('.lane[data-rank="2"] .letter')).to_have_text(["A"])
