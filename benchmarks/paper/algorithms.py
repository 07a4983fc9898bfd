"""The algorithms that the figures compare. Names of classes and keywords stand here only."""

from __future__ import annotations

from typing import Any

from experiment import Run

AGENTS = {
    "TB": "TrajectoryBalance",
    "DB": "DetailedBalance",
    "SubTB": "SubTrajectoryBalance",
    "SoftDQN": "SoftDQN",
    "M-DQN": "MunchausenDQN",
    "SAC": "SoftActorCritic",
    "PPO": "EntropicPPO",
    "FM": "FlowMatching",
}
BASELINES, OURS = ("TB", "DB", "SubTB"), ("SoftDQN", "M-DQN")
OTHERS = ("SAC", "PPO", "FM")
LEARNT = {"learnt_backward": True}  # jointly by the baselines, by TLM for the others

PRIORITIES, MUNCHAUSEN, HUBER = "replay_alpha", "munchausen_alpha", "huber"
FOUR_STEPS = {"n_step": 4, "td_lambda": 0.5}


def make_run(
    algorithm: str, env: str, *, learnt: bool = False, suffix: str = "", label: str = "",
    kwargs: dict[str, Any] | None = None, **others: Any,
) -> Run:  # fmt: skip
    """A run of one of ``AGENTS``, named after it.

    Args:
        algorithm: its label.
        env: the environment's id.
        learnt: whether P_B is learnt, not uniform.
        suffix: of the name, where an algorithm has several runs.
        label: in legends; by default the algorithm's.
        kwargs: arguments of the agent.
        others: what else :class:`Run` has.
    """
    name = algorithm.lower().replace("-", "") + ("-learnt" if learnt else "") + suffix
    label = label or algorithm + (", learnt P_B" if learnt else "")
    given = {**(LEARNT if learnt else {}), **(kwargs or {})}
    return Run(name=name, label=label, agent=AGENTS[algorithm], env=env, kwargs=given, **others)
