"""The third part of the contract of a feedback store: instructions, people, invitations, erasure."""

from __future__ import annotations

import pytest

from assent.errors import StoreError
from assent.feedback.people import About
from assent.feedback.store import FeedbackStore
from assent.feedback.tables import metadata
from assent.testing.feedback_work import make_question


class StorePeopleTests:
    """See the module's docstring; :class:`assent.testing.FeedbackStoreTests` has these too."""

    def test_instructions_have_versions(self, store: FeedbackStore) -> None:
        assert store.projects.instructions("default") is None
        assert store.projects.write_instructions("default", "One.", "root") == 1
        assert store.projects.write_instructions("default", "One.", "root") == 1
        assert store.projects.write_instructions("default", "Two.", "root") == 2
        newest, first = store.projects.instructions("default"), store.projects.instructions("default", 1)
        assert newest is not None
        assert first is not None
        assert (newest.version, newest.text, first.text, first.author) == (2, "Two.", "One.", "root")
        assert [version.version for version in store.projects.versions("default")] == [2, 1]

    def test_people_come_in_by_secret_and_invitation(self, store: FeedbackStore) -> None:
        people = store.people
        people.add("Root", "admin", "correct horse")
        token = people.invite("annotator", "Root", hours=1, queues=("law",))
        ann = people.accept(token, "Ann", "battery staple", About(languages="de, en", group="nurses"))
        assert (ann.role, ann.queues, ann.about.group) == ("annotator", ("law",), "nurses")
        for again in (token, "made up"):
            with pytest.raises(StoreError, match="used, withdrawn or has expired"):
                people.accept(again, "Bob", "battery staple")
        with pytest.raises(StoreError, match="taken"):
            people.add("ann", "annotator", "something else")
        with pytest.raises(StoreError, match="8 to 200"):
            people.add("Bob", "annotator", "short")
        assert people.check_secret("Ann", "battery staple") == ann
        assert people.check_secret("Ann", "wrong") is None
        assert people.check_secret("Nobody", "battery staple") is None
        session = people.open_session("Ann")
        assert people.session(session) == ann
        assert people.session("made up") is None
        people.change("Ann", "annotator", active=False, queues=(), by="Root")
        assert people.session(session) is None
        assert people.check_secret("Ann", "battery staple") is None
        with pytest.raises(StoreError, match="only administrator"):
            people.change("Root", "viewer", active=True, queues=(), by="Root")
        assert [entry.action for entry in people.audit()] == ["change", "sign in", "accept", "add", "invite", "add"]

    def test_invitation_for_a_name_lets_that_person_in(self, store: FeedbackStore) -> None:
        people = store.people
        people.add("Ann", "annotator", None)
        token = people.invite("viewer", "Root", annotator="Ann")
        with pytest.raises(StoreError, match="for 'Ann'"):
            people.accept(token, "Bob", None)
        assert people.accept(token, "Ann", "a new secret").role == "viewer"
        assert people.check_secret("Ann", "a new secret") is not None
        expired = people.invite("viewer", "Root", hours=1e-9)
        withdrawn = people.invite("viewer", "Root")
        people.withdraw(people.invitations()[0].digest, "Root")
        assert people.invitation(expired) is None
        assert people.invitation(withdrawn) is None

    def test_secrets_and_tokens_are_not_kept(self, store: FeedbackStore) -> None:
        store.people.add("Ann", "admin", "correct horse")
        token = store.people.invite("annotator", "Ann")
        session = store.people.open_session("Ann")
        with store._database.reading() as connection:  # pyright: ignore[reportPrivateUsage]
            kept = str([connection.execute(table.select()).all() for table in metadata.sorted_tables])
        assert "$argon2id$" in kept
        for secret in ("correct horse", token, session):
            assert secret not in kept

    def test_erasing_takes_the_person_out_of_every_table(self, store: FeedbackStore) -> None:
        store.add_questions([make_question(0)])
        store.people.accept(store.people.invite("annotator", "Root", annotator="Zebedee"), "Zebedee", "correct horse")
        session = store.people.open_session("Zebedee")
        store.work.take("Zebedee")
        store.add_ranking("q0", "Zebedee", [1, 2, 3], key="k")
        store.erase_annotator("Zebedee")
        with store._database.reading() as connection:  # pyright: ignore[reportPrivateUsage]
            kept = str([connection.execute(table.select()).all() for table in metadata.sorted_tables])
        assert "Zebedee" not in kept
        assert store.people.session(session) is None
        assert store.counts()["answers"] == 0
