"""Fuzzing: every registered environment, every autoreset mode, the invariants of the theorem.

Quick here; ``python tests/test_chaos.py 1000000`` takes that many steps of each, with another seed
every time it is told one (``--seed``).
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import gfn_gym  # noqa: F401
from gfn_gym import GFNVectorEnv
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.mdp import MDP, legal_actions, log_reward_of, sample_legal_actions
from gfn_gym.registration import registered_ids

SIZES: dict[str, list[dict[str, Any]]] = {  # a few that differ; the default is always there
    "HypergridGFN": [{"ndim": 1, "height": 2}, {"ndim": 2, "height": 5}, {"ndim": 3, "height": 7}],
    "HypergridGFN-Hard": [{"ndim": 2, "height": 9, "reward_exponent": 3.0}],
    "BitSequenceGFN": [{"n": 8, "k": 2}, {"n": 6, "k": 1, "modes": ["010101", "000111"]}],
    "MoleculeGFN": [{"min_blocks": 1, "max_blocks": 3}],
    "SequenceGFN": [
        {"length": 5, "order": "both_ends"},
        {"min_length": 2, "max_length": 6, "order": "append"},
    ],
    "RNABindingGFN": [],
    "RNAFoldGFN": [{"sequence": "GGGAAAUCCC"}],
    "BayesianNetworkGFN": [{"max_parents": 1}],
    "IsingGFN": [{"L": 3, "order": "raster"}],
}
NEEDS_VIENNA = ("RNABindingGFN", "RNAFoldGFN")
MODES = list(AutoresetMode)


def cases() -> list[Any]:
    found = []
    for id in registered_ids():
        name = id.rpartition("-v")[0]
        if not is_ours(id) or (name in NEEDS_VIENNA and find_spec("RNA") is None):
            continue
        for kwargs in [{}, *SIZES[name]]:
            found.append(pytest.param(id, kwargs, id=f"{id}-{kwargs}"))
    return found


def is_ours(id: str) -> bool:
    """Not registered by another test."""
    return str(gymnasium.spec(id).kwargs["dag"]).startswith("gfn_gym.envs.")


def test_every_registered_environment_is_among_them() -> None:
    assert {id.rpartition("-v")[0] for id in filter(is_ours, registered_ids())} == set(SIZES)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("id", "kwargs"), cases())
def test_the_invariants_hold_at_every_step(
    id: str, kwargs: dict[str, Any], mode: AutoresetMode
) -> None:
    for terminate in (False, True):
        fuzz(id, kwargs, mode, n_steps=30, seed=1, terminate=terminate)


def fuzz(
    id: str,
    kwargs: dict[str, Any],
    mode: AutoresetMode,
    n_steps: int,
    seed: int,
    terminate: bool,
    num_envs: int = 8,
) -> int:
    """Walk at random and check every step; return how many transitions were made.

    Where illegal actions end episodes, some are illegal, as far out as −5 and n_actions + 5.
    """
    name, _, version = id.rpartition("-v")
    env: Any = gymnasium.make_vec(
        f"{name}-Terminate-v{version}" if terminate else id,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=mode,
        **kwargs,
    )
    walk = Walk(env.unwrapped, mode, np.random.default_rng(seed), terminate)
    for _ in range(n_steps):
        walk.step()
    return walk.transitions


class Walk:
    """A random walk of a vector environment, beside a model of what it must do."""

    def __init__(
        self, env: GFNVectorEnv, mode: AutoresetMode, generator: Any, terminate: bool
    ) -> None:
        self.env, self.mode, self.generator, self.terminate = env, mode, generator, terminate
        self.dag, self.mdp = env.dag, MDP(env.dag)
        self.transitions = 0
        self.start = self.dag.initial_states(1)[0]
        observations, infos = env.reset(seed=0)
        self.states = self.dag.initial_states(env.num_envs)  # where each construction stands
        self.ended = np.zeros(env.num_envs, dtype=bool)
        self.returns = np.zeros(env.num_envs)
        self.paths = np.zeros(env.num_envs)  # Σ log P_B of the episode
        self._check_seen(observations, infos)

    def step(self) -> None:
        if self.mode is AutoresetMode.DISABLED and self.ended.any():
            self._reset()
        env, waiting = self.env, self.ended.copy()  # waiting: this step only resets them
        mask = np.where(waiting[:, None], env.dag.action_mask(self.start[None]), self._masks())
        actions = sample_legal_actions(mask, self.generator)
        if self.terminate:
            wild = self.generator.random(len(actions)) < 0.1
            far = self.generator.integers(-5, self.dag.n_actions + 5, len(actions))
            actions = np.where(wild, far, actions)
        legal = legal_actions(mask, actions)
        before = self.states.copy()
        observations, rewards, done, truncated, infos = env.step(actions)
        self._check_step(before, actions, legal, waiting, rewards, done)
        assert not truncated.any() and rewards.dtype == np.float64
        if self.mode is AutoresetMode.SAME_STEP:
            self._check_final(done, infos)
            self._restart(done)
        else:
            self.ended = done.copy()
            self._restart(waiting)
        self._check_seen(observations, infos)
        self.transitions += int((~waiting).sum())

    def _check_step(
        self, before: Any, actions: Any, legal: Any, waiting: Any, rewards: Any, done: Any
    ) -> None:
        """Rewards are those of Theorem 1, and their sum is log R plus Σ log P_B, edge by edge."""
        assert np.isfinite(rewards).all() and (rewards[waiting] == 0).all()
        assert not done[waiting].any() and done[~legal & ~waiting].all()
        wrong = ~legal & ~waiting
        assert (rewards[wrong] == self.env.simulator.invalid_reward).all()
        rows = np.flatnonzero(legal & ~waiting)
        edge = self.mdp.step(before[rows], actions[rows])
        self.states[rows] = edge.next_states
        assert np.allclose(rewards[rows], edge.rewards, rtol=0, atol=1e-9)
        assert (done[rows] == edge.done).all() and (edge.log_backward <= 1e-12).all()
        moved = (edge.next_states != before[rows]).any(axis=1)
        stop = self.dag.stop_action
        assert (moved == (actions[rows] != stop)).all()
        # Backward undoes forward, and P_B over the parents sums to one.
        undo = self.dag.backward_action(before[rows][moved], actions[rows][moved])
        parents = self.dag.backward_step(edge.next_states[moved], undo)
        assert (parents == before[rows][moved]).all()
        log_p = self.mdp.backward_log_probs(edge.next_states[moved])
        assert np.allclose(np.exp(log_p).sum(axis=1), 1)
        self.returns[rows] += edge.rewards
        self.paths[rows] += edge.log_backward
        over = rows[edge.done]
        if len(over):
            log_reward = log_reward_of(self.dag, self.states[over])
            assert np.allclose(self.returns[over], log_reward + self.paths[over])
            assert (log_reward > self.env.simulator.invalid_reward).all()

    def _check_final(self, done: Any, infos: dict[str, Any]) -> None:
        """The infos of ended episodes show the last state."""
        if not done.any():
            assert "final_obs" not in infos
            return
        assert (infos["_final_obs"] == done).all() and (infos["_final_info"] == done).all()
        shown = np.stack(list(infos["final_obs"][done]))
        assert (self.dag.states_of(shown) == self.states[done]).all()

    def _restart(self, rows: Any) -> None:
        self.states[rows] = self.start
        self.returns[rows], self.paths[rows] = 0, 0

    def _reset(self) -> None:
        """Some of those that ended, or all; the others wait."""
        rows = self.ended  # the environment refuses to step while one waits
        observations, infos = self.env.reset(options={"reset_mask": rows.copy()})
        self._restart(rows)
        self.ended = np.zeros_like(rows)
        self._check_seen(observations, infos)

    def _masks(self) -> Any:
        masks = self.env.action_masks()
        assert masks.any(axis=1).all()
        return masks

    def _check_seen(self, observations: Any, infos: dict[str, Any]) -> None:
        """What is shown is the state, in its space, and the mask is that of the state."""
        assert (self.dag.states_of(observations) == self.states).all()
        assert (self.dag.observe(self.states) == observations).all()
        assert observations[0] in self.env.single_observation_space
        mask = infos["action_mask"]
        assert mask.dtype == np.int8 and (mask == self.env.action_masks()).all()
        true = self.dag.action_mask(self.states)
        alive = true.any(axis=1)
        assert (mask[alive] == true[alive]).all() and (mask[~alive].sum(axis=1) == 1).all()


def test_the_walk_finds_a_wrong_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fuzzer that cannot fail shows nothing."""
    right = MDP.log_backward
    monkeypatch.setattr(MDP, "log_backward", lambda *a, **k: right(*a, **k) * 1.01)
    with pytest.raises(AssertionError):
        walk = Walk(GFNVectorEnv(Hypergrid(2, 5), 4),
                    AutoresetMode.NEXT_STEP, np.random.default_rng(0), False)  # fmt: skip
        walk.mdp.log_backward = lambda *a: right(walk.mdp, *a)  # type: ignore[method-assign]
        for _ in range(20):
            walk.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=int, help="transitions of each environment in each mode")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("error")
    total = 0
    for case, mode, terminate in itertools.product(cases(), MODES, (False, True)):
        id, kwargs = case.values
        made = fuzz(id, kwargs, mode, args.steps // 64, args.seed, terminate, num_envs=64)
        total += made
        print(f"{id} {kwargs} {mode.value} terminate={terminate}: {made:,} steps", flush=True)
    print(f"{total:,} steps, no invariant broken")


if __name__ == "__main__":
    main()
