"""A table of bad inputs: each gets an error that names the argument and says what would be right.

The agents' are in test_bad_arguments.py, broken DAGs in test_check_dag.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from gfn_gym import MDP, GFNEnv, GFNVectorEnv
from gfn_gym.envs.bit_sequence import BitSequence, flipped_modes
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.envs.molecule.dag import Molecule
from gfn_gym.evaluation import (
    EmpiricalDistribution,
    evaluate_exact,
    log_likelihood,
    perfect_sampler_floor,
    sample,
    sample_backward,
    solve,
    top_k,
    uniform_policy,
)

GRID = Hypergrid(2, 4)
UNIFORM = uniform_policy(GRID)
NAN, INF = float("nan"), float("inf")
NOT_WHOLE: list[Any] = ["many", None, True, 1.5, [1], NAN, 1j]
NOT_REAL: list[Any] = ["much", None, True, [1.0], 1j]
CELLS = np.zeros((2, 2), dtype=int)

TABLE: list[tuple[str, Callable[[Any], Any], list[Any]]] = [
    # argument, what is called with it, what is refused
    ("ndim", lambda v: Hypergrid(v, 4), [*NOT_WHOLE, 0, -1]),
    ("height", lambda v: Hypergrid(2, v), [*NOT_WHOLE, 1, 2**31, 2**40]),
    ("reward_exponent", lambda v: Hypergrid(2, 4, reward_exponent=v), [*NOT_REAL, 0, -1, NAN, INF]),
    ("render_axes", lambda v: Hypergrid(2, 4, render_axes=v), [(0, 0), (0, 2), 3, None]),
    ("reward", lambda v: Hypergrid(2, 4, v), ["soft", None, 3]),
    ("n", lambda v: BitSequence(v, 8), [*NOT_WHOLE, 0]),
    ("k", lambda v: BitSequence(120, v), [*NOT_WHOLE, 0, 7, 15]),
    ("n_modes", lambda v: BitSequence(8, 8, n_modes=v), [*NOT_WHOLE, 0]),
    ("mode_threshold", lambda v: BitSequence(8, 8, mode_threshold=v), ["far", 1.5, -1]),
    ("seed", lambda v: BitSequence(8, 8, seed=v), [*NOT_WHOLE, -1, 2**32]),
    ("seed", lambda v: flipped_modes(BitSequence(8, 8), v), [*NOT_WHOLE, -1, 2**32]),
    ("modes", lambda v: BitSequence(8, 8, modes=v), ["01", [], ["012"], [3]]),
    ("max_blocks", lambda v: Molecule(max_blocks=v), [*NOT_WHOLE, 0, 100]),
    ("min_blocks", lambda v: Molecule(min_blocks=v), [*NOT_WHOLE, 0, 100]),
    ("reward_exponent", lambda v: Molecule(reward_exponent=v), ["much", True, 0, NAN]),
    ("reward", lambda v: Molecule(reward=v), ["soft", None, 3]),
    ("blocks", lambda v: Molecule(v), [[], [["C"]], [["C", [5]]], [["?", [0]]], 3]),
    ("num_envs", lambda v: GFNVectorEnv(GRID, v), [*NOT_WHOLE, 0, -1]),
    ("invalid_action", lambda v: GFNEnv(GRID, invalid_action=v), ["stop", None, True]),
    ("invalid_reward", lambda v: GFNEnv(GRID, invalid_reward=v), ["low", True, NAN, -INF, 1j]),
    ("observation", lambda v: GFNEnv(GRID, observation=v), ["pixels", None, 3]),
    ("render_mode", lambda v: GFNEnv(GRID, render_mode=v), ["human", 3]),
    ("backward_policy", lambda v: GFNEnv(GRID, backward_policy=v), ["uniform", 3]),
    ("dag", GFNEnv, ["HypergridGFN-v0", Hypergrid, None]),
    ("dag", GFNVectorEnv, ["HypergridGFN-v0", Hypergrid, None]),
    ("dag", MDP, [GFNEnv(GRID), None]),
    ("dag", lambda v: evaluate_exact(v, UNIFORM), [GFNEnv(GRID), Hypergrid, None]),
    ("dag", lambda v: sample(v, UNIFORM, 3), [GFNEnv(GRID), Hypergrid, None]),
    ("dag", solve, [GFNVectorEnv(GRID, 2), "HypergridGFN-v0"]),
    ("policy", lambda v: evaluate_exact(GRID, v), [None, "uniform", np.ones(3)]),
    ("policy", lambda v: sample(GRID, v, 3), [None, "uniform", Hypergrid]),
    ("max_states", lambda v: evaluate_exact(GRID, UNIFORM, v), [*NOT_WHOLE, 0]),
    ("n", lambda v: sample(GRID, UNIFORM, v), [*NOT_WHOLE, 0]),
    ("batch_size", lambda v: sample(GRID, UNIFORM, 3, batch_size=v), [*NOT_WHOLE, 0]),
    ("seed", lambda v: sample(GRID, UNIFORM, 3, v), ["a", True, 1.5, -1]),
    ("seed", lambda v: sample_backward(GRID, UNIFORM, CELLS, v), ["a", -1]),
    ("objects", lambda v: sample_backward(GRID, UNIFORM, v), [[], [1, 2], [[0.5, 1]]]),
    ("n_samples", lambda v: log_likelihood(GRID, UNIFORM, CELLS, v), [*NOT_WHOLE, 1]),
    ("max_ancestors", lambda v: log_likelihood(GRID, UNIFORM, CELLS, 9, v), [*NOT_WHOLE, -1]),
    ("window", lambda v: EmpiricalDistribution(GRID, v), [*NOT_WHOLE, 0]),
    ("window", lambda v: perfect_sampler_floor(GRID, v), [*NOT_WHOLE, 0]),
    ("k", lambda v: top_k(CELLS, [0.0, 1.0], v), [*NOT_WHOLE, 0]),
    ("log_reward", lambda v: top_k(CELLS, v, 1), [[0.0, NAN], [0.0], 3.0]),
]
ROWS = [
    pytest.param(name, call, value, id=f"{place}-{name}-{value!r:.30}")
    for place, (name, call, values) in enumerate(TABLE)
    for value in values
]


@pytest.mark.parametrize(("name", "call", "value"), ROWS)
def test_the_error_names_the_argument(name: str, call: Callable[[Any], Any], value: Any) -> None:
    """A TypeError or a ValueError, in words of our own."""
    with pytest.raises((TypeError, ValueError), match=rf"(?<!\w){name}\b") as caught:
        call(value)
    foreign = ("not supported between", "unexpected keyword", "object is not", "unhashable")
    assert not any(words in str(caught.value) for words in foreign)


@pytest.mark.parametrize("values", [NOT_WHOLE])
def test_a_wrong_type_is_a_type_error(values: list[Any]) -> None:
    for value in values:
        with pytest.raises(TypeError):
            Hypergrid(value, 4)
    with pytest.raises(ValueError) as caught:
        Hypergrid(0, 4)
    assert not isinstance(caught.value, TypeError)


@pytest.mark.parametrize("count", [0, "two", 1.5])
def test_make_vec_names_num_envs(count: Any) -> None:
    with pytest.raises(ValueError, match=r"num_envs=.* must be an integer of at least 1"):
        gymnasium.make_vec("HypergridGFN-v0", count, vectorization_mode="vector_entry_point")
