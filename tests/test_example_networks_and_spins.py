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
    states = example("structure_mcmc").structure_mcmc(dag, seconds=2.0, chains=256)
    everything, probabilities = posterior(dag)
    codes, all_codes = (s @ (1 << np.arange(16)) for s in (states, everything))
    assert set(codes.tolist()) <= set(all_codes.tolist())
    shares = np.array([(codes == code).mean() for code in all_codes.tolist()])
    assert np.abs(shares - probabilities).sum() / 2 < 0.05
    assert np.abs(marginals(dag.adjacency(states)) - sum_over_graphs(dag).edges).max() < 0.02


TRAIN = ("--agent", "soft", "--n-envs", 64, "--trajectories", 1500, "--evaluations", 2)


def test_train_on_a_file_resume_and_sample(tmp_path: Path) -> None:
    data, out = erdos_renyi_data(4, observations=40)[0], tmp_path / "run"
    path = tmp_path / "my.csv"
    path.write_text("a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in data.tolist()))
    options = ("--data", path, "--samples", 300, "--mcmc", "--out", out)
    told = run("bayesian_network.py", "train", *TRAIN, *options)
    assert "trained sampler, " in told and "total variation after: " in told
    written = {
        "config.json", "curve.csv", "curve.png", "edges.csv", "graphs.csv", "edges.png",
        "agreement.png", "model.zip", "best_model.zip", "checkpoint.zip",
    }  # fmt: skip
    assert {file.name for file in out.iterdir()} >= written
    curve = rows(out / "curve.csv")
    assert float(curve[-1]["total_variation"]) < float(curve[0]["total_variation"])
    edges = rows(out / "edges.csv")
    path.unlink()  # the checkpoint has the data
    for file in ("model.zip", "edges.csv"):
        (out / file).unlink()
    run("bayesian_network.py", "train", "--out", out, "--resume")
    assert rows(out / "edges.csv") == edges and (out / "model.zip").exists()
    drawn = tmp_path / "samples.csv"
    run("bayesian_network.py", "sample", "--model", out / "model.zip", "--n", 20, "--out", drawn)
    samples = rows(drawn)
    assert len(samples) == 20
    for row in samples:
        assert int(row["length"]) == len(row["edges"].split()) + 1
        assert set(row["edges"]) <= set("abcd-> ")


def test_train_on_data_that_cannot_be_read_leaves_no_folder(tmp_path: Path) -> None:
    out, missing = tmp_path / "run", tmp_path / "none.csv"
    command = [sys.executable, str(EXAMPLES / "bayesian_network.py"), "train"]
    done = subprocess.run(
        [*command, "--data", str(missing), "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode and "none.csv" in done.stderr and "Traceback" not in done.stderr
    assert not out.exists()


def test_what_cannot_be_computed_is_refused_before_any_work(example: Any, tmp_path: Path) -> None:
    spins, networks = example("ising"), example("bayesian_network")
    with pytest.raises(SystemExit, match="L=1 must be an integer of at least 2"):
        spins.chains(spins.Chains(L=1, out=tmp_path))
    for options in (spins.Chains, spins.Train, networks.MCMC):
        with pytest.raises(SystemExit, match=r"--seconds -1\.0 must be above 0"):
            options(seconds=-1.0)
    with pytest.raises(SystemExit, match="--chains 0 must be at least 1"):
        networks.MCMC(chains=0)
    with pytest.raises(SystemExit, match="15 nodes are too many for sums over graphs"):
        networks.exact(networks.Exact(nodes=15, out=tmp_path))


def test_antiferromagnets_are_sampled_by_metropolis_alone(example: Any, tmp_path: Path) -> None:
    spins = example("ising")
    spins.chains(spins.Chains(L=3, J=-1.0, seconds=0.2, out=tmp_path))
    assert [row["method"] for row in rows(tmp_path / "table.csv")] == ["Metropolis"]
    assert (tmp_path / "spins.png").stat().st_size > 0


def test_train_on_spins_and_sample(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--L", 3, "--samples", 200, "--seconds", 0.5, "--out", out)
    told = run("ising.py", "train", *TRAIN, *options)
    assert "total variation after: " in told
    table = rows(out / "table.csv")
    assert [row["method"] for row in table] == ["trained sampler", "Wolff"]
    assert table[0]["samples"] == "200" and 0 < float(table[0]["energy_distance"]) < 1
    written = {
        "config.json", "curve.csv", "curve.png", "table.csv", "spins.png", "histograms.png",
        "model.zip", "best_model.zip", "checkpoint.zip",
    }  # fmt: skip
    assert {file.name for file in out.iterdir()} >= written
    drawn = tmp_path / "samples.csv"
    run("ising.py", "sample", "--model", out / "model.zip", "--n", 20, "--out", drawn)
    dag, samples = Ising(3), rows(drawn)
    states = np.array([[int(row[f"s{i}"]) for i in range(9)] for row in samples])
    assert np.allclose(dag.log_reward(states), [float(row["log_reward"]) for row in samples])
    assert all(row["length"] == "9" for row in samples)


@pytest.mark.parametrize("method", ["metropolis", "wolff"])
def test_markov_chains_sample_the_boltzmann_distribution(method: str, example: Any) -> None:
    dag = Ising(3, J=0.8, beta=0.5)
    states = getattr(example("spin_chains"), method)(dag, seconds=1.5)
    for distribution, values in (
        (ising_exact.energy_distribution(dag), dag.energy(states)),
        (ising_exact.magnetisation_distribution(dag), dag.magnetisation(states)),
    ):
        assert ising_exact.histogram_distance(distribution, np.round(values, 9)) < 0.05


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_metropolis_does_not_go_back_and_forth(beta: float, example: Any) -> None:
    dag = Ising(3, J=-1.0, beta=beta)
    energies = np.round(dag.energy(example("spin_chains").metropolis(dag, seconds=0.6)), 9)
    per_chain = energies.reshape(-1, 256).mean(axis=0)
    assert per_chain.std() < 0.4
    assert ising_exact.histogram_distance(ising_exact.energy_distribution(dag), energies) < 0.009


def test_wolff_refuses_what_it_cannot(example: Any) -> None:
    for dag in (Ising(3, field=0.1), Ising(3, J=-1.0)):
        with pytest.raises(ValueError, match="Wolff's algorithm here needs"):
            example("spin_chains").wolff(dag, seconds=0.1)


def test_spins_from_the_command_line(tmp_path: Path) -> None:
    told = run("ising.py", "chains", "--L", 4, "--seconds", 0.5, "--out", tmp_path)
    assert "exact: log Z 14.561093" in told
    table = rows(tmp_path / "table.csv")
    assert [row["method"] for row in table] == ["Metropolis", "Wolff"]
    assert {file.name for file in tmp_path.iterdir()} == {
        "table.csv", "spins.png", "histograms.png",
    }  # fmt: skip
    exact = ising_exact.mean_energy(Ising(4))
    for row in table:
        assert float(row["mean_energy"]) == pytest.approx(exact, rel=0.1)
