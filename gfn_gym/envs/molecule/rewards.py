"""Rewards of molecules: batched functions of canonical rows to log R."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rdkit import Chem, RDConfig

from gfn_gym.arguments import number
from gfn_gym.dag import Floats, States, check_log_reward
from gfn_gym.envs.molecule.assemble import Assembler
from gfn_gym.envs.molecule.drug_likeness import drug_likeness
from gfn_gym.envs.molecule.vocabulary import Vocabulary
from gfn_gym.rewards import CACHE_SIZE, Cache, StringReward

StateFunction = Callable[[States], Any]
"""Rows (n, d) → log R, (n,)."""


class SmilesReward(StringReward):
    """A function of a list of canonical SMILES to log R, which may be slow or fail.

    What it takes and does is :class:`gfn_gym.rewards.string_reward.StringReward`'s.
    """

    objects, things = "SMILES", "molecules"


def make_reward(
    reward: str | SmilesReward | StateFunction,
    vocabulary: Vocabulary,
    max_blocks: int,
    exponent: float | None = None,
    cache_size: int = CACHE_SIZE,
) -> Reward:
    """Return a reward of rows, bound to a vocabulary.

    Args:
        reward: "qed_sa"; "seh"; a :class:`SmilesReward` around a function of a list of SMILES; or
            a function of rows (n, d) to log R (n,).
        vocabulary: that the rows speak of.
        max_blocks: that they have room for.
        exponent: β, by which log R is multiplied; by default 4 for "qed_sa", 10 for "seh", 1 for
            functions.
        cache_size: values remembered; a SmilesReward has its own.

    Raises:
        ValueError: an unknown name or a bad number.
        TypeError: no name, SmilesReward or function.
    """
    if isinstance(reward, str):
        if reward not in NAMED:
            raise ValueError(
                f"reward={reward!r} must be one of {sorted(NAMED)}, a SmilesReward, or a function "
                "of states to log R"
            )
        kind = NAMED[reward]
        beta = (
            kind.default_exponent
            if exponent is None
            else number("reward_exponent", exponent, above=0)
        )
        return kind(Assembler(vocabulary, max_blocks), beta, cache_size)
    beta = 1.0 if exponent is None else number("reward_exponent", exponent, above=0)
    if isinstance(reward, SmilesReward):
        if _declares(reward.function) == "states":
            raise TypeError(
                f"{reward.function!r} takes states, by its parameter, but a SmilesReward calls it "
                "with a list of SMILES: pass the function itself as reward="
            )
        return OfSmiles(Assembler(vocabulary, max_blocks), reward, beta)
    if not callable(reward):
        raise TypeError(
            f"reward={reward!r} must be a name, a SmilesReward, or a function of states to log R"
        )
    if _declares(reward) == "SMILES":
        raise _takes_smiles(reward, "and takes them, by its parameter")
    return OfStates(reward, Assembler(vocabulary, max_blocks), beta, cache_size)


def log_power(scores: ArrayLike, exponent: float, least: float) -> Floats:
    """Return exponent·log max(score, least): log R of R = score^β with a floor; NaN stays NaN."""
    return exponent * np.log(np.maximum(np.asarray(scores, dtype=np.float64), least))


class Reward(ABC):
    """log R of rows; what it is made of, the *score*, is cached per canonical row.

    Attributes:
        exponent: β.
    """

    default_exponent = 1.0

    def __init__(self, exponent: float, cache_size: int = CACHE_SIZE):
        self.exponent = exponent
        self._cache: Cache[bytes] = Cache(cache_size)

    def __call__(self, states: States) -> Floats:
        """Return log R of rows (n, d), float64 (n,)."""
        return self.log_reward(self.scores(states))

    def scores(self, states: States) -> Floats:
        """Return the score of rows (n, d), float64 (n,): what chemists read."""
        rows = np.ascontiguousarray(states, dtype=np.int16)  # blocks and counts are small
        keys = [row.tobytes() for row in rows]
        return self._cache.values_of(keys, lambda unknown: self._scores(states[unknown]))

    def log_reward(self, scores: Floats) -> Floats:
        """Return log R of scores, float64 (n,)."""
        return self.exponent * scores

    def least_log_reward(self) -> float | None:
        """Return what no log R lies below; None: not known."""
        return None

    @abstractmethod
    def _scores(self, states: States) -> Floats:
        """The score of rows that are not in the cache."""

    def _settings(self) -> tuple[Any, ...]:
        return (self.exponent,)

    def __eq__(self, other: object) -> bool:
        """Made alike, whatever the vocabulary; environments of one VecEnv must be."""
        return type(self) is type(other) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self), self._settings()))


class QedSa(Reward):
    """R = (QED·(10 − SA)/9)^β, floored at 1e-4 before the power; the score is what is in brackets.

    QED is the drug-likeness of Bickerton et al. (2012, doi:10.1038/nchem.1243), from 0 to 1; SA
    the synthetic accessibility of Ertl and Schuffenhauer (2009, doi:10.1186/1758-2946-1-8), from
    1, easy, to 10.

    Args:
        assembler: makes molecules of rows.
        exponent: β.
        cache_size: scores remembered.
    """

    default_exponent = 4.0
    least = 1e-4

    def __init__(self, assembler: Assembler, exponent: float = 4.0, cache_size: int = CACHE_SIZE):
        super().__init__(exponent, cache_size)
        self.assembler = assembler
        synthetic_accessibility()  # where it is absent, this shows here, not in training

    def log_reward(self, scores: Floats) -> Floats:
        return log_power(scores, self.exponent, self.least)

    def least_log_reward(self) -> float:
        return self.exponent * math.log(self.least)

    def _scores(self, states: States) -> Floats:
        accessibility = synthetic_accessibility()
        molecules = self.assembler.molecules(states)
        return np.array([drug_likeness(m) * (10 - accessibility(m)) / 9 for m in molecules])


class Seh(Reward):
    """R = (max(proxy, 0.1)/8)^β of the sEH proxy, the score: Bengio et al. (2021).

    The proxy, arXiv:2106.04399, sees the molecule and which atoms have open stems; where none is
    open, atom 0 of node 0 is flagged (see :meth:`Assembler.flagged_atoms`). Needs torch.

    Args:
        assembler: makes molecules of rows.
        exponent: β; the paper has 4, 8, 10 and 16.
        cache_size: scores remembered.
        dtype: of the arithmetic, "float32" or "float64".
    """

    default_exponent = 10.0
    least, norm = 0.1, 8.0

    def __init__(
        self,
        assembler: Assembler,
        exponent: float = 10.0,
        cache_size: int = CACHE_SIZE,
        dtype: str = "float32",
    ):
        super().__init__(exponent, cache_size)
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype={dtype!r} must be 'float32' or 'float64'")
        self.assembler, self.dtype = assembler, dtype
        _proxy(dtype)  # a file that is missing shows here, not in training

    def log_reward(self, scores: Floats) -> Floats:
        return log_power(scores / self.norm, self.exponent, self.least / self.norm)

    def least_log_reward(self) -> float:
        return self.exponent * math.log(self.least / self.norm)

    def _scores(self, states: States) -> Floats:
        molecules = self.assembler.molecules(states, rings=False)
        return _proxy(self.dtype)(molecules, self.assembler.flagged_atoms(states))

    def _settings(self) -> tuple[Any, ...]:
        return self.exponent, self.dtype


class OfStates(Reward):
    """A function of rows (n, d) to log R (n,), each row asked for once.

    Raises:
        TypeError: it is one of SMILES.
        ValueError: it returned another shape, NaN or an infinity.
    """

    def __init__(
        self,
        function: StateFunction,
        assembler: Assembler,
        exponent: float = 1.0,
        cache_size: int = CACHE_SIZE,
    ):
        super().__init__(exponent, cache_size)
        self.function, self.assembler = function, assembler
        self._compared = False  # with what it returns for SMILES

    def _scores(self, states: States) -> Floats:
        try:
            log_reward = self.function(states)
        except Exception as error:
            if not _wants_smiles(self.function):
                raise
            raised = f"and raised {type(error).__name__}: {error}"
            raise _takes_smiles(self.function, raised) from error
        values = check_log_reward(log_reward, states, "the reward function")
        if not self._compared and len(states) > 1:
            self._compared = True
            self._compare(states, values)
        return values

    def _compare(self, states: States, values: Floats) -> None:
        """Refuse a function that cannot tell distinct states (n, d), but can tell their SMILES."""
        if (values != values[0]).any():
            return
        try:
            of_smiles = np.asarray(self.function(self.assembler.smiles(states)), dtype=np.float64)  # type: ignore[arg-type]
        except Exception:
            return
        if of_smiles.shape == values.shape and (of_smiles != of_smiles[0]).any():
            same = f"and returned {values[0]:g} for all of {len(states)}, but not for their SMILES"
            raise _takes_smiles(self.function, same)

    def _settings(self) -> tuple[Any, ...]:
        return self.exponent, self.function


def _takes_smiles(function: Any, why: str) -> TypeError:
    return TypeError(
        f"reward={function!r} is called with states, integers (n, d), {why}. It takes SMILES: "
        "pass SmilesReward(function) (gfn_gym.envs.molecule.resilient)"
    )


def _declares(function: Any) -> str | None:
    """What a function's first parameter says that it takes: "SMILES", "states", or None."""
    try:
        parameter = next(iter(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError, StopIteration):  # it has no signature that Python knows
        return None
    name, annotation = parameter.name.lower(), str(parameter.annotation)
    if "smi" in name or re.search(r"\bstr\b", annotation):
        return "SMILES"
    if name in ("state", "states", "rows") or re.search(r"ndarray|NDArray|States", annotation):
        return "states"
    return None


def _wants_smiles(function: StateFunction) -> bool:
    """Whether a function, which does not understand states, understands a SMILES or a list."""
    for argument in (["C", "CC"], "CC"):
        try:
            function(argument)  # type: ignore[arg-type]
        except Exception:
            continue
        return True
    return False


class OfSmiles(Reward):
    """A :class:`SmilesReward` as a reward of rows, cached by SMILES."""

    def __init__(self, assembler: Assembler, function: SmilesReward, exponent: float = 1.0):
        super().__init__(exponent, cache_size=0)
        self.assembler, self.function = assembler, function

    @property
    def failures(self) -> Counter[str]:
        """How many molecules failed, by kind; ``function.failed`` names them."""
        return self.function.failures

    def scores(self, states: States) -> Floats:
        """Return what the function returned, float64 (n,)."""
        return self._scores(states)

    def _scores(self, states: States) -> Floats:
        return self.function(self.assembler.smiles(states))

    def _settings(self) -> tuple[Any, ...]:
        return self.exponent, self.function


NAMED: dict[str, type[QedSa] | type[Seh]] = {"qed_sa": QedSa, "seh": Seh}


@lru_cache(maxsize=1)
def synthetic_accessibility() -> Callable[[Chem.Mol], float]:
    """Return the function of a molecule to its SA score, 1 to 10, that RDKit's wheel brings.

    Raises:
        ImportError: this RDKit has no Contrib folder.
    """
    path = Path(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    if not path.is_file():
        raise ImportError(
            f"reward='qed_sa' needs RDKit's SA score, which is not at {path}: install the rdkit "
            "wheel (pip install rdkit), or choose another reward"
        )
    spec = importlib.util.spec_from_file_location("gfn_gym_sascorer", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score: Callable[[Chem.Mol], float] = module.calculateScore
    return score


@lru_cache(maxsize=2)
def _proxy(dtype: str) -> Any:
    """The proxy, read once a process; pickled rewards hold none of its weights."""
    import torch  # only those who ask for this reward need it

    from gfn_gym.envs.molecule.downloads import proxy_weights
    from gfn_gym.envs.molecule.seh import Proxy

    return Proxy(proxy_weights(), getattr(torch, dtype))
