"""check_dag: what every DAG must satisfy, for users' own as well."""

from __future__ import annotations

import numpy as np

from gfn_gym.contract import DAGError as DAGError
from gfn_gym.contract import check_mask, check_members, check_reward_again
from gfn_gym.dag import DAG, Actions, Mask, States, check_numbers
from gfn_gym.edges import Edges
from gfn_gym.graph import Graph, batches, enumerate_graph
from gfn_gym.mdp import log_reward_of
from gfn_gym.ragged import ragged_ranges


def check_dag(dag: DAG, max_states: int = 100_000) -> None:
    """Explore a DAG from s0 and verify the whole contract of :class:`gfn_gym.DAG`.

    It is to a DAG what ``check_env`` is to an environment. Checked are shapes and dtypes; that
    masks agree with ``step``; that backward undoes forward, and forward backward; that every
    backward trajectory ends at s0; that there is no cycle; that rows are canonical (the two
    directions meet in the same rows); that nothing writes into the rows that it is given; that
    P_B sums to one over the edges into each state; that ``parallel_candidates`` leaves out none;
    that arrays are fresh at every call; that log R is finite, and a function of the state alone,
    and ``log_partition`` log Σ R where it is given; that a potential, where there is one, is finite
    and the same for the same state; that no trajectory is longer than ``max_trajectory_length``;
    that observations lie in their space and,
    unless ``states_of`` is left out (NotImplementedError: they lose information), give their
    states back, and that ``other_observations`` lie in theirs.

    Args:
        dag: a DAG at a small size.
        max_states: refuse larger ones.

    Raises:
        DAGError: the contract is broken; the message names the member and a state.
        ValueError: the DAG has more than ``max_states`` states: check it at a smaller size.
    """
    check_members(dag)
    try:
        graph = enumerate_graph(dag, max_states)
    except ValueError as error:
        if "max_states" in str(error) or isinstance(error, DAGError):
            raise
        raise DAGError(str(error)) from error
    _check_purity(graph)
    for part in batches(len(graph.parents), 4096):
        _check_edges(graph, part)
    for part in batches(len(graph.states), 4096):
        _check_states(graph, graph.states[part])
    _check_backward_sums(graph)
    _check_parallel_candidates(graph)
    try:
        _check_rewards(graph)
    except DAGError:
        raise
    except ValueError as error:
        raise DAGError(str(error)) from error
    _check_log_partition(graph)
    _check_potential(graph)
    _check_trajectory_length(graph)


def _require(good: Mask | np.bool_, states: States, what: str) -> None:
    """Raise a DAGError that names the first of the rows (n,) that is not good."""
    if not np.all(good):
        bad = int(np.argmin(good))
        raise DAGError(f"{what} (first at state {states[bad].tolist()})")


def _same(a: States, b: States) -> Mask:
    return np.asarray((a == b).all(axis=1))


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
    for name, other in dag.other_observations().items():
        seen = np.array([o in other.space for o in other.observe(states[:256])])
        _require(seen, states, f"the observation {name!r} does not lie in its space {other.space}")
    try:
        read_back = dag.states_of(observations)
    except NotImplementedError:
        return  # allowed: other libraries and evaluation only observe
    _require(_same(read_back, states), states, "states_of(observe(state)) is not the state")


def _check_rewards(graph: Graph) -> None:
    """log R is finite, and the same once more, in the other order, and one by one."""
    dag, objects = graph.dag, graph.states[graph.objects]
    log_reward = log_reward_of(dag, objects.copy())
    check_reward_again(dag, objects, log_reward)
    check_reward_again(dag, objects[::-1], log_reward[::-1])
    for row in range(0, len(objects), max(1, len(objects) // 16)):
        check_reward_again(dag, objects[row : row + 1], log_reward[row : row + 1])


def _check_parallel_candidates(graph: Graph) -> None:
    """Among an edge's candidates are all actions parallel to it, itself as well, all legal."""
    pairs = graph.parents * len(graph.states) + graph.children
    order = np.argsort(pairs, kind="stable")
    first = np.searchsorted(pairs[order], pairs, side="left")
    last = np.searchsorted(pairs[order], pairs, side="right")
    for part in batches(len(pairs), 4096):
        edges = graph.edges(part)
        candidates = graph.dag.parallel_candidates(edges.states, edges.actions)
        check_mask("parallel_candidates", candidates, (len(edges), graph.dag.n_actions))
        _require(
            (candidates <= graph.dag.action_mask(edges.states)).all(axis=1),
            edges.states,
            "parallel_candidates holds an illegal action",
        )
        rows, places = ragged_ranges(first[part], (last - first)[part])
        _require(
            candidates[rows, graph.actions[order[places]]],
            edges.states[rows],
            "parallel_candidates leaves out an action that leads to the same next state",
        )


def _check_log_partition(graph: Graph) -> None:
    given, summed = graph.dag.log_partition(), graph.log_partition()
    if given is not None and not np.isclose(given, summed, rtol=0, atol=1e-6):
        raise DAGError(f"log_partition() is {given}, but log Σ R over all objects is {summed}")


def _check_potential(graph: Graph) -> None:
    """One finite number a state, whatever is asked beside it."""
    dag, states = graph.dag, graph.states
    if not dag.has_potential:
        return
    try:
        together = check_numbers(dag.potential(states), states, dag, "the potential")
        backwards = check_numbers(dag.potential(states[::-1]), states, dag, "the potential")[::-1]
        alone = check_numbers(dag.potential(states[-1:]), states[-1:], dag, "the potential")
    except ValueError as error:
        raise DAGError(str(error)) from error
    same = np.isclose(together, backwards, rtol=1e-9, atol=1e-9)
    same[-1] &= np.isclose(together[-1], alone[0], rtol=1e-9, atol=1e-9)
    _require(same, states, "potential must return the same for the same state")


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
