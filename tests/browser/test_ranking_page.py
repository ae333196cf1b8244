"""The ranking page as a person uses it: keys, mouse, drag and drop; wide and narrow, light and dark."""

import re
import shutil
import threading
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from assent.feedback import FeedbackStore, Question, display_order
from assent.types import Message, Prompt
from assent.web.app import create_app
from assent.web.serve import address, listen

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROMPTS = [
    "Explain to a ten-year-old why the sky is blue.",
    "Write a haiku about a kettle.",
    "My soup is too salty. What can I do?",
]
TEXTS = [
    [
        "Sunlight looks white, but it is a mix of all colours. When it comes through the air, tiny bits of air bounce "
        "the blue part around much more than the red part. So blue light reaches your eyes from everywhere in the sky.",
        "The sky is blue because it reflects the sea.",
        "Great question! Before we dive in, let us first consider what a colour is. A colour is what we call it when "
        "light of a certain kind meets our eyes. Light is a wave, and waves have lengths.\n\nSome are long (red) and "
        "some are short (blue). Air scatters short waves more. That is called Rayleigh scattering, after Lord "
        "Rayleigh, who worked it out in the 1870s.\n\nIn summary, the sky is blue because air scatters blue light "
        "more than red light. I hope this helps! Would you like to know why sunsets are red?",
        "sky sky blue the the blue sky because because <script>document.title = 'broken in'</script>",
    ],
    ["Steam climbs, a lid hums", "kettle", "A kettle is a vessel for boiling water.", "Whistle of morning"],
    ["Add water or unsalted stock, then simmer.", "Throw it away.", "Add a potato.", "Salt is sodium chloride."],
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def store(tmp_path):
    with FeedbackStore.open(tmp_path / "feedback.sqlite") as opened:
        opened.add_questions(
            Question(
                id=f"q{n}",
                prompt=Prompt(f"p{n}", messages=(Message("user", text),)),
                completion_ids=tuple(f"q{n}c{i}" for i in range(4)),
                texts=tuple(TEXTS[n]),
            )
            for n, text in enumerate(PROMPTS)
        )
        yield opened


@pytest.fixture
def site(store):
    """The address of the running app."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(store), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield address(listening)
        server.should_exit = True
        thread.join()


@pytest.fixture
def open_page(chromium, site):
    """Opens a page that fails the test when it logs an error, breaks the policy or asks another host for anything."""
    contexts, trouble = [], []

    def open_(width=1280, height=860, **settings):
        context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(site) else trouble.append(request.url))
        page.goto(site)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert trouble == []


def sign_in(page, name):
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Prompt")).to_be_visible()
    page.wait_for_load_state()


def expect_prompt(page, text):
    """The page with this prompt is there, and its script listens."""
    expect(page.locator(".prompt")).to_contain_text(text)
    page.wait_for_load_state()


def rank_button(page, letter, rank):
    """Found by the names that a screen reader speaks."""
    name = "F, failed" if rank == "F" else rank
    return page.get_by_role("group", name=f"Rank of answer {letter}").get_by_role("radio", name=name, exact=True)


def shoot(page, name):
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def fits(page, width):
    """Nothing to scroll sideways; a phone's innerWidth would not tell, it grows with the content."""
    return page.evaluate("document.documentElement.scrollWidth") <= width


def ranks_of(store, number, annotator):
    """Ranks by the answer's own number, whatever the order it was shown in."""
    (ranking,) = [r for r in store.rankings() if r.prompt.id == f"p{number}" and r.annotator == annotator]
    return [dict(zip(ranking.completion_ids, ranking.ranks, strict=True))[f"q{number}c{i}"] for i in range(4)]


def letter_of(store, number, annotator, answer):
    """The letter under which an answer is shown."""
    return "ABCD"[display_order(store.question(f"q{number}"), annotator).index(answer)]


def wanted_keys(store, number, annotator, ranks):
    return [ranks[i] for i in display_order(store.question(f"q{number}"), annotator)]


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
    expect(page.locator("#problem")).to_have_text(re.compile("No rank yet: " + letter_of(store, 0, "Ann", 3)))
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
    sign_in(page, "Eve")
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
