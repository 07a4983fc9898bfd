"""The edges into given states, for what is learnt from in-flows."""

from __future__ import annotations

import numpy as np

from gfn_gym.dag import DAG, Actions, States
from gfn_gym.evaluation.sampling import all_parallel
from gfn_gym.graph import Indices


def in_edges(dag: DAG, states: States) -> tuple[Indices, States, Actions]:
    """Return every construction edge into each of some states (n, d), parallel ones one by one.

    Where actions have no parallels this costs a backward step per parent; else those of the
    parents that have some are stepped by all their legal actions.

    Returns:
        For each edge: the row of the state it leads to, int64 (E,), its parent (E, d), and its
        action (E,).
    """
    rows, undo = np.nonzero(dag.backward_mask(states))
    parents = dag.backward_step(states[rows], undo)
    actions = np.asarray(dag.forward_action(states[rows], undo), dtype=np.int64)
    if type(dag).backward_group is not DAG.backward_group:
        # Several backward actions may lead to the same parent: it counts once.
        pairs = np.column_stack([rows, parents])
        _, pick = np.unique(pairs, axis=0, return_index=True)
        rows, parents, actions = rows[pick], parents[pick], actions[pick]
    edges, actions = all_parallel(dag, parents, actions, states[rows])
    return rows[edges], parents[edges], actions
