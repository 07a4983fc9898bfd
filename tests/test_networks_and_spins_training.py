"""The training benchmark of networks and spins: its files, going on, and what it measures."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tyro")

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import networks_and_spins_aims as aims
import networks_and_spins_training as training
from networks_and_spins_figures import draw_all

from gfn_gym.envs.bayesian_network.exact import posterior, sum_over_graphs
from gfn_gym.envs.ising import Ising
from gfn_gym.envs.ising_exact import all_energies, mean_energy

SMALL = [
    replace(
        next(aim for aim in aims.AIMS if aim.name == "five-nodes"),
        make=lambda: aims.network(4), trajectories=1_500, evaluations=2, samples=300, seeds=(0,),
        kwargs={"n_envs": 32},
    ),
    replace(
        next(aim for aim in aims.AIMS if aim.name == "spins-4-any"),
        make=lambda: Ising(3), trajectories=600, evaluations=2, samples=300, chains=["Wolff"],
        kwargs={"n_envs": 32},
    ),
]  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.setattr(training, "AIMS", SMALL)
    monkeypatch.setattr(training, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(training, "CHECKPOINTS", tmp_path / "runs")
    return tmp_path / "results"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_row_for_every_run_and_chain_once(results: Path, capsys: Any) -> None:
    training.train(training.Train())
    training.chains(training.Chains(most=0.5))
    table = rows(results / "table.csv")
    found = [(row["aim"], row["method"]) for row in table]
    assert found == [
        ("five-nodes", "SoftDQN"), ("spins-4-any", "SoftDQN"),
        ("five-nodes", "structure MCMC"), ("spins-4-any", "Wolff"),
    ]  # fmt: skip
    curve = rows(results / "five-nodes-0.csv")
    assert [int(row["trajectories"]) // 750 for row in curve] == [0, 1, 2]
    assert float(curve[-1]["total_variation"]) < float(curve[0]["total_variation"])
    assert float(table[0]["total_variation"]) == float(curve[-1]["total_variation"])
    assert float(table[0]["cpu_seconds"]) > 0.5 and float(table[2]["cpu_seconds"]) == 0.5
    assert float(table[2]["edge_error_max"]) < 0.3
    assert not list((results.parent / "runs").glob("*-0.zip"))  # finished: no checkpoint
    capsys.readouterr()
    training.train(training.Train())
    training.chains(training.Chains())
    assert not capsys.readouterr().out and rows(results / "table.csv") == table
    draw_all(results)
    assert "| five-nodes | structure MCMC | 0 |" in capsys.readouterr().out
    assert (results / "curves.png").exists()


def test_an_interrupted_run_goes_on_from_its_checkpoint(results: Path, monkeypatch: Any) -> None:
    def distances() -> list[str]:
        return [row["total_variation"] for row in rows(results / "five-nodes-0.csv")]

    training.train_one(SMALL[0], 0)
    whole = distances()
    (results / "table.csv").unlink()

    def stop(line: str, **_: Any) -> None:
        if "trajectories 7" in line:  # half-way
            raise InterruptedError

    monkeypatch.setattr(training, "print", stop, raising=False)
    with pytest.raises(InterruptedError):
        training.train_one(SMALL[0], 0)
    assert distances() == whole[:2]
    told: list[str] = []
    monkeypatch.setattr(training, "print", lambda line, **_: told.append(line))
    training.train_one(SMALL[0], 0)
    assert distances() == whole and len(rows(results / "table.csv")) == 1
    assert not any("trajectories 0," in line for line in told)


def test_what_is_measured() -> None:
    network, spins = aims.network(4), Ising(3)
    graphs, weights = posterior(network)
    exact = aims.edge_errors(network, graphs, weights)
    assert exact["edge_error_max"] < 1e-9
    one = aims.edge_errors(network, network.initial_states(5))
    assert one["samples"] == 5
    assert one["edge_error_max"] == pytest.approx(sum_over_graphs(network).edges.max())
    energies, _ = all_energies(spins)
    codes = np.arange(2**9)
    states = ((codes[:, None] >> np.arange(9)) & 1).astype(np.int8)
    row = aims.spin_errors(spins, states)  # uniform: as at β = 0
    assert row["mean_energy"] == pytest.approx(energies.mean(), abs=1e-9)
    assert row["energy_error"] == pytest.approx(row["mean_energy"] / mean_energy(spins) - 1)
    assert row["energy_distance"] > 0.3 and row["energy_floor"] < 0.05
