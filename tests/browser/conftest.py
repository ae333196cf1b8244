"""The labelling app in Chromium: its store, its server, and pages that fail a test when they log an error."""

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
        server = uvicorn.Server(uvicorn.Config(create_app(store, open_registration=True), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield address(listening)
        server.should_exit = True
        thread.join()


@pytest.fixture
def allowed_trouble():
    """Words of console messages that a test brings about on purpose."""
    return []


@pytest.fixture
def open_page(chromium, site, allowed_trouble):
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
    assert [text for text in trouble if not any(word in text for word in allowed_trouble)] == []


def sign_in(page, name, heading="Rank the answers"):
    page.get_by_role("link", name="Make an account.").click()
    page.get_by_label("Your name").fill(name)
    page.get_by_label("A secret, to sign in again").fill("battery staple")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
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
