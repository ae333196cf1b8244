"""What the report says of a reward model besides its accuracy, and that a report without it is whole."""

import fixture

from assent.reports.reward_quality import read_quality


def test_the_figures_of_an_evaluation():
    found = read_quality(fixture.EVALUATION["reward_model"])
    assert found is not None
    assert (found.temperature, found.calibration_error, found.calibration_error_fitted) == (1.34, 0.031, 0.012)
    assert (found.longer_preferred, found.longer_chosen, found.uncertainty) == (0.612, 0.553, 0.41)
    assert found.groups is not None
    assert [(row.name, row.accuracy, row.n) for row in found.groups["annotator"]] == [
        ("simulated:ada", 0.82, 600),
        ("simulated:dov", 0.67, 612),
    ]


def test_an_evaluation_without_them():
    assert read_quality({"accuracy": 0.8, "calibration_error": 0.1}) is None


def test_the_page_shows_them(page: str):
    for text in ("Divided by a temperature of 1.34", "Prefers the longer answer", "Accuracy by annotator", "61.2"):
        assert text in page
