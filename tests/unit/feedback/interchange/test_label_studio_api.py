"""The thin client against answers made by hand: what goes wrong is one sentence.  The server itself is in
``tests/labelstudio``."""

import json

import httpx
import pytest

from assent.errors import ExchangeError
from assent.feedback.interchange.label_studio_api import LabelStudio


def client(handler, url="http://ls.test"):
    return LabelStudio(url, "t", httpx.MockTransport(handler))


def raising(error):
    def handler(request):
        raise error

    return handler


WRONG = [
    (raising(httpx.ConnectError("refused")), r"Label Studio at http://ls\.test does not answer \(refused\); start it"),
    (raising(httpx.ReadTimeout("slow")), "did not answer within a minute"),
    (lambda r: httpx.Response(401, json={"detail": "no"}), r"refuses the token \(401\): set LABEL_STUDIO_TOKEN"),
    (lambda r: httpx.Response(500, text="oops\nline"), "answered 500 to GET /api/projects: oops line"),
    (lambda r: httpx.Response(400, json={"validation_errors": {"title": ["short"]}}), "answered 400 .*short"),
    (lambda r: httpx.Response(200, text="<html>"), "is no Label Studio: /api/projects gave no JSON"),
    (lambda r: httpx.Response(200, json={"results": [3]}), "is no Label Studio that is known here"),
    (lambda r: httpx.Response(200, json={"results": None}), "is no Label Studio that is known here"),
]


@pytest.mark.parametrize(("handler", "sentence"), WRONG, ids=range(len(WRONG)))
def test_what_goes_wrong_is_a_sentence(handler, sentence):
    with pytest.raises(ExchangeError, match=sentence):
        list(client(handler).projects())


def test_pages_are_followed():
    pages = {"1": {"results": [{"id": 1}], "next": "x"}, "2": {"results": [{"id": 2}], "next": None}}
    found = client(lambda r: httpx.Response(200, json=pages[r.url.params["page"]])).projects()
    assert [project["id"] for project in found] == [1, 2]
    many = [{"id": number} for number in range(250)]

    def tasks(request):
        first = (int(request.url.params["page"]) - 1) * int(request.url.params["page_size"])
        return httpx.Response(200, json={"tasks": many[first : first + 100], "total": 250})

    assert list(client(tasks).tasks(7)) == many


def test_tasks_are_sent_in_batches():
    sizes = []

    def handler(request):
        sizes.append(len(json.loads(request.content)))
        return httpx.Response(201, json={})

    client(handler).add_tasks(1, [{"data": {}}] * 1200)
    assert sizes == [500, 500, 200]


def test_the_token_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_TOKEN", raising=False)
    with pytest.raises(ExchangeError, match="set the environment variable LABEL_STUDIO_TOKEN"):
        LabelStudio.from_environment("http://ls.test")
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "a\nb")
    with pytest.raises(ExchangeError, match="set the environment variable LABEL_STUDIO_TOKEN"):
        LabelStudio.from_environment("http://ls.test")


@pytest.mark.parametrize("url", ["", "ls.test", "ftp://x", "http://[", "file:///etc/passwd"])
def test_an_address_that_is_none(url):
    with pytest.raises(ExchangeError, match="no address of a Label Studio server"):
        LabelStudio(url, "t")
