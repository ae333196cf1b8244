import json
import os
import subprocess
import sys
from pathlib import Path

import fixture
import pytest

from assent.errors import RunError
from assent.reports.extract import extract, read_phases, read_throughput, read_training
from assent.reports.records import StageRun


@pytest.mark.parametrize("linked", [True, False])
def test_a_whole_run(tmp_path: Path, linked: bool) -> None:
    report = extract(fixture.write_run(tmp_path, linked=linked), "A title", extra_seconds=2.0)
    assert report.title == "A title"
    assert [stage.name for stage in report.stages] == [name for name, *_ in fixture.STAGES]
    upstream = {stage.name: set(stage.upstream) for stage in report.stages}
    assert upstream == {name: set(inputs) for name, _, _, inputs in fixture.STAGES}
    assert report.wall_seconds == pytest.approx(fixture.SECONDS + 2.0)
    assert [t.stage for t in report.trainings] == ["pretrain", "sft", "reward", "ppo", "dpo"]
    assert report.main is not None
    assert report.main.name == "ppo"
    assert report.main.figures["kl"] == 8.41
    assert report.base is not None
    assert report.base.name == "sft"
    assert [(m.policy, m.against, m.result.wins) for m in report.matches][1] == ("dpo", "sft", 301)
    assert report.feedback is not None
    assert [a.agreement for a in report.feedback.annotators] == [0.93, 0.86, 0.81, 0.64]
    assert report.reward_model is not None
    assert sum(row.n for row in report.reward_model.calibration) == 1212


def test_gain_is_the_judges_score_or_else_the_reward(tmp_path: Path) -> None:
    run = fixture.write_run(tmp_path, linked=False)
    rows = [
        {
            "prompt": "p",
            "completions": {"sft": {"text": "a", "utility": 1, "reward": 9}, "ppo": {"text": "b", "utility": 3}},
        },
        {
            "prompt": "p",
            "completions": {"sft": {"text": "a", "reward": 2}, "ppo": {"text": "b", "utility": 3, "reward": 1}},
        },
        {"prompt": "p", "completions": {"sft": {"text": "a", "utility": 1}}},
    ]
    (run / "evaluate" / "samples.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert [sample.gain for sample in extract(run).samples] == [2, -1, None]


def test_a_sample_is_exploited_where_the_reward_rose_and_the_judge_fell(tmp_path: Path) -> None:
    run = fixture.write_run(tmp_path, linked=False)
    sft = {"text": "a", "utility": 1, "reward": 1}
    pairs = [(0, 2), (2, 2), (0, 0)]
    rows = [
        {"prompt": "p", "completions": {"sft": sft, "ppo": {"text": "b", "utility": u, "reward": r}}} for u, r in pairs
    ]
    (run / "evaluate" / "samples.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert [sample.exploited for sample in extract(run).samples] == [True, False, False]
    assert [sample.proxy_gain for sample in extract(run).samples] == [1, 1, -1]


def test_evidence_of_an_evaluation(tmp_path: Path) -> None:
    report = extract(fixture.write_run(tmp_path, fixture.with_evidence()))
    found = report.evidence
    assert report.matches[0].length_controlled == (0.53, 0.47, 0.59)
    assert report.matches[1].length_controlled is None
    assert (found.prompts, found.detectable) == (400, 0.07)
    assert [(j.judge, j.kind, j.matches[0].result.rate) for j in found.judges] == [
        ("people", "people", 0.45), ("the reward that was optimised", "proxy", 0.975)
    ]  # fmt: skip
    assert [(r.policy, r.elo, r.low) for r in found.ratings][1] == ("ppo@45", 310.0, 280.0)
    ppo, best = found.curves
    assert (ppo.form, ppo.watched, ppo.raised_at) == ("rl", True, "75")
    assert [point.label for point in ppo.points] == ["0", "15", "30", "45", "60", "75", "end"]
    assert [(f.reward, f.alpha, f.beta, f.peak_kl, f.reached) for f in ppo.fits] == [
        ("proxy", 1.2, 0.1, None, False), ("gold", 1.1, 0.6, 5.29, True)
    ]  # fmt: skip
    assert ppo.stopping is not None
    assert (ppo.stopping.label, ppo.stopping.loss, ppo.stopping.advised) == ("45", 0.8, True)
    assert (best.watched, best.stopping, best.points[1].gold) == (False, None, None)
    assert [(e.policy, e.gold_gain) for e in found.exploited] == [("ppo", -2.2)]
    assert [(g.score, g.gap, g.clear) for g in found.gaps] == [("reward", -0.4, True), ("toxicity", 0.0, False)]
    assert [(a.policy, a.accuracy, a.n) for a in found.accuracies] == [("ppo@45", 0.74, 390), ("ppo", 0.61, 391)]


def test_where_a_reward_model_errs(tmp_path: Path) -> None:
    model = extract(fixture.write_run(tmp_path, fixture.with_evidence())).reward_model
    assert model is not None
    found = model.quality
    assert found is not None
    sure = (found.calibration_error, found.temperature, found.longer_preferred, found.longer_chosen)
    assert sure == (0.034, 1.3, 0.62, 0.55)
    assert found.groups is not None
    assert [(by, row.name, row.accuracy, row.n) for by, rows in found.groups.items() for row in rows] == [
        ("annotator", "simulated:ada", 0.83, 310), ("annotator", "simulated:dov", 0.66, 287)
    ]  # fmt: skip


def test_coverage_is_that_of_the_stages_that_asked(tmp_path: Path) -> None:
    feedback = extract(fixture.write_run(tmp_path)).feedback
    assert feedback is not None
    assert (feedback.questions, feedback.answered) == (1500, 1200)


def test_a_damaged_curve_names_the_file(tmp_path: Path) -> None:
    run = fixture.write_run(tmp_path, {**fixture.EVALUATION, "curves": [{"name": "ppo"}]})
    with pytest.raises(RunError, match=r"evaluation\.json: not an evaluation"):
        extract(run)


def test_lineage_from_identities_names_and_paths(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifests = {
        "a": {"identity": "abc123", "created": 3},
        "b": {"inputs": {"model": "abc123"}, "created": 1},
        "c": {"inputs": {"data": {"path": "b/data.jsonl"}}, "created": 0},
        "d": {"settings": {"model": "$c/model", "loss": "a", "other": "$nobody"}, "created": 2},
        "e": {"inputs": {"model": ["gpt2", "../elsewhere/x"]}, "created": 9},
    }
    for name, manifest in manifests.items():
        (run / name).mkdir(parents=True)
        (run / name / "manifest.json").write_text(json.dumps(manifest))
    stages = extract(run).stages
    assert {stage.name: stage.upstream for stage in stages} == {
        "a": (), "b": ("a",), "c": ("b",), "d": ("c",), "e": (),
    }  # fmt: skip
    assert [stage.name for stage in stages] == ["a", "b", "c", "d", "e"]


def test_manifests_with_input_records_and_packages(tmp_path: Path) -> None:
    made = tmp_path / "stages" / "sft-0123abcd"
    made.mkdir(parents=True)
    inputs = [{"name": "model", "source": "$pretrain/model", "digest": "x", "path": "../p", "parent": None}]
    manifest = {"inputs": inputs, "code": "0.1.0", "packages": {"torch": "2.13.0"}, "hardware": {"cpus": 2}}
    (made / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "sft").symlink_to(made)
    begun = tmp_path / "stages" / "ppo-4567cdef.partial"
    begun.mkdir()
    (begun / "metrics.jsonl").write_text('{"step": 1, "kl": 0.5}\n')
    stages = {stage.name: stage for stage in extract(tmp_path).stages}
    assert stages["sft"].inputs == {"model": "$pretrain/model"}
    assert stages["sft"].versions == {"assent": "0.1.0", "torch": "2.13.0", "hardware": {"cpus": 2}}
    assert (stages["sft"].finished, stages["ppo"].finished) == (True, False)


def test_a_cycle_in_damaged_manifests_ends(tmp_path: Path) -> None:
    for name, source in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps({"inputs": [f"${source}/x"]}))
    assert len(extract(tmp_path).stages) == 2


def test_a_run_that_was_killed(tmp_path: Path) -> None:
    run = fixture.write_run(tmp_path, linked=False)
    for path in (
        run / "ppo" / "manifest.json",
        run / "evaluate" / "manifest.json",
        run / "evaluate" / "evaluation.json",
    ):
        path.unlink()
    with (run / "ppo" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 121, "rewa')
    report = extract(run)
    assert {stage.name: stage.finished for stage in report.stages}["ppo"] is False
    assert report.main is None
    assert max(next(t for t in report.trainings if t.stage == "ppo").series["kl"].steps) == 120


def test_metrics_keep_the_last_value_of_a_step_and_no_nan(tmp_path: Path) -> None:
    rows = ['{"step": 1, "loss": 3.0}', '{"step": 2, "loss": NaN, "lr": 1}', '{"step": 1, "loss": 2.5}', '{"loss": 9}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows))
    series = read_training(StageRun("sft", "sft"), tmp_path).series
    assert (series["loss"].steps, series["loss"].values) == ((1.0,), (2.5,))
    assert series["lr"].values == (1.0,)


def test_throughput_is_tokens_over_seconds(tmp_path: Path) -> None:
    path = tmp_path / "timing.jsonl"
    path.write_text('{"step": 1, "seconds": 1.0, "tokens": 100}\n{"step": 2, "seconds": 3.0, "tokens": 100}\n')
    assert read_throughput(path) == 50
    assert read_throughput(tmp_path / "none.jsonl") is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("manifest.json", "{", "manifest.json"),
        ("evaluation.json", "[]", "evaluation.json"),
        ("evaluation.json", '{"win_rates": [{"policy": "ppo"}]}', "evaluate again"),
        ("samples.jsonl", '{"prompt": \n{"prompt": "x"}\n', "line 1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    run = fixture.write_run(tmp_path, linked=False)
    (run / "evaluate" / name).write_text(text)
    with pytest.raises(RunError, match=said):
        extract(run)


def test_no_run_and_an_empty_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        extract(tmp_path / "nothing")
    with pytest.raises(RunError, match="no stage"):
        extract(tmp_path)


def test_reports_load_without_torch_and_matplotlib() -> None:
    code = (
        "import sys, assent.reports.page, assent.reports.extract, assent.evaluation.accuracy, assent.evaluation.kl\n"
        "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


def test_phases_are_summed_and_their_shares_weigh_by_time(tmp_path):
    rows = [
        {"step": 1, "seconds": 3.0, "tokens": 9, "phases": {"gradient": {"seconds": 1.0, "flops": 8.0, "share": 0.8}}},
        {"step": 2, "seconds": 3.0, "tokens": 9},
        {"step": 3, "seconds": 3.0, "tokens": 9, "phases": {"gradient": {"seconds": 3.0, "flops": 12.0, "share": 0.4}}},
    ]
    path = tmp_path / "timing.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (phase,) = read_phases(path)
    assert (phase.name, phase.seconds, phase.flops, phase.tokens) == ("gradient", 4.0, 20.0, 0.0)
    assert phase.share == pytest.approx(0.5)
    assert read_phases(tmp_path / "none.jsonl") == ()
