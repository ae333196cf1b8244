"""What is asked, and in which order it is shown."""

from collections import Counter

import pytest
from scipy.stats import chisquare

from assent.errors import DataError
from assent.feedback import Question, display_order, questions_from_completions
from assent.feedback.questions import dense_ranks
from assent.types import Completion, Prompt


def completion(id, prompt, text="text"):
    return Completion(id=id, prompt_id=prompt, text=text, policy="secret-model")


def test_groups_by_prompt_in_their_order():
    prompts = [Prompt("p1", text="one"), Prompt("p2", text="two"), Prompt("p3", text="three")]
    completions = [completion("c", "p2"), completion("a", "p1"), completion("b", "p1", "other"), completion("d", "p2")]
    first, second = questions_from_completions(prompts, completions, "Best first.", criterion="helpful")
    assert (first.prompt.id, first.completion_ids, first.texts) == ("p1", ("a", "b"), ("text", "other"))
    assert second.completion_ids == ("c", "d")
    assert (first.instructions, first.criterion) == ("Best first.", "helpful")


def test_id_is_that_of_the_content():
    def make(text="x", instructions=""):
        return questions_from_completions(
            [Prompt("p", text="?")], [completion("a", "p", text), completion("b", "p")], instructions
        )[0].id

    assert make() == make()
    assert len({make(), make("y"), make(instructions="Other.")}) == 3


def test_question_does_not_know_its_models():
    question = questions_from_completions([Prompt("p", text="?")], [completion("a", "p"), completion("b", "p")])[0]
    assert "secret-model" not in repr(question)


def test_unknown_prompt_and_lone_answer_are_refused():
    with pytest.raises(DataError, match="completion a: its prompt 'q'"):
        questions_from_completions([Prompt("p", text="?")], [completion("a", "q")])
    with pytest.raises(DataError, match="1 answers for a task of kind ranking; give at least 2"):
        questions_from_completions([Prompt("p", text="?")], [completion("a", "p")])


def test_one_id_for_two_answers_is_refused():
    with pytest.raises(DataError, match="occurs twice"):
        Question("q", Prompt("p", text="?"), ("a", "a"), ("x", "y"))
    with pytest.raises(DataError, match="2 completion ids for 1 texts"):
        Question("q", Prompt("p", text="?"), ("a", "b"), ("x",))


def question(id, k=3):
    return Question(id, Prompt("p", text="?"), tuple("abcdefghi"[:k]), ("text",) * k)


def test_display_order_is_fixed_for_a_person_and_question():
    assert display_order(question("q", 5), "ann") == display_order(question("q", 5), "ann") == (4, 2, 1, 3, 0)
    assert sorted(display_order(question("q", 9), "bob")) == list(range(9))


def test_display_orders_are_uniform():
    seen = Counter(display_order(question(f"q{i}"), f"ann {i % 7}") for i in range(3000))
    assert len(seen) == 6
    assert chisquare(list(seen.values())).pvalue > 1e-4


def test_dense_ranks_close_gaps():
    assert dense_ranks([2, 5, None, 2], "here") == (1, 2, None, 1)
    assert dense_ranks([None, None], "here") == (None, None)
    with pytest.raises(DataError, match="here: rank 0"):
        dense_ranks([0], "here")
