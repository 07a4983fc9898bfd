"""The paper's figures: a run that is stopped, resumed and extended equals one without a break."""

from __future__ import annotations

import csv
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

PAPER = Path(__file__).resolve().parents[1] / "benchmarks" / "paper"
sys.path.append(str(PAPER))

import gymnasium  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402

import comparison_table  # noqa: E402
import worker  # noqa: E402
from drawing import draw, draw_panel, reached  # noqa: E402
from experiment import Experiment, Panel, Run  # noqa: E402
from gfn_gym import GFNEnv, agents  # noqa: E402
from gfn_gym.agents import ModesCallback, SoftDQN, as_policy  # noqa: E402
from gfn_gym.agents.presets import preset_values  # noqa: E402
from gfn_gym.envs.bit_sequence import BitSequence  # noqa: E402
from measures import TEST_STEP, bits, bits_sampler, exact  # noqa: E402
from scheduler import train  # noqa: E402

SOFT = Run(
    name="soft",
    label="SoftDQN",
    agent="SoftDQN",
    env="HypergridGFN-v0",
    env_kwargs={"ndim": 2, "height": 5},
    kwargs={"learning_starts": (32, "episode"), "policy_kwargs": {"net_arch": [16]}},
)
ABSENT = replace(SOFT, name="absent", label="absent", agent="NoSuchAgent")


def experiment(folder: Path, **changes: Any) -> Experiment:
    fields = {
        "name": "tiny",
        "domain": "hypergrid",
        "title": "5×5",
        "runs": [SOFT],
        "panels": [
            Panel(metric="total_variation", title="exact"),
            Panel(metric="empirical_l1_mean", title="empirical", floor="perfect_l1_mean"),
        ],
        "measure": exact,
        "metric": "total_variation",
        "trajectories": 320,
        "every": 32,
        "seeds": (0, 1),
        "results": folder / "results",
        "checkpoints": folder / "checkpoints",
    }
    return Experiment(**{**fields, **changes})


class CtrlC(BaseCallback):
    """Presses Ctrl-C once, between two evaluations."""

    pressed = False

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None and parent.pid is not None
        if self.model._episode_num >= 80 and not self.pressed:
            self.pressed = True
            os.kill(parent.pid, signal.SIGINT)
            time.sleep(1)  # until it has told us to stop


def interrupting(model: Any) -> Any:
    metrics, callbacks = exact(model)
    return metrics, [*callbacks, CtrlC()]


def dying(model: Any) -> Any:
    os._exit(3)


def curves(experiment: Experiment) -> list[list[dict[str, str]]]:
    """The CSV of each seed, without its CPU seconds."""
    found = []
    for seed in experiment.seeds:
        with experiment.csv(SOFT, seed).open() as file:
            found.append([{**row, "cpu_seconds": ""} for row in csv.DictReader(file)])
    return found


def test_interrupted_resumed_and_extended_equals_one_go(tmp_path: Path, capsys: Any) -> None:
    whole = experiment(tmp_path / "whole", trajectories=480)
    assert train(whole, workers=2)

    broken = experiment(tmp_path / "broken")
    assert not train(replace(broken, measure=interrupting), workers=1)
    assert "stopping" in capsys.readouterr().out
    assert 64 <= broken.count(SOFT, 0) < 320
    assert SoftDQN.resume(broken.checkpoint(SOFT, 0))._episode_num % 32 >= 16  # not lost

    # A run of an unknown algorithm does not stop the others.
    assert not train(replace(broken, runs=[ABSENT, SOFT]), workers=2)
    assert "gfn_gym.agents has no NoSuchAgent, only" in capsys.readouterr().out
    assert [broken.count(SOFT, seed) for seed in (0, 1)] == [320, 320]
    first = curves(broken)

    written = broken.csv(SOFT, 0).stat().st_mtime_ns
    assert train(broken)  # it is finished
    assert broken.csv(SOFT, 0).stat().st_mtime_ns == written

    raised = replace(broken, trajectories=480)
    assert train(raised, ["soft"], workers=2)
    assert curves(raised) == curves(whole)
    assert [rows[:11] for rows in curves(raised)] == first
    counts = [int(row["trajectories"]) // 32 for row in curves(raised)[0]]
    assert counts == list(range(16))
    assert curves(raised)[0] != curves(raised)[1]

    assert draw(raised).read_bytes().startswith(b"\x89PNG")
    assert reached(raised) == "480 trajectories, 2 seeds"
    about = json.loads((raised.folder / "about.json").read_text())
    assert about["runs"]["soft"]["env_kwargs"] == SOFT.env_kwargs
    assert len(about["commands"]) == 4


def test_a_process_that_dies_is_reported(tmp_path: Path, capsys: Any) -> None:
    assert not train(experiment(tmp_path, measure=dying, seeds=(0,)), workers=1)
    assert "soft, seed 0" in (out := capsys.readouterr().out)
    assert "its process ended with code 3" in out


def write(experiment: Experiment, run: Run, seed: int, values: list[float]) -> None:
    rows = [f"{32 * i + i % 2},{60 * i},{value}" for i, value in enumerate(values)]
    path = experiment.csv(run, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["trajectories,cpu_seconds,total_variation", *rows]) + "\n")


def points(line: Line2D) -> list[tuple[float, float]]:
    x, y = line.get_data()
    return list(zip(np.asarray(x).tolist(), np.asarray(y).tolist(), strict=True))


def test_figure_has_means_and_spread_of_the_csvs(tmp_path: Path) -> None:
    behind = replace(SOFT, name="soft-behind", label="behind")
    panel = Panel(metric="total_variation", title="exact")
    two = experiment(tmp_path, runs=[SOFT, behind], panels=[panel])
    write(two, SOFT, 0, [0.5, 0.25, float("nan")])
    write(two, SOFT, 1, [0.5, 0.75, 0.125])
    write(two, behind, 0, [1.0, -0.5])
    figure, axis = plt.subplots()
    draw_panel(two, panel, axis)
    first, second = map(points, axis.lines)
    assert first == [(0, 0.5), (32, 0.5), (64, 0.125)]
    assert second == [(0, 1.0), (32, 0.5)]
    assert [line.get_label() for line in axis.lines] == ["SoftDQN (32 to 64)", "behind (32)"]
    shade = np.asarray(axis.collections[0].get_paths()[0].vertices)
    assert {tuple(point) for point in shade.tolist()} >= {(32, 0.25), (32, 0.75)}
    assert reached(two) == "up to 64 trajectories, 2 seeds"
    assert reached(replace(two, runs=[SOFT])) == "64 trajectories, 2 seeds"
    plt.close(figure)


def test_a_panel_of_which_no_run_has_begun_is_left_out(tmp_path: Path) -> None:
    other = replace(SOFT, name="other")
    panels = [
        Panel(metric="total_variation", title=run.name, runs=[run.name]) for run in (SOFT, other)
    ]
    two = experiment(tmp_path, runs=[SOFT, other], panels=panels)
    write(two, SOFT, 0, [0.5, 0.25])
    height, width, _ = plt.imread(draw(two)).shape
    write(two, other, 0, [0.5, 0.25])
    assert plt.imread(draw(two)).shape[:2] == (height, 2 * width)


def test_figure_over_a_parameter_has_last_values(tmp_path: Path) -> None:
    runs = [replace(SOFT, name=f"soft-{at}", at=at) for at in (4, 2)]
    panel = Panel(metric="total_variation", title="exact", over="k", log=False)
    over = experiment(tmp_path, runs=runs, panels=[panel])
    for run in runs:
        write(over, run, 0, [0.5, run.at])
        write(over, run, 1, [0.5, run.at + 1])
    figure, axis = plt.subplots()
    draw_panel(over, panel, axis)
    assert points(axis.lines[0]) == [(2, 2.5), (4, 4.5)]
    plt.close(figure)


@pytest.mark.parametrize(
    "figure",
    [
        "grid_standard",
        "grid_hard",
        "grid_learnt_backward",
        "grid_ablations",
        "grid_later_algorithms",
        "bits_exact",
        "bits_over_k",
        "bits_sampler",
        "molecules_over_beta",
    ],
)
def test_every_algorithm_has_the_settings_that_its_runs_name(figure: str) -> None:
    module = importlib.import_module(figure)
    for run in (*module.EXPERIMENT.runs, *getattr(module, "SMALL", ())):
        without_downloads = {} if run.env == "MoleculeGFN-v0" else run.env_kwargs
        env = gymnasium.make(f"gfn_gym:{run.env}", **without_downloads)
        assert isinstance(env.unwrapped, GFNEnv)
        algorithm = getattr(agents, run.agent)
        assert "n_envs" in preset_values(algorithm, env.unwrapped.dag, run.preset), run


def test_bits_are_measured_on_strings_with_every_number_of_flips() -> None:
    module = importlib.import_module("bits_over_k")
    for run in (*module.EXPERIMENT.runs, *module.QUICK.runs):
        n = run.env_kwargs["n"]
        per_mode = np.arange(60 * n) % n  # the test set is mode by mode, 0 to n − 1 flips of each
        assert set(per_mode[::TEST_STEP]) == set(range(n))


def test_bits_are_measured_by_modes_and_correlation() -> None:
    model = SoftDQN("TransformerPolicy", GFNEnv(BitSequence(16, 8)), seed=0, device="cpu")
    metrics, [modes] = bits(model)
    assert isinstance(modes, ModesCallback)
    modes.init_callback(model)
    row = metrics(as_policy(model))
    assert -1 <= row["spearman"] <= 1
    assert row["modes_found"] == 0
    modes.tracker.add(model.dag.modes[:3])
    assert metrics(as_policy(model))["modes_found"] == len(modes.tracker) >= 1


def test_the_sampler_of_bits_is_measured() -> None:
    dag = BitSequence(16, 8, n_modes=3)
    model = SoftDQN("MlpPolicy", GFNEnv(dag), seed=0, device="cpu")
    metrics, [modes] = bits_sampler(model)
    modes.init_callback(model)
    mode = dag.modes[:1]

    def only_the_first_mode(states: Any) -> Any:
        log_probs = np.full((len(states), dag.n_actions), -np.inf)
        for row, position in zip(*np.nonzero(states == dag.empty), strict=True):
            log_probs[row, position * 256 + mode[0, position]] = 0.0
        return log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)

    row = metrics(only_the_first_mode)
    assert row["modes_covered"] == row["effective_modes"] == 1.0
    assert row["mode_distance"] == 0.0
    n_modes = len(np.unique(dag.modes, axis=0))
    assert row["perfect_modes"] == n_modes
    # Always the same object of log R = 0: the ELBO is 0.
    assert row["elbo_gap"] == pytest.approx(np.log(n_modes) + 16 * np.log1p(np.exp(-2)))
    uniform = metrics(as_policy(model))
    assert uniform["mode_distance"] > 3 and uniform["elbo_gap"] > row["elbo_gap"]


def test_a_lowered_total_is_where_it_stops(tmp_path: Path) -> None:
    long = experiment(tmp_path, trajectories=960, seeds=(0,))
    assert not train(replace(long, measure=interrupting), workers=1)
    lower = (long.count(SOFT, 0) // 32 + 2) * 32
    assert lower < 960 - 5 * 32
    assert train(replace(long, trajectories=lower), workers=1)
    assert long.count(SOFT, 0) == lower


@pytest.mark.parametrize(
    "figure", ["grid_standard", "grid_ablations", "grid_later_algorithms", "bits_exact"]
)
def test_every_run_can_be_made(figure: str, tmp_path: Path) -> None:
    module = importlib.import_module(figure)
    here = replace(module.EXPERIMENT, checkpoints=tmp_path, results=tmp_path)
    for run in here.runs:
        assert worker._model(here, run, seed=0).preset == run.preset


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trajectories=100 must be a multiple of 32"):
        experiment(tmp_path, trajectories=100)
    with pytest.raises(ValueError, match="different names"):
        experiment(tmp_path, runs=[SOFT, SOFT])
    with pytest.raises(SystemExit, match="the runs are soft"):
        train(experiment(tmp_path), ["hard"])
    done = experiment(tmp_path, seeds=(0,))
    write(done, SOFT, 0, [0.5] * 11)
    assert train(done)
    other = replace(SOFT, kwargs={"tau": 0.5})
    with pytest.raises(SystemExit, match=r"made with other settings.*remove them"):
        train(replace(done, runs=[other]))


def test_a_csv_without_checkpoint_is_kept(tmp_path: Path, capsys: Any) -> None:
    lost = experiment(tmp_path, seeds=(0,))
    write(lost, SOFT, 0, [0.5, 0.25])
    before = lost.csv(SOFT, 0).read_text()
    assert not train(lost, workers=1)
    assert "to train again, remove" in capsys.readouterr().out
    assert lost.csv(SOFT, 0).read_text() == before


# ---- the table ------------------------------------------------------------------------------


def test_a_cell_is_of_the_seeds_last_values() -> None:
    def curve(*values: float) -> list[Any]:
        return [
            {"trajectories": 32.0 * i, "cpu_seconds": 60.0 * i, "total_variation": value}
            for i, value in enumerate(values)
        ]

    both = [curve(0.9, 0.5, 0.25), curve(0.9, 0.125, 0.0625)]
    assert comparison_table.cell(both, "total_variation", 64) == "0.062–0.250, 2.0 min"
    assert comparison_table.cell(both, "total_variation", 96) == "0.062–0.250, 2.0 min at 64"
    assert comparison_table.cell([curve(0.9, 0.5), []], "total_variation", 32) == "0.500, 1.0 min"
    assert comparison_table.cell([[], []], "total_variation", 32) == "–"


def test_a_table_reads_runs_up_to_its_count(tmp_path: Path) -> None:
    longer = experiment(tmp_path, runs=[SOFT, replace(SOFT, name="soft-hard", label="hard")])
    write(longer, SOFT, 0, [0.5, 0.25, 0.125])
    column = comparison_table.Column("a", (longer,), "{}", "", count=32)
    assert comparison_table.grid_cell(column, "SoftDQN") == "0.250, 1.0 min"
    assert (
        comparison_table.grid_cell(column, "hard")
        == comparison_table.grid_cell(column, "TB")
        == "–"
    )


def test_the_comparison_has_the_table_of_the_csvs(capsys: Any) -> None:
    comparison_table.main()
    page = (Path(__file__).parents[1] / "docs" / "comparison.md").read_text()
    assert capsys.readouterr().out in page, "run benchmarks/paper/comparison_table.py"
