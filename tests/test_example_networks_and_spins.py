"""The examples of Bayesian networks and Ising models: baselines against exact answers, and CSVs."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gfn_gym.envs import ising_exact
from gfn_gym.envs.bayesian_network import BayesianNetwork, erdos_renyi_data
from gfn_gym.envs.bayesian_network.exact import posterior, sum_over_graphs
from gfn_gym.envs.bayesian_network.features import marginals
from gfn_gym.envs.ising import Ising

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def example(monkeypatch: Any) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_exact_answers_for_a_file(tmp_path: Path) -> None:
    data, out = erdos_renyi_data(4, observations=40)[0], tmp_path / "run"
    path = tmp_path / "my.csv"
    path.write_text("a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in data.tolist()))
    assert "log Z = " in run("bayesian_network.py", "exact", "--data", path, "--out", out)
    assert {file.name for file in out.iterdir()} == {"edges.csv", "graphs.csv", "edges.png"}
    dag = BayesianNetwork(path)
    states, probabilities = posterior(dag)
    edges = sum_over_graphs(dag).edges
    paths = marginals(dag.adjacency(states), "path", probabilities)
    table = rows(out / "edges.csv")
    assert len(table) == 12
    for row in table:
        i, j = dag.names.index(row["from"]), dag.names.index(row["to"])
        assert float(row["edge"]) == pytest.approx(edges[i, j], abs=1e-6)
        assert float(row["path"]) == pytest.approx(paths[i, j], abs=1e-6)
    best = rows(out / "graphs.csv")
    assert float(best[0]["probability"]) == pytest.approx(probabilities.max(), abs=1e-6)
    assert best[0]["share"] == best[0]["probability"]
    top = states[np.argmax(dag.log_reward(states))]
    assert len(best[0]["edges"].split()) == top.sum()


def test_beyond_enumeration_edges_alone_are_written(tmp_path: Path) -> None:
    run("bayesian_network.py", "exact", "--nodes", 7, "--out", tmp_path)
    assert set(rows(tmp_path / "edges.csv")[0]) == {"from", "to", "edge"}


def test_mcmc_from_the_command_line(tmp_path: Path) -> None:
    told = run("bayesian_network.py", "mcmc", "--nodes", 4, "--seconds", 1, "--out", tmp_path)
    assert "edge probabilities are at most" in told
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"edges.csv", "graphs.csv", "edges.png", "agreement.png"}


def test_structure_mcmc_samples_the_posterior(example: Any) -> None:
    dag = BayesianNetwork(
        erdos_renyi_data(4, observations=15, noise=2.0)[0], forbidden=[(0, 1)], required=[(2, 3)]
    )
    states = example("bayesian_network").structure_mcmc(dag, seconds=2.0, chains=256)
    everything, probabilities = posterior(dag)
    codes, all_codes = (s @ (1 << np.arange(16)) for s in (states, everything))
    assert set(codes.tolist()) <= set(all_codes.tolist())
    shares = np.array([(codes == code).mean() for code in all_codes.tolist()])
    assert np.abs(shares - probabilities).sum() / 2 < 0.05
    assert np.abs(marginals(dag.adjacency(states)) - sum_over_graphs(dag).edges).max() < 0.02


@pytest.mark.parametrize("method", ["metropolis", "wolff"])
def test_markov_chains_sample_the_boltzmann_distribution(method: str, example: Any) -> None:
    dag = Ising(3, J=0.8, beta=0.5)
    states = getattr(example("ising"), method)(dag, seconds=1.5)
    for distribution, values in (
        (ising_exact.energy_distribution(dag), dag.energy(states)),
        (ising_exact.magnetisation_distribution(dag), dag.magnetisation(states)),
    ):
        assert ising_exact.histogram_distance(distribution, np.round(values, 9)) < 0.05


def test_wolff_refuses_what_it_cannot(example: Any) -> None:
    for dag in (Ising(3, field=0.1), Ising(3, J=-1.0)):
        with pytest.raises(ValueError, match="Wolff's algorithm here needs"):
            example("ising").wolff(dag, seconds=0.1)


def test_spins_from_the_command_line(tmp_path: Path) -> None:
    told = run("ising.py", "--L", 4, "--seconds", 0.5, "--out", tmp_path)
    assert "exact: log Z 14.561093" in told
    table = rows(tmp_path / "table.csv")
    assert [row["method"] for row in table] == ["Metropolis", "Wolff"]
    assert {file.name for file in tmp_path.iterdir()} == {
        "table.csv", "spins.png", "histograms.png",
    }  # fmt: skip
    exact = ising_exact.mean_energy(Ising(4))
    for row in table:
        assert float(row["mean_energy"]) == pytest.approx(exact, rel=0.1)
