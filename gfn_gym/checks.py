"""check_dag: what every DAG must satisfy, for users' own as well."""

from __future__ import annotations

import numpy as np

from gfn_gym.dag import DAG, Actions, Mask, States
from gfn_gym.edges import Edges
from gfn_gym.graph import Graph, batches, enumerate_graph
from gfn_gym.mdp import log_reward_of


class DAGError(AssertionError):
    """A DAG breaks the contract; the message says which part, and where."""


def check_dag(dag: DAG, max_states: int = 100_000) -> None:
    """Explore a DAG from s0 and verify the whole contract of :class:`gfn_gym.DAG`.

    It is to a DAG what ``check_env`` is to an environment. Checked are shapes and dtypes; that
    masks agree with ``step``; that backward undoes forward, and forward backward; that every
    backward trajectory ends at s0; that there is no cycle; that rows are canonical (the two
    directions meet in the same rows); that nothing writes into the rows that it is given; that
    P_B sums to one over the edges into each state; that log R is finite, and ``log_partition``
    log Σ R where it is given; that no trajectory is longer than ``max_trajectory_length``; that
    observations lie in their space and, unless ``states_of`` is left out (NotImplementedError:
    they lose information), give their states back.

    Args:
        dag: a DAG at a small size.
        max_states: refuse larger ones.

    Raises:
        DAGError: the contract is broken; the message names the member and a state.
        ValueError: the DAG has more than ``max_states`` states: check it at a smaller size.
    """
    _check_declaration(dag)
    try:
        graph = enumerate_graph(dag, max_states)
    except ValueError as error:
        if "max_states" in str(error):
            raise
        raise DAGError(str(error)) from error
    _check_purity(graph)
    for part in batches(len(graph.parents), 4096):
        _check_edges(graph, part)
    for part in batches(len(graph.states), 4096):
        _check_states(graph, graph.states[part])
    _check_backward_sums(graph)
    try:
        log_reward_of(dag, graph.states[graph.objects])
    except ValueError as error:
        raise DAGError(str(error)) from error
    _check_log_partition(graph)
    _check_trajectory_length(graph)


def _require(good: Mask | np.bool_, states: States, what: str) -> None:
    """Raise a DAGError that names the first of the rows (n,) that is not good."""
    if not np.all(good):
        bad = int(np.argmin(good))
        raise DAGError(f"{what} (first at state {states[bad].tolist()})")


def _same(a: States, b: States) -> Mask:
    return np.asarray((a == b).all(axis=1))


def _check_declaration(dag: DAG) -> None:
    start = np.asarray(dag.initial_states(3))
    if start.ndim != 2 or len(start) != 3 or not np.issubdtype(start.dtype, np.integer):
        raise DAGError(
            f"initial_states(3) must be integers (3, d), not {start.dtype} {start.shape}"
        )
    if not (start == start[0]).all():
        raise DAGError("initial_states must return the same state n times")
    if start[0] not in dag.state_space:
        raise DAGError(f"s0 = {start[0].tolist()} is not in state_space = {dag.state_space}")
    for name, mask, width in (
        ("action_mask", dag.action_mask(start), dag.n_actions),
        ("backward_mask", dag.backward_mask(start), dag.n_backward_actions),
    ):
        if mask.shape != (3, width) or mask.dtype != bool:
            raise DAGError(f"{name} must be bool (3, {width}), not {mask.dtype} {mask.shape}")
    if dag.backward_mask(start).any():
        raise DAGError("backward_mask must be False everywhere in s0, which has no parent")
    if not dag.action_mask(start).any():
        raise DAGError("action_mask allows nothing in s0")
    if dag.stop_action is not None and not 0 <= dag.stop_action < dag.n_actions:
        raise DAGError(f"stop_action={dag.stop_action} is not an action below {dag.n_actions}")


def _check_purity(graph: Graph) -> None:
    """A step that writes into the rows it is given would falsify all the other checks."""
    dag, some = graph.dag, slice(4096)
    actions = graph.actions[some]
    states, nexts = graph.states[graph.parents[some]], graph.states[graph.children[some]]
    given = states.copy()
    dag.step(given, actions)
    _require(_same(given, states), states, "step must not change the states it is given")
    undo = dag.backward_action(states, actions)
    given = nexts.copy()
    dag.backward_step(given, undo)
    _require(_same(given, nexts), nexts, "backward_step must not change the states it is given")
    edges = Edges(states.copy(), actions.copy(), nexts.copy())
    for hook in (dag.n_parallel, dag.backward_group, dag.log_uniform_backward):
        with np.errstate(all="ignore"):  # wrong masks are found out below
            hook(edges)
        kept = _same(edges.states, states) & _same(edges.next_states, nexts)
        kept &= edges.actions == actions
        _require(kept, states, f"{hook.__name__} must not change the edges it is given")


def _check_states(graph: Graph, states: States) -> None:
    dag = graph.dag
    inside = np.array([state in dag.state_space for state in states])
    _require(inside, states, "a state lies outside state_space")
    _check_observations(dag, states)
    mask, backward = dag.action_mask(states), dag.backward_mask(states)
    initial = _same(states, dag.initial_states(len(states)))
    _require(backward.any(axis=1) | initial, states, "no backward action, though it is not s0")
    if dag.stop_action is not None:
        _require(mask.any(axis=1), states, "no legal action, not even the stop action")
        _check_stop(dag, states[mask[:, dag.stop_action]])
    rows, undo = np.nonzero(backward)
    if len(rows):
        _check_backward_steps(graph, states[rows], undo)


def _check_observations(dag: DAG, states: States) -> None:
    observations, space = dag.observe(states), dag.observation_space
    seen = np.array([o in space for o in observations])
    _require(seen, states, f"the observation does not lie in observation_space = {space}")
    try:
        read_back = dag.states_of(observations)
    except NotImplementedError:
        return  # allowed: other libraries and evaluation only observe
    _require(_same(read_back, states), states, "states_of(observe(state)) is not the state")


def _check_log_partition(graph: Graph) -> None:
    given, summed = graph.dag.log_partition(), graph.log_partition()
    if given is not None and not np.isclose(given, summed, rtol=0, atol=1e-6):
        raise DAGError(f"log_partition() is {given}, but log Σ R over all objects is {summed}")


def _check_trajectory_length(graph: Graph) -> None:
    given = graph.dag.max_trajectory_length()
    found = len(graph.layers) - 2 + (graph.dag.stop_action is not None)
    if given is not None and given < found:
        raise DAGError(
            f"max_trajectory_length() is {given}, but one trajectory has {found} actions"
        )


def _check_stop(dag: DAG, states: States) -> None:
    if len(states):
        stop = np.full(len(states), dag.stop_action)
        nexts, done = dag.step(states, stop)
        _require(
            done & _same(nexts, states), states, "the stop action must end it and change nothing"
        )


def _check_backward_steps(graph: Graph, states: States, undo: Actions) -> None:
    dag = graph.dag
    parents = dag.backward_step(states, undo)
    _require(
        graph.index_of(parents) >= 0,
        states,
        "backward_step leads to a state that no forward trajectory reaches",
    )
    _require(
        graph.index_of(parents) < graph.index_of(states),
        states,
        "backward_step does not lead towards s0",
    )
    redo = dag.forward_action(states, undo)
    legal = dag.action_mask(parents)[np.arange(len(parents)), redo]
    _require(legal, states, "forward_action is illegal in the parent")
    again, _ = dag.step(parents, redo)
    _require(_same(again, states), states, "forward_action does not lead from the parent back")
    group = dag.backward_group(Edges(parents, redo, states))[np.arange(len(undo)), undo]
    _require(group, states, "backward_group leaves out a backward action that leads to the parent")


def _check_edges(graph: Graph, part: slice) -> None:
    dag = graph.dag
    states, actions = graph.states[graph.parents[part]], graph.actions[part]
    nexts, done = dag.step(states, actions)
    if dag.stop_action is None:
        over = ~dag.action_mask(nexts).any(axis=1)
        _require(done == over, nexts, "step must say it is done exactly where nothing is legal")
    else:
        _require(~done, states, "only stop_action may end the construction")
    undo = dag.backward_action(states, actions)
    legal = dag.backward_mask(nexts)[np.arange(len(nexts)), undo]
    _require(legal, nexts, "backward_action is illegal in the next state")
    _require(
        _same(dag.backward_step(nexts, undo), states),
        states,
        "backward_action does not undo its action, or leads to a row that is not canonical",
    )
    edges = Edges(states, actions, nexts)
    group = dag.backward_group(edges)
    _require(
        (group <= dag.backward_mask(nexts)).all(axis=1),
        nexts,
        "backward_group holds an illegal action",
    )
    rows, members = np.nonzero(group)
    back = dag.backward_step(nexts[rows], members)
    _require(
        _same(back, states[rows]),
        nexts[rows],
        "backward_group holds an action that leads elsewhere",
    )
    uniform = dag.log_uniform_backward(edges)
    counted = DAG.log_uniform_backward(dag, edges)
    _require(
        np.isclose(uniform, counted, rtol=0, atol=1e-9),
        states,
        "log_uniform_backward is not what backward_mask, backward_group and n_parallel count",
    )


def _check_backward_sums(graph: Graph) -> None:
    """P_B over the edges into each state sums to one; else n_parallel or the groups are wrong."""
    total = np.bincount(graph.children, np.exp(graph.log_backward()), minlength=len(graph.states))
    _require(
        np.isclose(total[1:], 1.0, atol=1e-9),
        graph.states[1:],
        "P_B does not sum to one over the edges into a state: n_parallel or backward_group is "
        "wrong",
    )
    # The sum could be right by luck; count the parallel edges outright.
    pairs = graph.parents * len(graph.states) + graph.children
    _, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    for part in batches(len(pairs)):
        edges = graph.edges(part)
        declared = graph.dag.n_parallel(edges)
        _require(
            declared == counts[inverse[part]],
            edges.states,
            "n_parallel is not the number of parallel actions",
        )
