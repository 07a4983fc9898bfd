"""The algorithms that the figures compare; class and argument names appear only here."""

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
LEARNT = {"learnt_backward": True}  # jointly for the baselines, by TLM for the others

PRIORITIES, MUNCHAUSEN, HUBER = "replay_alpha", "munchausen_alpha", "huber"
FOUR_STEPS = {"n_step": 4, "td_lambda": 0.5}


def make_run(
    algorithm: str, env: str, *, learnt: bool = False, suffix: str = "", label: str = "",
    kwargs: dict[str, Any] | None = None, **others: Any,
) -> Run:  # fmt: skip
    """Return a run of one of ``AGENTS``, named after it.

    Args:
        algorithm: its key in ``AGENTS``.
        env: the environment's id.
        learnt: whether P_B is learnt instead of uniform.
        suffix: added to the name, if an algorithm has several runs.
        label: for legends; by default the algorithm's.
        kwargs: arguments for the agent.
        others: further fields of :class:`Run`.
    """
    name = algorithm.lower().replace("-", "") + ("-learnt" if learnt else "") + suffix
    label = label or algorithm + (", learnt P_B" if learnt else "")
    given = {**(LEARNT if learnt else {}), **(kwargs or {})}
    return Run(name=name, label=label, agent=AGENTS[algorithm], env=env, kwargs=given, **others)
