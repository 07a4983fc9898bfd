"""Train a sampler of molecules and write the best ones it finds.

    python examples/molecules.py train --help
    python examples/molecules.py train --trajectories 20000
    python examples/molecules.py train --reward seh --blocks pdb105 --agent soft
    python examples/molecules.py sample --model runs/molecules/model.zip --n 1000

``train`` writes a folder: config.json, curve.csv, curve.png, model.zip, best_model.zip,
TensorBoard's events, checkpoint.zip, from which ``--resume`` continues, and a diverse set of the
best molecules as best.png, best.csv and best.sdf.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDepictor

from gfn_gym.agents import EvaluationCallback, GFNAlgorithm, ModesCallback, as_policy
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.envs.molecule.metrics import (
    Molecules,
    TanimotoModes,
    diverse_molecules,
    diversity,
    scores_of,
    top_molecules,
)
from gfn_gym.envs.molecule.test_set import paper_test_molecules
from gfn_gym.evaluation import (
    ExactCorrelation,
    Policy,
    elbo,
    initial_log_flow,
    sample,
)
from plots import draw_metrics, draw_molecules
from runs import (
    Options,
    Sample,
    check_counts,
    learn,
    load_run,
    make_agent,
    print_summary,
    run_command,
    sample_model,
    start_or_resume,
    write_samples,
)

POLICIES = {"small": "SmallBlockTreePolicy", "paper": "BlockTreePolicy"}
MODE_THRESHOLDS = {"qed_sa": 0.8, "seh": 7.0}  # of the score; the paper's for seh


@dataclass(kw_only=True)
class Train(Options):
    """Train an agent and write the model, curves and pictures to a folder."""

    reward: Literal["qed_sa", "seh"] = "qed_sa"
    """Drug-likeness times ease of synthesis, or the paper's sEH proxy (downloads its weights)."""
    reward_exponent: float | None = None
    """β: R is the score to this power; by default 4 for qed_sa, 10 for seh."""
    blocks: str | None = None
    """A JSON file of building blocks, or pdb105 for the paper's (a download); ours by default."""
    min_blocks: int = 2
    """Smallest number of blocks of a molecule."""
    max_blocks: int = 8
    """Largest number of blocks of a molecule."""
    network: Literal["small", "paper"] = "small"
    """Size of the graph network: small, for a CPU, or the paper's."""
    mode_threshold: float | None = None
    """Lowest score of a mode; by default 0.8 for qed_sa and 7 for seh."""
    n_best: int = 20
    """How many of the best, diverse molecules to draw and write."""
    trajectories: int = 100_000
    """Trajectories to train on."""
    out: Path = field(default_factory=lambda: Path("runs/molecules"))
    """The folder to write to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "n_best")

    @property
    def threshold(self) -> float:
        """The lowest score of a mode."""
        given = self.mode_threshold
        return MODE_THRESHOLDS[self.reward] if given is None else given


def train(args: Train) -> None:
    args, model = start_or_resume(args, new_model)
    dag, modes = model.dag, ModesCallback(partial(TanimotoModes, threshold=args.threshold))
    assert isinstance(dag, Molecule)
    correlation = test_correlation(dag, args)
    evaluation = EvaluationCallback(
        args.every,
        metrics=metrics_of(model, modes, correlation),
        best_model_save_path=args.out,
        monitor="elbo" if correlation is None else "pearson",
        monitor_mode="max",
    )
    learn(args, model, evaluation, [modes])
    report(args, model, evaluation, modes)


def new_model(args: Train) -> GFNAlgorithm:
    env = gymnasium.make(
        "gfn_gym:MoleculeGFN-v0",
        blocks=args.blocks,
        reward=args.reward,
        reward_exponent=args.reward_exponent,
        min_blocks=args.min_blocks,
        max_blocks=args.max_blocks,
    )
    return make_agent(args, POLICIES[args.network], env)


def test_correlation(dag: Molecule, args: Train) -> ExactCorrelation | None:
    """The correlation on the paper's test molecules, or None if they cannot be built or found."""
    if args.blocks != "pdb105":
        return None
    try:
        test_set = paper_test_molecules(dag)
    except FileNotFoundError as error:
        print(f"no correlation on the test molecules: {error}")
        return None
    for name, reason in test_set.left_out:
        print(f"test molecule {name} is left out: {reason}")
    correlation = ExactCorrelation(dag, test_set.states)
    for place in np.flatnonzero(~correlation.ancestry.exact):
        print(f"test molecule {test_set.names[place]} is left out: it has too many ancestors")
    print(f"{len(test_set.states)} test molecules with {len(correlation.ancestry)} ancestors")
    return correlation


def metrics_of(
    model: GFNAlgorithm, modes: ModesCallback, correlation: ExactCorrelation | None, n: int = 256
) -> Callable[[Policy], dict[str, float]]:
    """Metrics: modes found so far, the correlation, and the score and diversity of n samples."""
    dag = model.dag
    assert isinstance(dag, Molecule)

    def metrics(policy: Policy) -> dict[str, float]:
        samples = sample(dag, policy, n, backward_policy=model.backward_policy)
        best = top_molecules(dag, samples.states, n)
        values = {
            "modes_found": float(len(modes.tracker)),
            "mean_score": float(scores_of(dag, samples.states).mean()),
            "mean_log_reward": float(samples.log_reward.mean()),
            "diversity": diversity(best.smiles),
            "elbo": elbo(samples),
            "log_z": initial_log_flow(dag, policy) or 0.0,
        }
        return values if correlation is None else {**correlation(policy), **values}

    return metrics


# ---- the best molecules ---------------------------------------------------------------------


def report(
    args: Train, model: GFNAlgorithm, evaluation: EvaluationCallback, modes: ModesCallback
) -> None:
    """Draw the pictures, write the best molecules and print the final metrics."""
    dag = model.dag
    assert isinstance(dag, Molecule) and isinstance(modes.tracker, TanimotoModes)
    panels = ["mean_score", "elbo"] if evaluation.monitor == "elbo" else ["pearson", "mean_score"]
    draw_metrics(evaluation.history, [*panels, "modes_found"], args.out / "curve.png")
    samples = sample(dag, as_policy(model), 2000).states
    found = np.concatenate([samples, *(state[None] for state in modes.tracker.states)])
    best = diverse_molecules(dag, found, k=args.n_best)
    draw_molecules(best.smiles, captions(best), args.out / "best.png")
    write_csv(best, args.out / "best.csv")
    write_sdf(best, args.out / "best.sdf")
    print_summary(args, evaluation)
    print(f"{len(modes.tracker)} modes of score {args.threshold} or more found while training")
    print(f"the best {len(best)} of a diverse set: {args.out / 'best.png'}, .csv, .sdf")


def captions(molecules: Molecules) -> list[str]:
    return [f"{rank}: {score:.2f}" for rank, score in enumerate(molecules.scores, start=1)]


def write_csv(molecules: Molecules, path: Path) -> None:
    """Write SMILES, score and log R, best first."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", "score", "log_reward"])
        writer.writerows(zip(molecules.smiles, molecules.scores, molecules.log_reward, strict=True))


def write_sdf(molecules: Molecules, path: Path) -> None:
    """Write the molecules with 2D coordinates and the same numbers as properties."""
    with Chem.SDWriter(str(path)) as writer:
        columns = (molecules.smiles, molecules.scores, molecules.log_reward)
        for rank, (smiles, score, log_reward) in enumerate(zip(*columns, strict=True), start=1):
            molecule = Chem.MolFromSmiles(smiles)
            rdDepictor.Compute2DCoords(molecule)
            molecule.SetProp("_Name", f"molecule {rank}")
            molecule.SetProp("smiles", smiles)
            molecule.SetDoubleProp("score", float(score))
            molecule.SetDoubleProp("log_reward", float(log_reward))
            writer.write(molecule)


def sample_run(args: Sample) -> None:
    model = load_run(args.model)
    samples = sample_model(model, args, Molecule)
    dag = model.dag
    assert isinstance(dag, Molecule)
    smiles = Assembler(dag.vocabulary, dag.max_blocks).smiles(samples.states)
    scores = scores_of(dag, samples.states)
    objects = list(zip(smiles, scores.tolist(), strict=True))
    write_samples(args.out, ["smiles", "score"], objects, samples)
    molecules = top_molecules(dag, samples.states, args.n)
    write_sdf(molecules, args.out.with_suffix(".sdf"))
    print(f"wrote {args.n} samples to {args.out} and the {len(molecules)} different ones to "
          f"{args.out.with_suffix('.sdf')}; mean score {scores.mean():.3f}, "
          f"diversity {diversity(molecules.smiles[:100]):.3f}")  # fmt: skip


if __name__ == "__main__":
    run_command(Train, train, sample_run)
