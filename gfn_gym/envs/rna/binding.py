"""RNA that binds: short words against long targets, a benchmark of sequence design."""

from __future__ import annotations

from collections.abc import Sequence as Many

from gfn_gym.arguments import whole
from gfn_gym.envs.rna.duplex import DuplexRatio, read_targets
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.envs.sequence.rewards import Landscape
from gfn_gym.rewards import CACHE_SIZE


class RNABinding(Sequence):
    """Words of ``length`` bases, rewarded by how well they bind to one or several targets.

    ## Description
    The words of :class:`gfn_gym.envs.sequence.dag.Sequence` over ACGU, with the landscapes of
    FLEXS (Sinai et al. 2020, arXiv:2010.02141): RNA1, RNA2 and RNA3 with words of 14 bases are
    the literature's L14_RNA1 to L14_RNA3. Rows are int16 (n, length).

    ## Action Space
    That of ``Sequence`` in the order chosen; by default action position·4 + base, the bases in the
    order A, C, G, U.

    ## Observation Space
    ``Box(0, 1, (length·5,), float32)``; ``observation="state"`` gives
    ``MultiDiscrete([5] * length)``.

    ## Rewards
    A step earns log P_B as with ``Sequence``; the last one also log R(x) =
    reward_exponent·log(max(s(x), floor)), where the score s is the mean over the targets t of
    E(t, x) / (E(t, reverse complement of t)·length/\\|t\\|), E the energy of ``RNA.duplexfold``.

    ## Starting State
    The empty word.

    ## Episode End
    The base that completes the word terminates the episode; nothing truncates it.

    ## Arguments
    - ``targets="RNA1"``: a name, a sequence of ACGU, or a list of them.
    - ``length=14``: of the words.
    - ``order="any"``: or "append" or "both_ends".
    - ``reward_exponent=8.0``: β, finite and positive.
    - ``floor=0.01``: of the score, before the power; words that do not bind have it.
    - ``workers=0``: processes that compute scores; 0 is this one.
    - ``cache_size=1_000_000``: scores remembered.

    ## Version History
    - v0: initial version.

    Attributes:
        targets: the names and sequences given, a tuple.
    """

    def __init__(
        self,
        targets: str | Many[str] = "RNA1",
        length: int = 14,
        order: str = "any",
        reward_exponent: float = Landscape.default_exponent,
        floor: float = Landscape.default_floor,
        workers: int = 0,
        cache_size: int = CACHE_SIZE,
    ):
        self.targets = read_targets(targets)
        scores = DuplexRatio(self.targets, whole("length", length, least=1))
        super().__init__(
            "ACGU",
            length=length,
            order=order,
            reward=Landscape(scores, workers=workers, cache_size=cache_size),
            reward_exponent=reward_exponent,
            floor=floor,
        )

    def __repr__(self) -> str:
        return f"RNABinding(targets={self.targets}, length={self.max_length}, order={self.order!r})"
