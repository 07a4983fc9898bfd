"""The old place of :mod:`gfn_gym.envs.molecule.metrics` and ``.test_set``."""

import warnings

from gfn_gym.envs.molecule.metrics import (
    SIMILAR,
    Molecules,
    TanimotoModes,
    distinct_molecules,
    diverse_molecules,
    diversity,
    scores_of,
    top_molecules,
)
from gfn_gym.envs.molecule.test_set import TestSet, paper_test_molecules

__all__ = [
    "SIMILAR",
    "Molecules",
    "TanimotoModes",
    "TestSet",
    "distinct_molecules",
    "diverse_molecules",
    "diversity",
    "paper_test_molecules",
    "scores_of",
    "top_molecules",
]

warnings.warn(
    "gfn_gym.evaluation.molecules has moved to gfn_gym.envs.molecule.metrics, and the test set to "
    "gfn_gym.envs.molecule.test_set",
    DeprecationWarning,
    stacklevel=2,
)
