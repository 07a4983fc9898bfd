"""The sEH proxy of Bengio et al. (2021), in plain torch: the one module here that needs it.

A message-passing network predicts how well a molecule binds soluble epoxide hydrolase (Flow
Network based Generative Models for Non-Iterative Diverse Candidate Generation, arXiv:2106.04399).
It sees a molecule and its *flagged* atoms, those with open stems. The weights are upstream's.

The network that makes a 64×64 matrix of each bond's features (Gilmer et al. 2017,
arXiv:1704.01212) sees one of four one-hot bond types, or zeros at the loop of a single atom: five
matrices, made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from rdkit import Chem
from torch.nn import functional as F

Array = NDArray[Any]

N_FEATURES = 71
N_STEPS = 12
N_READOUTS = 3
LOOP = 4
"""The bond type of the loop that a single atom gets."""

HYBRIDISATIONS = {
    int(Chem.HybridizationType.SP): 10,
    int(Chem.HybridizationType.SP2): 11,
    int(Chem.HybridizationType.SP3): 12,
}
BOND_ORDERS = (1.0, 2.0, 3.0, 1.5)
"""Of the bond types: single, double, triple, aromatic."""
ELEMENTS = {1: 0, 6: 1, 7: 2, 8: 3, 9: 4}
OTHER_ELEMENT = 5
AROMATIC, HYDROGENS, ATOMIC_NUMBER, FLAGGED = 9, 13, 13, 70
LAST_ELEMENT = FLAGGED - ATOMIC_NUMBER - 1  # barium; heavier ones have no column of their own


class Proxy:
    """The network with its weights.

    Args:
        weights: the 22 arrays of the published file, in its order.
        dtype: of the arithmetic, ``torch.float32`` or ``torch.float64``.
        batch_size: molecules at a time; larger ones fall out of the processor's cache.

    Raises:
        ValueError: these are not the published shapes.
    """

    def __init__(
        self,
        weights: Sequence[NDArray[np.float32]],
        dtype: th.dtype = th.float32,
        batch_size: int = 64,
    ):
        shapes = [array.shape for array in weights]
        if shapes != SHAPES:
            raise ValueError(f"weights of shapes {shapes} are not the sEH proxy's: {SHAPES}")
        tensors = [th.tensor(array, dtype=dtype) for array in weights]
        self.dtype, self.batch_size = dtype, batch_size
        self._lin0 = tensors[0:2]
        self._root, self._conv_bias = tensors[2].T.contiguous(), tensors[3]
        self._bond_matrices = _bond_matrices(*tensors[4:8])
        self._gru = GatedUnit(*tensors[8:12])
        self._lstm = th.nn.LSTMCell(128, 64, dtype=dtype)
        for parameter, value in zip(self._lstm.parameters(), tensors[16:20], strict=True):
            parameter.data = value
        self._lin3 = tensors[20:22]  # 12 to 15, a head per stem, play no part in the reward

    def __call__(
        self, molecules: Sequence[Chem.Mol], flagged: Sequence[Sequence[int]]
    ) -> NDArray[np.float64]:
        """Return the raw output of each of n molecules, float64 (n,).

        It depends on the company in the batch by the rounding of ``dtype``.

        Args:
            molecules: sanitised, without hydrogens of their own.
            flagged: of each the atoms with open stems.

        Raises:
            ValueError: a molecule without atoms, or with a bond of another kind than single,
                double, triple and aromatic.
        """
        # Sorted by size, those padded together in the readout are of about one size.
        sizes = [molecule.GetNumAtoms() for molecule in molecules]
        order = np.argsort(sizes, kind="stable")
        values = np.empty(len(molecules))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            graphs = Graphs([molecules[i] for i in rows], [flagged[i] for i in rows])
            with th.no_grad(), _full_precision():
                values[rows] = self._forward(graphs).numpy()
        return values

    def _forward(self, graphs: Graphs) -> th.Tensor:
        hidden = F.leaky_relu(F.linear(th.tensor(graphs.features, dtype=self.dtype), *self._lin0))
        bonds = [self._messages_along(kind, graphs) for kind in np.unique(graphs.kind)]
        for _ in range(N_STEPS):
            messages = th.addmm(self._conv_bias, hidden, self._root)
            for receivers, mean, matrix in bonds:
                messages.index_add_(0, receivers, mean(hidden) @ matrix)
            hidden = self._gru(F.leaky_relu(messages), hidden)
        return F.linear(self._read_out(hidden, graphs.sizes), *self._lin3).squeeze(1)

    def _messages_along(
        self, kind: int, graphs: Graphs
    ) -> tuple[th.Tensor, Callable[[th.Tensor], th.Tensor], th.Tensor]:
        """Of one bond type: the atoms that receive, the sum over their bonds, and the matrix.

        Each bond counts 1/(bonds of the receiver), of all types, so that all sums are the mean.
        """
        chosen = np.flatnonzero(graphs.kind == kind)
        chosen = chosen[np.argsort(graphs.receiver[chosen], kind="stable")]
        receivers, starts = np.unique(graphs.receiver[chosen], return_index=True)
        senders, bags = th.from_numpy(graphs.sender[chosen]), th.from_numpy(starts)
        shares = th.tensor(1.0 / graphs.degree[graphs.receiver[chosen]], dtype=self.dtype)

        def mean(hidden: th.Tensor) -> th.Tensor:
            return F.embedding_bag(senders, hidden, bags, mode="sum", per_sample_weights=shares)

        return th.from_numpy(receivers), mean, self._bond_matrices[kind]

    def _read_out(self, hidden: th.Tensor, sizes: NDArray[np.int64]) -> th.Tensor:
        """Set2Set (Vinyals et al. 2016, arXiv:1511.06391): atoms (m, 64) to molecules (n, 128)."""
        atoms = th.nn.utils.rnn.pad_sequence(
            list(th.split(hidden, sizes.tolist())), batch_first=True
        )
        there = th.arange(atoms.shape[1]) < th.from_numpy(sizes)[:, None]
        result = atoms.new_zeros(len(sizes), 128)
        state = (atoms.new_zeros(len(sizes), 64), atoms.new_zeros(len(sizes), 64))
        for _ in range(N_READOUTS):
            state = self._lstm(result, state)
            scores = th.einsum("nak,nk->na", atoms, state[0]).where(there, -th.inf)
            read = th.einsum("na,nak->nk", scores.softmax(dim=1), atoms)
            result = th.cat([state[0], read], dim=1)
        return result


@contextmanager
def _full_precision() -> Iterator[None]:
    """No shorter products of matrices, whatever the program asks torch for elsewhere."""
    precision = th.get_float32_matmul_precision()
    th.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        th.set_float32_matmul_precision(precision)


class GatedUnit:
    """The GRU cell of torch, at three quarters of its time: fewer copies, no slow tanh."""

    def __init__(self, w_ih: th.Tensor, w_hh: th.Tensor, b_ih: th.Tensor, b_hh: th.Tensor):
        n_gates = 2 * w_hh.shape[1]  # reset and update; then the new state's rows
        self._gates = th.cat([w_ih, w_hh], dim=1)[:n_gates].T.contiguous()
        self._gates_bias = (b_ih + b_hh)[:n_gates]
        # tanh(x) = 2·σ(2x) − 1, with the 2 put into the weights
        new = [2 * tensor[n_gates:] for tensor in (w_ih, w_hh, b_ih, b_hh)]
        self._input, self._state = new[0].T.contiguous(), new[1].T.contiguous()
        self._input_bias, self._state_bias = new[2:]

    def __call__(self, inputs: th.Tensor, state: th.Tensor) -> th.Tensor:
        """Return the next state (n, 64) of inputs and state (n, 64)."""
        both = th.cat([inputs, state], dim=1)
        reset, update = th.addmm(self._gates_bias, both, self._gates).sigmoid_().chunk(2, dim=1)
        from_input = th.addmm(self._input_bias, inputs, self._input)
        from_state = th.addmm(self._state_bias, state, self._state)
        new = th.addcmul(from_input, reset, from_state).sigmoid_().mul_(2).sub_(1)
        return th.lerp(new, state, update)


class Graphs:
    """A batch of molecules as arrays, m atoms and e directed bonds in all.

    Attributes:
        features: float32 (m, 71).
        sizes: int (n,), atoms of each molecule.
        sender, receiver: int (e,), the two atoms; each bond is there in both directions.
        kind: int (e,), the bond type, 0 to 3, or :data:`LOOP`.
        degree: int (m,), bonds that an atom receives by.
    """

    def __init__(self, molecules: Sequence[Chem.Mol], flagged: Sequence[Sequence[int]]):
        self.sizes = np.array([molecule.GetNumAtoms() for molecule in molecules])
        if not self.sizes.all():
            raise ValueError("a molecule without atoms has no proxy value")
        first = self.sizes.cumsum() - self.sizes
        self.features = _features(molecules)
        marks = [
            start + atom for start, own in zip(first.tolist(), flagged, strict=True) for atom in own
        ]
        self.features[marks, FLAGGED] = 1.0
        self._add_bonds(molecules, first.tolist())
        self.degree = np.bincount(self.receiver, minlength=len(self.features))

    def _add_bonds(self, molecules: Sequence[Chem.Mol], first: list[int]) -> None:
        sender, receiver, order = list[Array](), list[Array](), list[Array]()
        for start, molecule in zip(first, molecules, strict=True):
            # force: a matrix of another kind may lie in the molecule's cache
            orders = Chem.GetAdjacencyMatrix(molecule, useBO=True, force=True)
            one, other = orders.nonzero()
            sender.append(one + start)
            receiver.append(other + start)
            order.append(orders[one, other])
        kinds = np.concatenate(order)[:, None] == BOND_ORDERS
        if not kinds.any(axis=1).all():
            raise ValueError("the sEH proxy knows single, double, triple and aromatic bonds only")
        single = np.array(first)[self.sizes == 1]
        self.sender = np.concatenate([*sender, single])
        self.receiver = np.concatenate([*receiver, single])
        self.kind = np.concatenate([kinds.argmax(axis=1), np.full(len(single), LOOP)])


def _features(molecules: Sequence[Chem.Mol]) -> NDArray[np.float32]:
    """The atoms' features except the flag, (m, 71)."""
    atoms = [
        atom
        for molecule in molecules  # faster than GetAtoms(), as map is than calls one by one
        for atom in map(molecule.GetAtomWithIdx, range(molecule.GetNumAtoms()))
    ]

    def read(property_of: Callable[[Chem.Atom], int]) -> NDArray[np.int64]:
        return np.fromiter(map(property_of, atoms), np.int64, len(atoms))

    number, hybridisation = read(Chem.Atom.GetAtomicNum), read(Chem.Atom.GetHybridization)
    features = np.zeros((len(atoms), N_FEATURES), dtype=np.float32)
    rows = np.arange(len(atoms))
    features[rows, _COLUMN_OF_ELEMENT[number]] = 1.0
    features[:, AROMATIC] = read(Chem.Atom.GetIsAromatic)
    for kind, column in HYBRIDISATIONS.items():
        features[:, column] = hybridisation == kind
    features[:, HYDROGENS] = read(Chem.Atom.GetTotalNumHs)
    light = (number >= 1) & (number <= LAST_ELEMENT)
    features[rows[light], ATOMIC_NUMBER + number[light]] = 1.0
    return features


def _bond_matrices(w0: th.Tensor, b0: th.Tensor, w2: th.Tensor, b2: th.Tensor) -> th.Tensor:
    """The matrix by which a message is multiplied, of each bond type and of the loop."""
    kinds = th.cat([th.eye(4, dtype=w0.dtype), th.zeros(1, 4, dtype=w0.dtype)])
    return F.linear(F.leaky_relu(F.linear(kinds, w0, b0)), w2, b2).view(5, 64, 64)


_COLUMN_OF_ELEMENT = np.array([ELEMENTS.get(number, OTHER_ELEMENT) for number in range(120)])

SHAPES = [
    (64, 71), (64,),  # lin0
    (64, 64), (64,), (128, 4), (128,), (4096, 128), (4096,),  # conv: lin, bias, nn.0, nn.2
    (192, 64), (192, 64), (192,), (192,),  # gru
    (512, 64), (512,), (105, 512), (105,),  # lin1, lin2
    (256, 128), (256, 64), (256,), (256,),  # set2set.lstm
    (1, 128), (1,),  # lin3
]  # fmt: skip
