"""Bit sequences, n = 120, k = 8: how good the sampler is, with a potential and without.

    python benchmarks/paper/bits_sampler.py train
    python benchmarks/paper/bits_sampler.py draw

Modes found say little about a policy: one whose samples lie 42 bits from the nearest mode finds
most of them. So there are four numbers: modes found, modes covered by 5,000 samples and their
effective number, the mean distance of samples to the nearest mode, and log Z − ELBO. Every object
whose reward is asked for counts as a trajectory, those of local search included. Runs named "env1"
and "env2" have other modes, drawn from that seed.
"""

from typing import Any

from command_line import run_command
from experiment import Experiment, Panel, Run, quick_version
from measures import bits_sampler


def make_run(
    name: str, label: str, *, preset: str = "fast", seed: int = 0, potential: str | None = "dag",
    agent: str = "SoftDQN", n: int = 120, **kwargs: Any,
) -> Run:  # fmt: skip
    env_kwargs = {"n": n, "seed": seed, "potential": potential}
    return Run(
        name=name, label=label, agent=agent, env="BitSequenceGFN-v0", env_kwargs=env_kwargs,
        policy="auto", preset=preset, kwargs=kwargs,
    )  # fmt: skip


def runs(n: int) -> list[Run]:
    return [
        make_run("fast", "fast, with the potential", n=n),
        make_run("fast-env1", "fast, other modes (1)", seed=1, n=n),
        make_run("fast-env2", "fast, other modes (2)", seed=2, n=n),
        make_run("fast-without", "fast, without", potential=None, n=n),
        make_run("paper", "paper, with the potential", preset="paper", n_envs=64, n=n),
        make_run("paper-without", "paper, without", preset="paper", potential=None, n_envs=64, n=n),
    ]


EXPERIMENT = Experiment(
    name="bits_sampler",
    domain="bits_sampler",
    title="Bit sequences, n = 120, k = 8",
    runs=runs(120),
    panels=[
        Panel(metric="modes_found", title="modes found", log=False, floor="perfect_modes"),
        Panel(
            metric="effective_modes",
            title="effective number of modes, 5,000 samples",
            log=False,
            floor="perfect_modes",
        ),
        Panel(
            metric="mode_distance",
            title="distance of samples to the nearest mode, bits",
            log=False,
            floor="perfect_distance",
        ),
        Panel(metric="elbo_gap", title="log Z − ELBO"),
    ],
    measure=bits_sampler,
    metric="elbo_gap",
    trajectories=201_216,
    every=25_152,  # 262 rounds of updates
)
QUICK = quick_version(EXPERIMENT, runs=runs(64), trajectories=3_840, every=1_920, seeds=(0,))

if __name__ == "__main__":
    run_command(EXPERIMENT, QUICK)
