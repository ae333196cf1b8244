"""The labelling app over HTTP."""

import re

import pytest
from fastapi.testclient import TestClient

from assent.errors import StoreError
from assent.feedback import FeedbackStore, display_order, questions_from_completions
from assent.types import Completion, Message, Prompt
from assent.web.app import create_app
from assent.web.routes.rank import letters

EVIL = "<script>alert('x')</script> & <b>bold</b>"


def make_questions(count=2, answers=4):
    prompts = [
        Prompt(
            f"secret-prompt-{n}",
            messages=(Message("user", f"Question {n}? {EVIL}"),),
            metadata={"origin": "secret-file"},
        )
        for n in range(count)
    ]
    completions = [
        Completion(f"secret-completion-{n}-{i}", prompt.id, f"text {i} of {n} {EVIL}", policy="secret-model@7")
        for n, prompt in enumerate(prompts)
        for i in range(answers)
    ]
    return questions_from_completions(prompts, completions)


@pytest.fixture
def store(tmp_path):
    with FeedbackStore.open(tmp_path / "feedback.sqlite") as opened:
        opened.add_questions(make_questions())
        yield opened


@pytest.fixture
def client(store):
    with TestClient(create_app(store, "# Rules\n\nBe *kind*. <script>1</script>", title="Lab")) as opened:
        yield opened


def csrf(page):
    return re.search(r'name="csrf" value="([^"]+)"', page.text)[1]


def sign_in(client, name="Ann"):
    page = client.post("/sign-in", data={"name": name, "csrf": csrf(client.get("/sign-in"))})
    assert page.status_code == 200
    return page


def send(client, page, *ranks, **more):
    fields = {f"rank-{letter}": rank for letter, rank in zip(letters(len(ranks)), ranks, strict=True)}
    return client.post(page.url.path, data={"csrf": csrf(page), **fields, **more})


def checked(page):
    tags = re.findall(r"<input[^>]+checked[^>]*>", page.text)
    return {re.search(r'name="rank-(\w+)"', tag)[1]: re.search(r'value="(\w+)"', tag)[1] for tag in tags}


def test_nobody_signed_in_is_asked_for_a_name(client):
    page = client.get("/")
    assert page.url.path == "/sign-in"
    assert "Your name" in page.text


def test_sign_in_leads_to_the_first_question(client):
    page = sign_in(client, "  Ann   Ó Néill ")
    assert page.url.path.startswith("/rank/")
    assert "Signed in as Ann Ó Néill" in page.text
    assert "0/2" in page.text


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x00b", "Simulated:ann", "erased:3"])
def test_names_that_will_not_do(client, name):
    page = client.post("/sign-in", data={"name": name, "csrf": csrf(client.get("/sign-in"))})
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    assert client.get("/").url.path == "/sign-in"


def test_answer_with_tie_and_failure_reaches_the_store(client, store):
    page = sign_in(client)
    following = send(client, page, "2", "F", "2", "4", note="line one\r\nline two")
    assert following.url.path != page.url.path
    assert "1/2" in following.text
    (ranking,) = store.rankings()
    question = store.questions()[0]
    assert ranking.ranks == (1, None, 1, 2)
    assert ranking.completion_ids == tuple(question.completion_ids[i] for i in display_order(question, "Ann"))
    assert ranking.note == "line one\nline two"
    assert 0 <= ranking.seconds < 60
    assert "Be *kind*" in store.instructions_text(store.answer(store.last_event()).instructions_id)


def test_answers_are_shown_in_the_annotators_order(client, store):
    page = sign_in(client)
    question = store.questions()[0]
    shown = [int(number) for number in re.findall(r"text (\d) of 0", page.text)]
    assert shown == list(display_order(question, "Ann"))


def test_what_an_answer_says_is_text(client):
    page = sign_in(client)
    assert "<script>alert" not in page.text
    assert "<b>bold" not in page.text
    assert page.text.count("&lt;script&gt;alert") == 5, "four answers and the prompt"
    assert page.text.count("<script") == 1, "our own"


def test_markup_in_instructions_is_text_too(client):
    page = client.get("/instructions")
    assert "<em>kind</em>" in page.text
    assert "<script>1" not in page.text


def test_page_does_not_tell_which_model_wrote_what(client):
    page = sign_in(client)
    page = send(client, page, "1", "2", "3", "4")
    assert "text 0 of 1" in page.text
    assert "secret" not in page.text
    for cookie in client.cookies.jar:
        assert "secret" not in (cookie.value or "")


def test_undo_asks_again_with_the_answer_filled_in(client, store):
    page = sign_in(client)
    following = send(client, page, "3", "1", "F", "1", note="kept <note>")
    event = re.search(r'name="event" value="(\d+)"', following.text)[1]
    again = client.post("/undo", data={"csrf": csrf(following), "event": event})
    assert again.url.path == page.url.path
    assert checked(again) == {"A": "2", "B": "1", "C": "F", "D": "1"}
    assert "kept &lt;note&gt;" in again.text
    assert store.rankings() == []
    send(client, again, "1", "2", "3", "4")
    assert [r.ranks for r in store.rankings()] == [(1, 2, 3, 4)]


def test_undo_sent_twice_takes_back_one(client, store):
    page = send(client, sign_in(client), "1", "2", "3", "4")
    done = send(client, page, "1", "2", "3", "4")
    assert done.url.path == "/done"
    fields = {"csrf": csrf(done), "event": re.search(r'name="event" value="(\d+)"', done.text)[1]}
    client.post("/undo", data=fields)
    client.post("/undo", data=fields)
    assert len(store.rankings()) == 1


def test_answer_sent_twice_counts_once(client, store):
    page = sign_in(client)
    send(client, page, "1", "2", "3", "4")
    following = send(client, page, "4", "3", "2", "1")
    assert following.status_code == 200
    assert [r.ranks for r in store.rankings()] == [(1, 2, 3, 4)]


@pytest.mark.parametrize(
    "ranks", [("1", "2", "3", ""), ("1", "2", "3", "5"), ("1", "2", "3", "0"), ("1", "2", "3", "x")]
)
def test_missing_or_odd_rank_is_pointed_out_and_nothing_lost(client, store, ranks):
    page = send(client, sign_in(client), *ranks, note="do not lose me")
    assert page.status_code == 422
    assert "Give answer D a rank from 1 to 4, or F." in page.text
    assert checked(page) == {"A": "1", "B": "2", "C": "3"}
    assert "do not lose me" in page.text
    assert store.rankings() == []


def test_done_page_thanks(client):
    page = sign_in(client)
    assert client.get("/done").text.count("New questions") == 1
    page = send(client, page, "1", "2", "3", "4")
    page = send(client, page, "1", "2", "3", "4")
    assert page.url.path == "/done"
    assert "all 2 questions" in page.text
    assert 'id="undo"' in page.text


def test_empty_store_says_so(tmp_path):
    with FeedbackStore.open(tmp_path / "empty.sqlite") as store, TestClient(create_app(store)) as client:
        assert "No questions yet" in sign_in(client).text


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/undo", "/rank/{question}"])
@pytest.mark.parametrize("token", [None, "", "wrong", "ü"])
def test_forms_need_the_sessions_token(client, store, path, token):
    sign_in(client)
    question = store.questions()[0]
    fields = {"name": "Eve", **{f"rank-{letter}": "1" for letter in letters(4)}}
    if token is not None:
        fields["csrf"] = token
    reply = client.post(path.format(question=question.id), data=fields, follow_redirects=False)
    assert reply.status_code == 403
    assert store.rankings() == []


def test_forms_need_a_session(client, store):
    reply = client.post(f"/rank/{store.questions()[0].id}", data={"csrf": ""}, follow_redirects=False)
    assert reply.status_code in (303, 403)
    assert reply.headers.get("location", "/sign-in") == "/sign-in"
    assert store.rankings() == []


def test_forged_cookie_signs_nobody_in(client):
    sign_in(client)
    (name, value) = next(iter(client.cookies.items()))
    client.cookies.clear()
    client.cookies.set(name, "A" + value[1:])
    assert client.get("/").url.path == "/sign-in"


def test_cookie_is_out_of_reach_of_scripts_and_other_sites(client):
    cookie = client.get("/sign-in").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_cookie_is_secure_behind_https(store):
    with TestClient(create_app(store, https=True), base_url="https://testserver") as client:
        assert "secure" in client.get("/sign-in").headers["set-cookie"].lower()


@pytest.mark.parametrize("path", ["/sign-in", "/nowhere", "/static/rank.js", "/healthz"])
def test_every_reply_has_the_security_headers(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_pages_ask_nothing_of_other_hosts(client):
    page = sign_in(client)
    for text in (page.text, client.get("/static/label.css").text, client.get("/static/rank.js").text):
        assert not re.search(r"(?:src|href|action|url|import|fetch)\s*[=(]\s*[\"']?(?:https?:)?//", text)
    assert not re.search(r"<[^>]+\s(?:on\w+|style)=", page.text), "inline script or style, which the policy forbids"


def test_sign_out_forgets(client):
    page = sign_in(client)
    client.post("/sign-out", data={"csrf": csrf(page)})
    assert client.get("/").url.path == "/sign-in"


def test_unknown_pages_and_questions(client):
    sign_in(client)
    assert client.get("/nowhere").status_code == 404
    page = client.get("/rank/nowhere")
    assert page.status_code == 404
    assert "no such question" in page.text


def test_health(client):
    reply = client.get("/healthz")
    assert reply.status_code == 200
    assert reply.json() == {"status": "ok"}


def test_store_that_does_not_answer_is_explained(client, store, monkeypatch):
    sign_in(client)

    def fail(*_):
        raise StoreError("the database did not answer <ouch>; nothing was changed")

    for method in ("last_event", "last_answer"):
        monkeypatch.setattr(store, method, fail)
    assert client.get("/healthz").status_code == 503
    page = client.get("/rank")
    assert page.status_code == 409
    assert "did not answer &lt;ouch&gt;; nothing was changed" in page.text


def test_behind_a_prefix(store):
    with TestClient(create_app(store, root_path="/label")) as client:
        page = client.get("/label/", follow_redirects=False)
        assert page.headers["location"] == "/label/sign-in"
        page = client.get("/label/sign-in")
        for link in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text):
            assert link.startswith("/label/")
        assert client.get("/label/static/label.css").status_code == 200
        assert client.get("/static/label.css").status_code == 200, "a proxy may cut the prefix off"


def test_odd_question_ids_have_an_address(tmp_path):
    question = make_questions(1)[0]
    odd = type(question)("a/b c?d#é+&", question.prompt, question.completion_ids, question.texts)
    with FeedbackStore.open(tmp_path / "odd.sqlite") as store, TestClient(create_app(store)) as client:
        store.add_questions([odd])
        page = sign_in(client)
        assert page.status_code == 200
        action = re.search(r'action="([^"]+)" id="ranking"', page.text)[1]
        client.post(action, data={"csrf": csrf(page), **{f"rank-{letter}": "1" for letter in letters(4)}})
        assert len(store.rankings()) == 1


def test_letters_leave_out_the_keys_that_mean_something_else():
    assert letters(9) == ["A", "B", "C", "D", "E", "G", "H", "I", "J"]
    assert len(set(letters(60))) == 60
