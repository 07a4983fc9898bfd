"""Small environments of words and of RNA, as the theorem's tests make them."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

import gymnasium
import pytest

WITHOUT_RNA = importlib.util.find_spec("RNA") is None
needs_rna = pytest.mark.skipif(WITHOUT_RNA, reason="ViennaRNA is missing: extra 'rna'")


def tilted_words(words: list[str]) -> list[float]:
    """A log R that tells all words apart, and which end is which."""
    return [
        sum(ord(c) % 7 * 0.3**i for i, c in enumerate(word)) - 0.2 * len(word) for word in words
    ]


def make(id: str, **kwargs: Any) -> Any:
    return gymnasium.make(id, observation="state", **kwargs)


WORDS = {
    "words, any": {"alphabet": "ACG", "length": 3},
    "words, append": {"alphabet": "ACG", "length": 3, "order": "append"},
    "words, both ends": {"alphabet": "AC", "length": 4, "order": "both_ends"},
    "words of 1 to 4, append": {"alphabet": "AC", "max_length": 4, "order": "append"},
    "words of 2 to 4, both ends": {
        "alphabet": ["AUG", "GCC"], "min_length": 2, "max_length": 4, "order": "both_ends",
    },
}  # fmt: skip
SEQUENCES = {
    **{
        name: partial(make, "SequenceGFN-v0", reward=tilted_words, **arguments)
        for name, arguments in WORDS.items()
    },
    "words, table": partial(
        make, "SequenceGFN-Terminate-v0", alphabet="AC", length=3, order="both_ends",
        reward={"AAA": 2.0, "CAC": 0.5}, scale="linear", default=0.1, reward_exponent=1.5,
    ),
    "words, uniform, append": partial(
        make, "SequenceGFN-v0", alphabet="AC", max_length=3, order="append"
    ),
}  # fmt: skip
if not WITHOUT_RNA:
    SEQUENCES |= {
        "RNA that binds": partial(make, "RNABindingGFN-v0", length=2, targets=["RNA1", "GGGAAACC"]),
        "RNA that binds, both ends": partial(
            make, "RNABindingGFN-v0", length=3, order="both_ends", reward_exponent=1.0
        ),
        "RNA that folds": partial(make, "RNAFoldGFN-v0", sequence="GGGAAAUCCC"),
        "RNA that folds, warm": partial(
            make, "RNAFoldGFN-Terminate-v0", sequence="GGAAACUAAGC", temperature=50.0,
            reward_exponent=0.5,
        ),
    }  # fmt: skip
