"""Questions and answers over HTTP."""

import re
import threading

import pytest

from assent.errors import StoreError
from assent.feedback import FeedbackStore, Ranks, display_order
from assent.feedback.lessons import Lesson
from assent.feedback.projects import ProjectSettings
from assent.feedback.questions import TASKS
from assent.web.forms import letters
from assent.web.routes import dashboard
from tests.unit.web.conftest import EVIL, question


def checked(page):
    tags = re.findall(r"<input[^>]+checked[^>]*>", page.text)
    return {re.search(r'name="rank-(\w+)"', tag)[1]: re.search(r'value="(\w+)"', tag)[1] for tag in tags}


def test_answer_with_tie_and_failure_reaches_the_store(visit, store):
    store.projects.write_instructions("default", "Be *kind*.", "root")
    ann = visit(store, "Ann")
    page = ann.get("/")
    assert "Question 0?" in page.text
    assert "Question 1?" in ann.send(page, "2", "F", "2", "1", note=" because ").text
    (answer,) = store.answers()
    assert answer.response == Ranks((2, None, 2, 1))
    assert answer.order == display_order(store.question("secret-question-0"), "Ann")
    assert (answer.note, answer.annotator) == ("because", "Ann")
    assert 0 <= answer.seconds < 60
    assert store.instructions_text(answer.instructions_id) == "Be *kind*."


SENT = {
    "ranking": {"rank-A": "1", "rank-B": "F", "rank-C": "1", "rank-D": "2"},
    "pairwise": {"strength": "-2"},
    "best": {"best": "C", "failed-A": "1"},
    "rating": {**{f"score-{a}-{c}": "4" for a in "ABC" for c in range(3)}, "failed-D": "1"},
    "label": {"label-A": "0", "label-B": "1", "label-C": "F", "label-D": "1"},
    "rewrite": {"text": "A better one.\r\n", "position": "B"},
    "demonstration": {"text": "  Mine."},
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_answered_corrected_and_shown_again(visit, tasks, task):
    ann = visit(tasks, "Ann")
    number = TASKS.index(task) + 1
    tasks.work.reopen("Ann", f"secret-question-{number - 1}")
    page = ann.get(f"/questions/{number}")
    assert page.status_code == 200
    assert ann.send(page).status_code == 422, "nothing filled in"
    ann.send(page, **SENT[task])
    (first,) = tasks.answers()
    assert first.response.kind == task
    again = ann.get(f"/questions/{number}")
    assert f'name="supersedes" value="{first.event}"' in again.text
    ann.send(again, **SENT[task], note="on second thought")
    (second,) = tasks.answers()
    assert (second.response, second.note) == (first.response, "on second thought")
    assert not tasks.answer(first.event).standing
    assert "Question" in ann.get("/mine").text


def test_skip_needs_no_rank(visit, store):
    ann = visit(store, "Ann")
    assert "Question 1?" in ann.send(ann.get("/"), skip="1", reason="not my field").text
    assert store.answers()[0].response.reason == "not my field"


def test_blind(visit, tasks):
    ann = visit(tasks, "Ann")
    for number in range(1, len(TASKS) + 1):
        tasks.work.reopen("Ann", tasks.work.question_id(number))
        page = ann.get(f"/questions/{number}")
        everything = page.text + str(page.headers) + str(ann.cookies.items()) + str(page.url)
        assert "secret" not in everything.replace('name="secret"', "")


def test_two_people_see_two_orders_and_the_store_keeps_them(visit, store):
    orders = {}
    for name in ("Ann", "Bob", "Cat", "Dan"):
        page = visit(store, name).get("/")
        orders[name] = tuple(int(i) for i in re.findall(r"<p>text (\d) of 0", page.text))
        assert orders[name] == display_order(store.question("secret-question-0"), name)
    assert len(set(orders.values())) > 1


def test_answer_sent_twice_is_kept_once(visit, store):
    ann = visit(store, "Ann")
    page = ann.get("/")
    for _ in range(3):
        assert ann.send(page, "1", "2", "3", "4").status_code == 200
    assert len(store.answers()) == 1
    assert store.last_event() == 3


def test_script_is_told_where_to_go_next(visit, store):
    ann = visit(store, "Ann")
    ann.http.headers["accept"] = "application/json"
    page = ann.get("/", headers={"accept": "text/html"})
    assert ann.send(page, "1", "2", "3", "4").json() == {"next": "/questions/2"}
    ann.http.cookies.clear()
    assert ann.post("/questions/2").status_code == 401


def test_answer_after_the_lease_was_given_away_is_kept(visit, store):
    store.projects.change("default", ProjectSettings(overlap=1), "root")
    ann = visit(store, "Ann")
    page = ann.get("/")
    store.work.release("Ann")
    bob = visit(store, "Bob")
    bob.send(bob.get("/"), "1", "2", "3", "4")
    ann.send(page, "4", "3", "2", "1")
    assert [answer.annotator for answer in store.answers()] == ["Bob", "Ann"]


def test_question_of_another_is_not_open(visit, store):
    ann, bob = visit(store, "Ann"), visit(store, "Bob")
    page = ann.get("/")
    assert bob.get("/questions/2").url.path == "/questions/1", "bob was given the first"
    stolen = re.search(r'name="key" value="([^"]+)"', page.text)[1]
    assert bob.post("/questions/2", data={"csrf": bob.csrf(), "key": stolen, "skip": "1"}).status_code == 409
    assert store.answers() == []


def test_undo_asks_again_with_the_answer_filled_in(visit, store):
    ann = visit(store, "Ann")
    page = ann.send(ann.get("/"), "2", "F", "2", "1", note="hm")
    event = re.search(r'name="event" value="(\d+)"', page.text)[1]
    token = ann.csrf()
    page = ann.post("/undo", data={"csrf": token, "event": event})
    assert "Question 0?" in page.text
    assert checked(page) == {"A": "2", "B": "F", "C": "2", "D": "1"}
    assert ">hm</textarea>" in page.text
    assert store.answers() == []
    ann.post("/undo", data={"csrf": token, "event": event})
    assert store.last_event() == 4, "sent twice, it takes back one"


def test_others_answers_are_never_shown(visit, store):
    bob = visit(store, "Bob")
    bob.send(bob.get("/"), "1", "2", "3", "4", note="bob's own words")
    ann = visit(store, "Ann")
    for path in ("/", "/mine", "/me", "/questions/1", "/done", "/instructions"):
        assert "own words" not in ann.get(path).text
        assert "Bob" not in ann.get(path).text


@pytest.mark.parametrize(
    "ranks", [("1", "2", "3", ""), ("1", "2", "3", "5"), ("1", "2", "3", "0"), ("x", "1", "2", "3")]
)
def test_missing_or_odd_rank_is_pointed_out_and_nothing_lost(visit, store, ranks):
    ann = visit(store, "Ann")
    page = ann.send(ann.get("/"), *ranks, note="keep me")
    assert page.status_code == 422
    assert "a rank from 1 to 4, or F" in page.text
    assert ">keep me</textarea>" in page.text
    assert store.answers() == []


def test_done_pages(visit, store, tmp_path):
    ann = visit(store, "Ann")
    for _ in range(2):
        page = ann.send(ann.get("/"), "1", "2", "3", "4")
    assert "All done, thank you" in page.text
    store.add_questions([question(5)])
    store.projects.change("default", ProjectSettings(budget=2), "root")
    assert "Enough answers are in" in ann.get("/").text
    with FeedbackStore.open(tmp_path / "empty.sqlite") as empty:
        assert "No questions yet" in visit(empty, "Ann").get("/").text


TEXTS = {
    "script": EVIL,
    "control": "bell \x07 nul \x00 escape \x1b[31m delete \x7f",
    "half": "half a character \ud800.",
    "right to left": "\u202e gpj.exe \u2066 שלום",
    "megabyte": "word " * 200_000,
    "links": "[x](javascript:alert(1)) ![i](http://elsewhere.example/i.png) <img src=x onerror=alert(1)>",
    "nested": ">" * 5000 + "deep",
    "empty": "",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_do_nothing_but_be_read(visit, tmp_path, name):
    asked = question(0)
    object.__setattr__(asked, "texts", (TEXTS[name], "other", "third", "fourth"))
    with FeedbackStore.open(tmp_path / "odd.sqlite") as store:
        store.add_questions([asked])
        ann = visit(store, "Ann")
        page = ann.get("/")
        assert page.status_code == 200
        body = re.sub(r"<script type=\"module\" src=\"[^\"]+\"></script>", "", page.text)
        for bad in ("<script", "<img", "javascript:", "onerror=alert(1)>", "\x07", "\x00", "\x1b", "\x7f", "<b>"):
            assert bad not in body.replace("&lt;img src=x onerror=alert(1)&gt;", "").replace("[x](javascript:", "")
        assert (
            ann.send(page, "1", "2", "3", "4", note=TEXTS[name][:9000].encode("utf-8", "replace").decode()).status_code
            == 200
        )
        assert len(store.answers()) == 1


def test_store_that_does_not_answer_is_explained(visit, store, monkeypatch):
    ann = visit(store, "Ann")

    def fail(*_, **__):
        raise StoreError("the disk is gone")

    monkeypatch.setattr(store.work, "take", fail)
    page = ann.get("/next")
    assert page.status_code == 409
    assert "the disk is gone" in page.text
    monkeypatch.setattr(store, "last_event", fail)
    assert ann.get("/healthz").status_code == 503


@pytest.mark.parametrize("cut_off", [True, False])
def test_behind_a_prefix(visit, store, cut_off):
    ann = visit(store, root_path="/label")
    before = "" if cut_off else "/label"
    ann.http.follow_redirects = False
    token = store.people.invite("annotator", "a test", annotator="Ann")
    page = ann.get(f"{before}/join/{token}")
    assert f'action="/label/join/{token}"' in page.text
    fields = {"csrf": re.search(r'name="csrf" value="([^"]+)"', page.text)[1]}
    assert ann.post(f"{before}/join/{token}", data=fields).headers["location"] == "/label/"
    assert ann.get(f"{before}/next").headers["location"] == "/label/questions/1"
    assert 'href="/label/static/label.css' in ann.get(f"{before}/questions/1").text
    assert ann.get(f"{before}/static/label.css").status_code == 200


def test_letters_leave_out_the_keys_that_mean_something_else():
    assert "".join(letters(21)) == "ABCDEGHIJKLMOPQRTVWXYZ"[:21]
    assert not set("FNSU") & set("".join(letters(21)))
    assert letters(24)[-2:] == ["A2", "B2"] or len(set(letters(60))) == 60


def test_dashboard_says_at_once_that_it_will_be_there_soon(visit, store, monkeypatch):
    go_on = threading.Event()
    figures = dashboard._figures
    monkeypatch.setattr(dashboard, "_figures", lambda *given: go_on.wait(10) and figures(*given))
    viewer = visit(store, "Vic", "viewer")
    assert "will be here in a moment" in viewer.get("/dashboard").text
    go_on.set()
    for _ in range(500):
        page = viewer.get("/dashboard").text
        if "questions answered" in page:
            break
    assert "questions answered" in page


def test_everybody_sees_what_is_learned(visit, store):
    ann = visit(store, "Ann")
    assert "No model has learned" in ann.get("/live").text
    assert 'href="/live"' not in ann.get("/me").text
    ann.send(ann.get("/"), "1", "2", "3", "4")
    (answer,) = store.answers()
    store.lessons.add_policy("run", 0)
    store.lessons.add("run", [Lesson(answer.event, 0.75, 0)])
    store.lessons.add_policy("run", 1)
    for name, role in (("Bob", "annotator"), ("Val", "viewer"), ("Root", "admin")):
        bob = visit(store, name, role)
        page = bob.get("/live").text
        assert "75%" in page
        assert "<svg" in page
        assert 'href="/live"' in page
        assert bob.get("/live", headers={"accept": "application/json"}).json() == {
            "learned": 1,
            "policy": 1,
            "accuracy": 0.75,
        }


def test_who_has_answered_all_waits_for_the_next_policys_questions(visit, store):
    ann = visit(store, "Ann")
    for _ in range(2):
        page = ann.send(ann.get("/next"), "1", "2", "3", "4")
    assert "All done" in page.text
    store.lessons.add_policy("run", 0)
    page = visit(store, "Ann").get("/next").text
    assert "More questions are being made" in page
    assert "soon.js" in page
