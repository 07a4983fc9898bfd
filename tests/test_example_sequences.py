"""The examples of words and of RNA folds: train, go on, sample; what they leave, and pictures."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfn_gym.envs.sequence.dag import Sequence
from sequence_envs import needs_rna

pytest.importorskip("logomaker")
EXAMPLES = Path(__file__).parent.parent / "examples"
REWARD = (
    "def score(words):\n    return [2.0 * w.count('GC') - abs(w.count('A') - 3) for w in words]\n"
)


def run(script: str, *arguments: object) -> str:
    """In a process of its own, as users do; the other tests spare the imports."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def example(monkeypatch: Any) -> Iterator[Any]:
    """Imports a module of the examples; what they import or put on the path is taken back."""
    before, path = set(sys.modules), list(sys.path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and "mine" in name:
            del sys.modules[name]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fasta(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith(">")]


def test_a_transformer_needs_words_in_any_order(example: Any) -> None:
    words = example("sequences")
    with pytest.raises(SystemExit, match="--network transformer needs --order any, not append"):
        words.new_model(words.Train(network="transformer", order="append", reward="RNA1"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a function of one's own."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "mine.py").write_text(REWARD)
    run("sequences.py", "train", "--agent", "soft", "--length", 9, "--reward",
        f"{folder / 'mine.py'}:score", "--trajectories", 256, "--evaluations", 2, "--n-best", 12,
        "--mode-threshold", 2, "--evaluation-samples", 64, "--out", folder / "run")  # fmt: skip
    return folder


def test_a_run_leaves_what_a_biologist_can_open(folder: Path) -> None:
    names: dict[str, Any] = {}
    exec(REWARD, names)
    best = rows(folder / "run" / "best.csv")
    words = [row["word"] for row in best]
    assert words == fasta(folder / "run" / "best.fasta") and len(words) == 12
    scores = [float(row["score"]) for row in best]
    assert scores == names["score"](words) == sorted(scores, reverse=True)
    for one, other in combinations(words, 2):
        assert sum(a != b for a, b in zip(one, other, strict=True)) >= 3
    curve = rows(folder / "run" / "curve.csv")
    assert float(curve[-1]["best_score"]) == scores[0]
    assert 0 < float(curve[-1]["reward_calls"]) <= 256 + 64 + 3 * 64
    assert float(curve[-1]["modes_found"]) > 0
    for name in ("logo.png", "curve.png", "model.zip", "checkpoint.zip"):
        assert (folder / "run" / name).stat().st_size > 1000


def test_code_in_a_run_is_asked_for(folder: Path, example: Any) -> None:
    module, runs = example("sequences"), example("runs")
    out, samples = folder / "run", folder / "samples.csv"
    with pytest.raises(SystemExit, match="here: --trusted"):
        module.train(module.Train(resume=True, out=out))
    with pytest.raises(SystemExit, match="here: --trusted"):
        module.sample_run(runs.Sample(out / "model.zip", 30, samples))
    module.sample_run(runs.Sample(out / "model.zip", 30, samples, trusted=True))
    drawn = [row["word"] for row in rows(samples)]
    assert len(drawn) == 30 and set(fasta(folder / "samples.fasta")) == set(drawn)
    before = (out / "best.csv").read_text()
    module.train(module.Train(resume=True, trusted=True, out=out))
    assert (out / "best.csv").read_text() == before  # it had ended


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apart": 0}, "--apart 0 must be at least 1"),
        ({"reward": "nowhere.py:score"}, "there is no file nowhere.py"),
        ({"reward": "{mine}:other"}, "has no function other"),
        ({"reward": "RNA9"}, "reward='RNA9' must be one of"),
        ({"length": 5, "max_length": 7}, "length=5 fixes the length"),
    ],
)
def test_bad_options_are_named_before_any_work(
    options: dict[str, Any], message: str, folder: Path, tmp_path: Path, example: Any
) -> None:
    module, out = example("sequences"), tmp_path / "run"
    if "reward" in options:
        options = {"reward": options["reward"].format(mine=folder / "mine.py")}
    with pytest.raises(SystemExit, match=message):
        module.train(module.Train(out=out, **options))
    assert not out.exists()


def test_tokens_of_variable_length(tmp_path: Path, example: Any) -> None:
    """A table, an order that prepends, tokens of three letters, edit distances, exact curves."""
    pytest.importorskip("rapidfuzz")
    module = example("sequences")
    (tmp_path / "t.csv").write_text("word,value\nLysGly,2\nGlyGlyLys,1.5\n")
    module.train(
        module.Train(
            alphabet="Lys,Gly", max_length=3, order="both_ends", reward=str(tmp_path / "t.csv"),
            default=0.0, exact=True, metric="edit", trajectories=256, evaluations=2,
            out=tmp_path / "run",
        )
    )  # fmt: skip
    best = rows(tmp_path / "run" / "best.csv")
    assert best[0] == {"word": "LysGly", "score": "2.0", "log_reward": "2.0"}
    assert (tmp_path / "run" / "exact.png").exists()
    assert {"total_variation", "diversity"} <= rows(tmp_path / "run" / "curve.csv")[0].keys()


@needs_rna
def test_folds_of_a_short_rna(tmp_path: Path, example: Any, capsys: Any) -> None:
    out, module, runs = tmp_path / "run", example("rna_fold"), example("runs")
    module.train(
        module.Train(
            agent="soft", sequence="GGGAAAUCCC", exact=True, trajectories=400, evaluations=2,
            samples=500, n_best=4, out=out,
        )
    )  # fmt: skip
    told = capsys.readouterr().out
    assert "(((....)))   -2.50 kcal/mol, exact 0." in told
    found = rows(out / "structures.csv")
    assert len(found) == 4 and found[0]["structure"] == "(((....)))"
    for name in ("dot_plot.png", "structures.png", "curve.png"):
        assert (out / name).stat().st_size > 1000
    module.sample_run(runs.Sample(out / "model.zip", 40, out / "s.csv"))
    drawn = rows(out / "s.csv")
    assert len(drawn) == 40
    assert all(float(row["energy"]) == 0 for row in drawn if set(row["structure"]) == {"."})
    with pytest.raises(SystemExit, match="has 'X' at"):
        module.train(module.Train(sequence="GGXAAACC", out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_logo_tells_bits(example: Any) -> None:
    heights_of = example("sequence_plots").letter_heights
    dag = Sequence("ACGU", length=3)
    heights, most = heights_of(dag, dag.parse(["AAC", "ACC", "AGU", "AUU"]))
    assert most == 2
    assert heights == pytest.approx(np.array([[2, 0, 0, 0], [0, 0, 0, 0], [0, 0.5, 0, 0.5]]))
    dag = Sequence("ACG", max_length=2, order="append")
    heights, most = heights_of(dag, dag.parse(["A", "AC"]))
    assert most == 2
    assert heights == pytest.approx(np.array([[2, 0, 0], [0, 0.5, 0]]))


@needs_rna
def test_a_dot_plot_has_the_exact_pairs_above(
    example: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    module, drawn = example("rna_plots"), list[Any]()
    monkeypatch.setattr(module.plt, "close", drawn.append)
    pairs = np.array([[0, 9], [1, 8]])
    learnt = np.array([0.25, 1e-6])
    module.draw_dot_plot("GGGAAAUCCC", np.array([0.5, 0.1]), learnt, pairs, tmp_path / "d.png", "")
    monkeypatch.undo()
    exact, below = drawn[0].axes[0].collections
    assert np.asarray(exact.get_offsets()).tolist() == [[10, 1], [9, 2]]
    assert np.asarray(below.get_offsets()).tolist() == [[1, 10]]  # what is below 1e-4 is left out
    assert exact.get_array().tolist() == [0.5, 0.1] and below.get_array().tolist() == [0.25]
    assert exact.get_sizes()[0] == pytest.approx(5 * exact.get_sizes()[1])
    module.plt.close(drawn[0])
