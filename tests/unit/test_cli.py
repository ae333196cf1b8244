"""The command line: exit statuses, sentences, and what must not be imported to answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assent import __version__
from assent.cli import main

HEAVY = ("torch", "transformers", "pydantic", "datasets", "sqlalchemy", "fastapi", "matplotlib", "rich")
FAKES = Path(__file__).parent / "pipeline" / "fake_stages.py"
LINES = "".join(f'{{"text": {n}}}\n' for n in range(20))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text(LINES)
    (tmp_path / "r.yaml").write_text("name: r\nstages:\n  halves: {uses: split, data: d.jsonl}\n")


def fails(capsys, status: int, *arguments: str) -> str:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu", "r.yaml"], "assent: no verb 'rnu'; did you mean 'run'? (see 'assent --help')"),
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "r.yaml", "--sed", "1"], "No such option"),
        (["run", "none.yaml"], "none.yaml: no such recipe"),
        (["run", "d.jsonl"], "d.jsonl, line 2: not YAML: expected '<document start>'"),
        (["plan", "r.yaml", "--set", "halves.shar=0.1"], "did you mean 'share'?"),
        (["run", "r.yaml", "--set", "halves.data=e.jsonl"], "there is no file or folder 'e.jsonl'; did you mean"),
        (["run", "r.yaml", "--out", "d.jsonl"], "a file is in the way"),
        (["run", "r.yaml", "--seed", "-1"], "-1 is not in the range"),
        (["split", "--out", "o"], "Missing option '--data'"),
        (["split", "--data", "d.jsonl", "--out", "o", "--share", "2"], "--share: 'share' of stage 'split'"),
        (["split", "--data", "d.jsonl", "--out", "o", "--share", "fast"], "got the text 'fast'"),
        (["split", "--data", "none.jsonl", "--out", "o"], "--data: 'data' of stage 'split': there is no file"),
        (["split", "--data", "d.jsonl", "--out", "o", "--shrae", "1"], "No such option"),
        (["split", "--data", "d.jsonl", "--out", "d.jsonl"], "is a file, expected a folder"),
        (["split", "--data", "r.yaml", "--group", "g", "--out", "o"], "r.yaml, line 1: not JSON"),
        (["status"], "there is no run; 'assent run RECIPE' makes one"),
        (["status", "."], "is not a run's folder"),
        (["report", "."], "no stage has written anything here yet"),
        (["lineage", "d.jsonl"], "no finished stage made this"),
        (["label", "status", "none.db"], "there is no such feedback store"),
        (["label", "export", "none.db", "--out", "r.jsonl"], "there is no such feedback store"),
        (["label", "serve", "s.db", "--instructions", "none.md"], "none.md: cannot be read as text"),
        (["init", "."], "is not empty"),
    ],
)
def test_the_users_mistakes(capsys, arguments, message):
    assert message in fails(capsys, 2, *arguments)
    assert sorted(os.listdir()) == ["d.jsonl", "r.yaml"]


def test_a_recipe_from_plan_to_lineage(capsys):
    def output(*arguments: str) -> str:
        assert main(arguments) == 0
        return capsys.readouterr().out

    assert "run     never ran" in output("plan", "r.yaml")
    assert "run: runs/r" in output("run", "r.yaml", "--set", "halves.share=0.4")
    assert "done before" in output("run", "r.yaml", "--set", "halves.share=0.4")
    assert "share 0.4 -> 0.5" in output("plan", "r.yaml")
    assert json.loads(output("plan", "r.yaml", "--json"))[0]["action"] == "run"
    assert "runs/r: finished" in output("status")
    assert json.loads(output("status", "runs/r", "--json"))["state"] == "finished"
    assert "└─ data: d.jsonl" in output("lineage", "runs/r/halves/first.jsonl")
    assert json.loads(output("lineage", "runs/r", "--json"))[0]["kind"] == "split"


def test_underscores_and_hyphens_are_one(capsys):
    assert main(["split", "--data", "d.jsonl", "--out", "o", "--share", "0.4"]) == 0
    assert "o: done" in capsys.readouterr().out
    assert main(["run", "r.yaml", "--people"]) == 0


def test_init(capsys):
    assert main(["init", "p"]) == 0
    assert sorted(os.listdir("p")) == [
        ".gitignore",
        "README.md",
        "demonstrations.jsonl",
        "instructions.md",
        "prompts.jsonl",
        "recipe.yaml",
    ]


def test_schema_and_doctor(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["assent"] == __version__
    assert found["would_use"]
    assert main(["doctor"]) == 0
    assert "would use" in capsys.readouterr().out


def test_doctor_measures_the_machine_and_keeps_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("assent.pipeline.measure.SECONDS", 0.0)
    monkeypatch.setattr("assent.pipeline.measure.SHAPES", dict.fromkeys(("cpu", "cuda"), ((64, 64, 64),)))
    monkeypatch.setattr("assent.pipeline.measure.COPIED", {"cpu": 2**16, "cuda": 2**16})
    assert main(["doctor"]) == 0
    assert "not measured ('assent doctor --measure' does)" in capsys.readouterr().out
    assert main(["doctor", "--measure", "--json"]) == 0
    peak = json.loads(capsys.readouterr().out)["peak"]
    assert peak["float32"] > 1e8
    assert peak["bandwidth"] > 1e7
    assert main(["doctor"]) == 0
    assert f"measured {peak['measured']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("off", "answers", "said"),
    [("1", False, "switched off by HF_HUB_OFFLINE"), ("", True, "answers"), ("", False, "does not answer")],
)
def test_doctor_looks_whether_the_hub_answers(off, answers, said, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", off)
    monkeypatch.setattr("assent.pipeline.doctor.hub_answers", lambda name: answers)
    assert main(["doctor"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("hub "))
    assert line.split(",")[0].split(maxsplit=1)[1] == said


def test_report(capsys):
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/report.json").write_text('{"win_rate": 0.9}')
    Path("runs/x/report.html").write_text("<p>")
    assert main(["report", "runs/x"]) == 0
    assert capsys.readouterr().out.strip() == "runs/x/report.html"
    assert main(["report", "runs/x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"win_rate": 0.9}


# --- over fake stages, as a process of its own ---------------------------------------------


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FAKES), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("waiting", 3, "3 of 10 rankings are in; label at http://127.0.0.1:8321/"),
        ("interrupt", 130, "stopped; what was finished or saved is kept"),
        ("terminate", 130, "stopped; what was finished or saved is kept"),
        ("full", 2, "assent: runs/f: no space left on the disk; free some and run the same again to go on"),
        ("data", 2, "assent: x.jsonl, line 3: column 'prompt' is missing"),
        ("bug", 1, "assent: this is a fault of assent, not yours"),
    ],
)
def test_exit_statuses(how, status, message):
    Path("f.yaml").write_text(f"name: f\nstages:\n  fail: {{how: {how}}}\n")
    done = process("run", "f.yaml")
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert ("Traceback" in done.stderr) == (how == "bug")
    assert not list(Path("runs/f/stages").iterdir())
    if how == "data":
        assert "Traceback" in process("run", "f.yaml", ASSENT_DEBUG="1").stderr


def test_ctrl_c_from_a_terminal():
    Path("f.yaml").write_text("name: f\nstages:\n  make: {rows: 100000000}\n")
    # A shell starts what runs in its background with SIGINT ignored, and so would the tests' children be.
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    command = [sys.executable, str(FAKES), "run", "f.yaml"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heard) as running:
        deadline = time.monotonic() + 60
        while not list(Path("runs/f/stages").glob("*/rows.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        try:
            _, errors = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert list(Path("runs/f/stages").glob("make-*.partial"))


def test_stage_verbs_take_what_their_settings_say():
    shown = process("make", "--help").stdout
    assert "--learning-rate NUMBER" in shown
    assert "[default: 0.001]" in shown
    assert "--packing / --no-packing" in shown
    assert "--schedule [linear|cosine]" in shown
    assert "--inner.depth INTEGER" in shown
    arguments = ["--learning_rate", "1e-4", "--packing", "--sizes", "1", "--sizes", "2", "--note", "2024"]
    done = process("make", "--out", "o", "--seed", "3", "--inner.depth", "4", *arguments)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(Path("o/manifest.json").read_text())
    assert manifest["seed"] == 3
    settings = manifest["settings"]
    assert (settings["learning_rate"], settings["packing"], settings["sizes"]) == (1e-4, True, [1, 2])
    assert (settings["note"], settings["inner"]) == ("2024", {"depth": 4})
    assert process("fail", "--out", "x").returncode == 2  # marked as no verb
    named = ["--named", "a=o", "--named", "b=gpt2"]
    done = process("use", "--data", "o/rows.jsonl", "--out", "u", *named)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("u/seen.json").read_text())["named"] == {"a": "o", "b": "gpt2"}


# --- what must stay unloaded ---------------------------------------------


def loaded(program: str, *arguments: str) -> set[str]:
    code = f"import sys\n{program}\nprint('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert "LOADED" in done.stdout, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_import_is_light():
    assert loaded("import assent") == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["split", "--help"],
        ["plan", "r.yaml"],
        ["run", "r.yaml", "--set", "halves.shar=1"],
        ["run", "r.yaml", "--set", "halves.data=none.jsonl"],
        ["schema"],
        ["status"],
        ["nonsense"],
    ],
)
def test_quick_answers_load_nothing_heavy(arguments):
    assert loaded("from assent.cli import main; main(sys.argv[1:])", *arguments) == set()


def test_python_has_the_same(tmp_path):
    import assent

    folder = assent.run("r.yaml", overrides=["seed=1"])
    assert (folder / "halves" / "manifest.json").exists()
    with pytest.raises(AttributeError, match="has no attribute 'rnu'"):
        assent.rnu  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_what_the_command_line_quotes_is_shown_on_one_line(capsys):
    assert main(["sft", "--model", "m", "--data", "d", "--out", "o", "odd\r\nword\x85"]) == 2
    said = capsys.readouterr().err
    assert said == "assent: Got unexpected extra argument (odd\\r\\nword\\x85) (see 'assent sft --help')\n"
