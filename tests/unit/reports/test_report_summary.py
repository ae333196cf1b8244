import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import fixture
import pytest

from assent.reports.extract import extract
from assent.reports.records import Report
from assent.reports.summary import figures, verdict
from assent.reports.wording import curve_says, duration, interval, label, number, share, token_text

THIN = "\u202f"


def report_of(tmp_path: Path, evaluation: dict[str, Any]) -> Report:
    return extract(fixture.write_run(tmp_path, evaluation))


def changed(**figures_of_ppo: float) -> dict[str, Any]:
    evaluation = copy.deepcopy(fixture.EVALUATION)
    evaluation["policies"]["ppo"] |= figures_of_ppo
    return evaluation


def test_verdict_in_one_sentence(tmp_path: Path) -> None:
    got = verdict(report_of(tmp_path, fixture.EVALUATION))
    assert got.sentence.replace(THIN, " ") == (
        "PPO beats SFT on 91.1 % of held-out prompts (95 % interval 88.0–93.5 %) at KL 8.41 nats, "
        "judged by the held-out true preference."
    )
    assert "simulated" in " ".join(got.basis)
    assert "355 won, 19 tied, 26 lost" in " ".join(got.basis)
    assert got.cautions == ()


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.45, 0.55, "cannot be told from"), (0.2, 0.4, "loses to"), (0.51, 0.6, "beats")]
)
def test_verdict_follows_the_interval(tmp_path: Path, low: float, high: float, said: str) -> None:
    evaluation = copy.deepcopy(fixture.EVALUATION)
    evaluation["win_rates"][0] |= {"rate": (low + high) / 2, "low": low, "high": high}
    assert said in verdict(report_of(tmp_path, evaluation)).sentence


def test_cautions(tmp_path: Path) -> None:
    evaluation = changed(perplexity_ratio=1.6, distinct_2_ratio=0.5)
    evaluation["win_rates"][0] |= {"rate": 0.4, "low": 0.35, "high": 0.45}
    got = " ".join(verdict(report_of(tmp_path, evaluation)).cautions)
    assert "drifted" in got
    assert "repeats itself" in got
    assert "exploited" in got


def test_what_evidence_says_against_the_verdict(tmp_path: Path) -> None:
    got = verdict(report_of(tmp_path, fixture.with_evidence()))
    assert [text.replace(THIN, " ") for text in got.cautions] == [
        "Reward hacking: from step 75 on the reward rose while the judge's score fell.",
        "The judge likes the policy of step 45 better than that of the end.",
        "At equal length it would win 53.0 % (47.0–59.0 %): it may win by length.",
        "Another judge disagrees: people.",
    ]
    assert "So many find a rate of 57 % four times in five." in got.basis[0].replace(THIN, " ")


def test_figures_of_evidence(tmp_path: Path) -> None:
    got = figures(report_of(tmp_path, fixture.with_evidence()))
    assert got["alarm"] == {"ppo": "75"}
    assert got["peak_kl"] == {"ppo": 5.29}
    assert got["early_stopping"] == {"ppo": "45"}
    assert got["ratings"]["ppo@45"] == {"elo": 310.0, "low": 280.0, "high": 345.0}
    assert got["judges"][0]["win_rates"][0]["rate"] == 0.45
    assert got["win_rates"] == fixture.with_evidence()["win_rates"]
    assert got["clear_gaps"] == 1
    assert (got["feedback"]["questions"], got["feedback"]["answered"]) == (1500, 1200)


def test_cost_of_a_stage_and_of_all(tmp_path: Path) -> None:
    report = replace(report_of(tmp_path, fixture.EVALUATION), hourly_price=3.6)
    got = figures(report)
    assert got["stages"]["ppo"]["cost"] == pytest.approx(0.0963)
    assert got["stages"]["ppo"]["tokens_per_second"] == pytest.approx(4096 / 0.25)
    assert got["cost"] == pytest.approx(fixture.SECONDS / 1000)
    assert "cost" not in figures(report_of(tmp_path / "b", fixture.EVALUATION))


def test_what_a_curve_says(tmp_path: Path) -> None:
    ppo, best = report_of(tmp_path, fixture.with_evidence()).evidence.curves
    assert curve_says(ppo) == (
        "The judge's gain is largest at KL 5.3 nats (4.3 to 6.3). The alarm for reward hacking was raised at step 75. "
        "Better stopped at step 45: going on cost 0.80 by the judge."
    )
    assert curve_says(best) == ""
    healthy = replace(ppo, raised_at=None, stopping=None, fits=(replace(ppo.fits[1], reached=False),))
    assert curve_says(healthy) == (
        "The form puts the peak of the judge's gain at KL 5.3, but no checkpoints lie on both sides of it. "
        "The alarm for reward hacking was not raised."
    )


def test_verdict_on_sentiment(tmp_path: Path) -> None:
    got = verdict(report_of(tmp_path, fixture.SENTIMENT))
    assert got.sentence.replace(THIN, " ") == (
        "PPO continues 94.1 % of held-out prompts positively, against 52.4 % for SFT, at KL 6.30 nats, "
        "judged by the classifier trained on the other half of the labels."
    )
    assert got.basis == ("The judge is a model, not people.",)


@pytest.mark.parametrize(
    ("kind", "simulated", "said"),
    [
        ("function", True, "Annotators and judge are simulated"),
        ("model", True, "The annotators are simulated"),
        ("function", False, "The judge is a program"),
        ("people", False, "The judges are people"),
    ],
)
def test_who_judged_is_said_plainly(tmp_path: Path, kind: str, simulated: bool, said: str) -> None:
    evaluation = copy.deepcopy(fixture.EVALUATION) | {"judge_kind": kind}
    evaluation["feedback"]["simulated"] = simulated
    assert said in " ".join(verdict(report_of(tmp_path, evaluation)).basis)


def test_a_classifier_judges_by_share_positive_even_with_win_rates(tmp_path: Path) -> None:
    evaluation = copy.deepcopy(fixture.SENTIMENT) | {"judge_kind": "classifier"}
    evaluation["win_rates"] = [fixture.EVALUATION["win_rates"][0]]
    got = verdict(report_of(tmp_path, evaluation))
    assert "positively" in got.sentence
    assert "355 won" in got.basis[0]


def test_nothing_evaluated() -> None:
    assert "not been evaluated" in verdict(Report("t", "r")).sentence
    assert figures(Report("t", "r")) == {}


def test_figures_of_the_quickstart(tmp_path: Path) -> None:
    got = figures(report_of(tmp_path, fixture.EVALUATION))
    assert got["win_rate"] == 0.91125
    assert (got["win_rate_low"], got["win_rate_high"]) == (0.8803, 0.9348)
    assert got["kl"] == 8.41
    assert (got["perplexity_ratio"], got["distinct_2_ratio"]) == (1.213, 0.799)
    assert (got["reward_model_accuracy"], got["reward_model_ceiling"]) == (0.781, 0.846)
    assert got["wall_seconds"] == pytest.approx(fixture.SECONDS)
    assert got["policies"] == fixture.EVALUATION["policies"]
    assert got["win_rates"] == fixture.EVALUATION["win_rates"]
    assert "positive_rate" not in got


def test_figures_of_sentiment_leave_out_what_is_missing(tmp_path: Path) -> None:
    got = figures(report_of(tmp_path, fixture.SENTIMENT))
    assert (got["positive_rate_sft"], got["positive_rate"]) == (0.524, 0.941)
    assert (got["kl"], got["reward_model_accuracy"]) == (6.3, 0.842)
    assert not {"win_rate", "win_rates", "reward_model_ceiling", "distinct_2_ratio"} & set(got)
    assert None not in got.values()


def test_the_last_policy_stands_in_for_ppo(tmp_path: Path) -> None:
    evaluation = copy.deepcopy(fixture.EVALUATION)
    del evaluation["policies"]["ppo"]
    evaluation["win_rates"] = [row for row in evaluation["win_rates"] if "ppo" not in row.values()]
    got = figures(report_of(tmp_path, evaluation))
    assert (got["win_rate"], got["kl"]) == (0.7875, 5.02)


def test_wording() -> None:
    assert share(0.9124) == f"91.2{THIN}%"
    assert share(None) == "–"
    assert interval(0.889, 0.931) == f"88.9–93.1{THIN}%"
    assert number(-1234.5678) == f"−1{THIN}234.57"
    assert number(-0.001) == "0.00"
    assert number(float("nan")) == "–"
    assert [duration(x).replace(THIN, " ") for x in (4.25, 59.96, 96.3, 7260)] == [
        "4.2 s", "1 min 00 s", "1 min 36 s", "2 h 01 min",
    ]  # fmt: skip
    assert [label(x) for x in ("ppo", "ppo-ptx", "reward", "best_of_n")] == [
        "PPO",
        "PPO-PTX",
        "Reward model",
        "Best of n",
    ]
    assert token_text("Ġthe") == token_text("▁the") == " the"
