"""How far apart the modes of RNA1 are at length 8, as powers and exponentials of the score.

    python benchmarks/paper/binding_landscape.py

Over all 65,536 words: the effective number, exp of the entropy of R/Z; the probability of the best
word; the local optima, words that score more than all that differ in one base; and of those,
how many lie apart: whoever walks from one to a better one, base by base, has to cross a word of
which R is at most 1/e of the optimum's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from gfn_gym.dag import Floats
from gfn_gym.envs.rna.duplex import DuplexRatio
from gfn_gym.envs.sequence.rewards import Landscape

LENGTH = 8
EXPONENTS = (1, 4, 8, 12, 16)
KINDS: dict[str, Callable[[float, Floats], Floats]] = {
    "power": lambda beta, scores: beta * np.log(np.maximum(scores, Landscape.default_floor)),
    "exp": lambda beta, scores: beta * scores,
}


def neighbors(word: int) -> list[int]:
    """The words that differ in one base; words are numbers of LENGTH digits to the base 4."""
    found = []
    for place in range(LENGTH):
        digit = word >> 2 * place & 3
        found += [word + (other - digit << 2 * place) for other in range(4) if other != digit]
    return found


def optima_and_saddles(scores: Floats) -> tuple[list[int], list[float]]:
    """Local optima, best first, and each one's saddle: the least score on the best way to a better.

    Words are joined from the best down; where two hills meet, the lower one's way up begins. The
    best word of all has the least score there is as its saddle.
    """
    order = np.argsort(-scores, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    hill: dict[int, int] = {}  # word → one nearer to its hill's top

    def top(word: int) -> int:
        while hill[word] != word:
            hill[word] = hill[hill[word]]
            word = hill[word]
        return word

    saddles = {int(order[0]): float(scores.min())}
    for word in order.tolist():
        tops = {top(other) for other in neighbors(word) if other in hill}
        best = min(tops, key=lambda other: rank[other], default=word)
        hill[word] = best
        for lower in tops - {best}:
            saddles[lower] = float(scores[word])
            hill[lower] = best
    strict = [
        peak for peak in saddles if all(scores[other] < scores[peak] for other in neighbors(peak))
    ]
    optima = sorted(strict, key=lambda peak: rank[peak])
    return optima, [saddles[peak] for peak in optima]


def main() -> None:
    words = ["".join(letters) for letters in product("ACGU", repeat=LENGTH)]
    scores = DuplexRatio(("RNA1",), LENGTH)(words)
    optima, saddles = optima_and_saddles(scores)
    print(
        f"{len(optima)} local optima; the best: {', '.join(words[peak] for peak in optima[:10])}\n"
    )
    print("| | β | effective number | best word | optima apart |")
    print("| --- | --- | --- | --- | --- |")
    for kind, log_reward in KINDS.items():
        for beta in EXPONENTS:
            logs = log_reward(beta, scores)
            probabilities = np.exp(logs - np.logaddexp.reduce(logs))
            number = np.exp(-(probabilities * np.log(probabilities)).sum())
            depth = log_reward(beta, scores[optima]) - log_reward(beta, np.array(saddles))
            print(
                f"| {kind} | {beta} | {number:,.0f} | {probabilities.max():.2g} | "
                f"{int((depth >= 1).sum())} |"
            )


if __name__ == "__main__":
    main()
