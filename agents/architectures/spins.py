"""A multi-layer perceptron for Ising models, which learns what their energy does not say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch as th
from torch import nn
from torch.nn import functional as F

from gfn_gym.dag import DAG
from gfn_gym.envs.ising import UNSET, Ising

from .mlp import MLP


class Spins(MLP):
    """ "SpinsPolicy": an MLP over the spins of an Ising model, beside what is known of them.

    Before any training a spin is set by the field of its set neighbors, β·(Σ_j C_ij·s_j + h_i),
    which is half of what the potential gains by setting it up rather than down; and a state's
    value counts every bond that is still open as if it were the only one:

        Σ_open bonds log cosh(β·C_ij) + Σ_unset sites log(2·cosh(β·h_i)) − log(ways to get here),

    which is log Z for spins in a line without field, and the beginning of a series in β elsewhere.
    What the layers add starts at 0. So train with ``potential="dag"``: without it values would have
    to learn Φ as well. In any order the site is drawn uniformly, as it must be where P_B is
    uniform.

    Two symmetries are built in where they hold: without a field all spins may be flipped, so they
    are read relative to the last one that is set; on a torus in raster order, with the same field
    everywhere, sites are read relative to the one that is set next, and what is learnt of one site
    holds for all.

    Args:
        dag: an Ising model.
        net_arch, activation_fn: as in :class:`MLP`.

    Raises:
        TypeError: the DAG is of another kind.
        ValueError: ``net_arch`` is empty, or holds a width below 1.
    """

    couplings: th.Tensor
    field: th.Tensor
    log_cosh: th.Tensor
    of_site: th.Tensor
    log_ways: th.Tensor
    around: th.Tensor

    def __init__(
        self,
        dag: DAG,
        net_arch: Sequence[int] = (256, 256),
        activation_fn: Callable[[], nn.Module] = nn.ReLU,
    ):
        if not isinstance(dag, Ising):
            raise TypeError(
                f"SpinsPolicy reads Ising models, but {dag!r} is something else: choose a policy "
                "made for it"
            )
        super().__init__(dag, net_arch, activation_fn)
        self.n_spins, raster = dag.n_spins, dag.order == "raster"
        self.has_field = bool(dag.field.any())
        couplings, field = th.as_tensor(dag.couplings), th.as_tensor(dag.field)
        ways = [0 if raster else math.comb(dag.n_spins, k) for k in range(dag.n_spins + 1)]
        # Then what is learnt of one site holds for all.
        self.same_everywhere = raster and dag.L is not None and bool((field == field[0]).all())
        constants = {
            "couplings": dag.beta * couplings,
            "field": dag.beta * field,
            "log_cosh": _log_cosh(dag.beta * couplings) / 2,  # each bond is there twice
            "of_site": _log_cosh(dag.beta * field) + math.log(2),
            "log_ways": th.as_tensor([math.log(max(1, way)) for way in ways]),
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant.float(), persistent=False)
        around = _around(dag.L) if self.same_everywhere and dag.L else th.empty(0)
        self.register_buffer("around", around, persistent=False)

    def encode(self, states: th.Tensor) -> EncodedSpins:  # type: ignore[override]
        """States int64 (n, N) → what the heads read."""
        is_set = states != UNSET
        spins = th.where(is_set, 2 * states - 1, 0)
        n_set = is_set.sum(dim=1)
        return EncodedSpins(
            hidden=super().encode(self._read(states, spins, n_set)),
            fields=spins.float() @ self.couplings + self.field,
            sign=self._sign(spins),
            value=self._value(is_set.float(), n_set),
        )

    def _read(self, states: th.Tensor, spins: th.Tensor, n_set: th.Tensor) -> th.Tensor:
        """The states as the layers see them, relative to a spin and to a site, (n, N)."""
        if not self.has_field:
            relative = spins * self._sign(spins).long()
            states = th.where(spins != 0, (relative + 1) // 2, states)
        if self.same_everywhere:
            states = states.gather(1, self.around[n_set.clamp(max=self.n_spins - 1)])
        return states

    def _sign(self, spins: th.Tensor) -> th.Tensor:
        """What to multiply fields by that were learnt relative to a spin, (n, 1)."""
        if self.has_field:
            return spins.new_ones(len(spins), 1, dtype=th.float32)
        sites = th.arange(self.n_spins, device=spins.device)
        last = (spins.abs() * sites).argmax(dim=1, keepdim=True)
        return spins.gather(1, last).float()  # 0 where none is set: up or down, it is the same

    def _value(self, is_set: th.Tensor, n_set: th.Tensor) -> th.Tensor:
        """What a state's value is before any training, (n, 1)."""
        both_set = ((is_set @ self.log_cosh) * is_set).sum(dim=1)
        sites = (1 - is_set) @ self.of_site
        return (self.log_cosh.sum() - both_set + sites - self.log_ways[n_set])[:, None]

    def make_forward_head(self) -> nn.Module:
        return FieldHead(self.width, 1 if self.same_everywhere else self.n_spins)

    def make_backward_head(self) -> nn.Module:
        return SiteHead(self.width, self.n_spins)

    def make_value_head(self) -> nn.Module:
        return ValueHead(self.width)


class EncodedSpins(NamedTuple):
    """n states of N spins.

    Attributes:
        hidden: (n, width), what the layers make of them.
        fields: (n, N), at each site, of its set neighbors.
        sign: (n, 1), −1 where the layers read all spins flipped.
        value: (n, 1), of the state.
    """

    hidden: th.Tensor
    fields: th.Tensor
    sign: th.Tensor
    value: th.Tensor


class FieldHead(nn.Module):
    """A number for each site and spin: log P(spin) in the site's field, and the state's value.

    Args:
        width: of what the layers make of a state.
        n_sites: how many sites have a field of their own to learn; 1: all have the same.
    """

    def __init__(self, width: int, n_sites: int):
        super().__init__()
        self.field, self.value = _from_zero(width, n_sites), ValueHead(width)

    def forward(self, encoding: EncodedSpins) -> th.Tensor:
        """(n, 2·N); action 2·site sets a spin down, the next one up."""
        fields = encoding.fields + encoding.sign * self.field(encoding.hidden)
        both = F.logsigmoid(2 * th.stack((-fields, fields), dim=2)).flatten(1)
        return both + cast(th.Tensor, self.value(encoding))


class ValueHead(nn.Module):
    """A number for each state."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = _from_zero(width, 1)

    def forward(self, encoding: EncodedSpins) -> th.Tensor:
        """(n, 1)."""
        return encoding.value + cast(th.Tensor, self.linear(encoding.hidden))


class SiteHead(nn.Module):
    """A number for each site whose spin may be taken back."""

    def __init__(self, width: int, n_sites: int):
        super().__init__()
        self.linear = nn.Linear(width, n_sites)

    def forward(self, encoding: EncodedSpins) -> th.Tensor:
        """(n, N)."""
        return cast(th.Tensor, self.linear(encoding.hidden))


def _log_cosh(x: th.Tensor) -> th.Tensor:
    """log cosh x, where cosh x would overflow as well."""
    return th.logaddexp(x, -x) - math.log(2)


def _from_zero(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that says 0 at first."""
    layer = nn.Linear(inputs, outputs)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _around(side: int) -> th.Tensor:
    """The sites of a torus as seen from each of them, itself first, int64 (N, N)."""
    sites = th.arange(side**2).view(side, side)
    seen = [sites.roll((-row, -column), (0, 1)) for row in range(side) for column in range(side)]
    return th.stack(seen).flatten(1)
