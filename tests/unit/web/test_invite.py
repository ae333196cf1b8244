"""``assent label invite``: the printed link lets one person in, once, as what it says."""

import pytest

from assent.cli import main
from assent.feedback import FeedbackStore


@pytest.fixture
def invite(store, capsys):
    """The printed address of an invitation, in two parts: the app's, and the rest."""

    def run(*options, status=0):
        path = store.address
        assert main(["label", "invite", path, *options]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out.strip().split("/join/")

    return run


def test_link_lets_a_new_annotator_in_once(invite, store, visit):
    app, token = invite()
    assert app == "http://127.0.0.1:8321"
    ann = visit(store)
    fields = {"csrf": visit_token(ann, token), "name": "Ann", "secret": "battery staple"}
    assert "Question 0?" in ann.post(f"/join/{token}", data=fields).text
    assert store.people.get("Ann").role == "annotator"
    assert visit(store).get(f"/join/{token}").status_code == 404


def test_link_for_a_name_a_role_and_queues(invite, store, visit):
    app, token = invite(
        "--name",
        "Bob",
        "--role",
        "viewer",
        "--queue",
        "red",
        "--queue",
        "blue",
        "--address",
        "https://x.example/label/",
    )
    assert app == "https://x.example/label"
    bob = visit(store)
    page = bob.post(f"/join/{token}", data={"csrf": visit_token(bob, token), "name": "Somebody else"})
    assert page.url.path == "/dashboard"
    person = store.people.get("Bob")
    assert (person.role, person.queues) == ("viewer", ("red", "blue"))
    assert store.people.get("Somebody else") is None


def test_link_lasts_as_long_as_it_says(invite, store):
    invite("--hours", "2")
    (made,) = store.people.invitations()
    assert made.expires - made.created == pytest.approx(7200)
    assert made.author == "the command line"
    assert [line.action for line in store.people.audit()] == ["invite"]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--hours", "0"], "above 0"), (["--hours", "nan"], "above 0"), (["--name", " a"], "no space around it")],
)
def test_wrong_options_make_no_invitation(invite, store, options, message):
    assert message in invite(*options, status=2)
    assert store.people.invitations() == []


def test_missing_store_is_not_made(tmp_path, capsys):
    missing = tmp_path / "none.sqlite"
    assert main(["label", "invite", str(missing)]) == 2
    assert "no such feedback store" in capsys.readouterr().err
    assert not missing.exists()


def test_invitation_of_another_store_gets_nowhere(invite, visit, tmp_path):
    _, token = invite()
    with FeedbackStore.open(tmp_path / "other.sqlite") as other:
        assert visit(other).get(f"/join/{token}").status_code == 404


def visit_token(visitor, token):
    page = visitor.get(f"/join/{token}")
    return page.text.split('name="csrf" value="')[1].split('"')[0]
