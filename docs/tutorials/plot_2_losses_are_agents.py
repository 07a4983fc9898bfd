"""
Losses are agents
=================

*For readers who know GFlowNets.*

Detailed balance, sub-trajectory balance, soft Q-learning: which loss is which agent, seen in
numbers. Then a backward policy that is learnt, and a potential: a reward on every step.
"""

import numpy as np
import torch as th

from gfn_gym import MDP, GFNEnv
from gfn_gym.agents import DetailedBalance, as_policy, targets
from gfn_gym.envs.bit_sequence import BitSequence
from gfn_gym.envs.hypergrid import Hypergrid
from gfn_gym.evaluation import evaluate_exact, solve

# %%
# Detailed balance is the error of soft Q-learning
# ------------------------------------------------
# Q(s, a) stands for the log flow of an edge. Its logsumexp is V(s) = log F(s), its softmax is P_F.
# The temporal-difference error of soft Q-learning on an edge, Q(s, a) − r − V(s') with r = log
# P_B, is then the residual of detailed balance, log F(s) + log P_F − log P_B − log F(s'):

th.manual_seed(0)
q, next_q = th.randn(5, 3), th.randn(5, 3)  # any numbers: five edges, three actions
actions, rewards = th.tensor([0, 1, 2, 0, 1]), th.randn(5)
dones = th.zeros(5, dtype=th.bool)

target = targets.soft_td_target(rewards, dones, targets.soft_value(next_q))
td_error = q.gather(1, actions[:, None])[:, 0] - target

log_f, log_pf = targets.flow_and_forward(q, actions)
residual = log_f + log_pf - rewards - targets.soft_value(next_q)
print("TD error:   ", td_error.numpy().round(4))
print("DB residual:", residual.numpy().round(4))

# %%
# What tells the two apart is therefore not the equation but what surrounds it: soft Q-learning
# takes V(s') from a target network that follows slowly, and draws its edges from a replay buffer.
#
# At the optimum they agree as well, and with every sub-trajectory between: along any walk, the sum
# of log P_F − log P_B is the difference of the log flows at its two ends. From the exact solution:

dag = Hypergrid(ndim=2, height=6)
solution = solve(dag)
graph = solution.graph
log_pf_edges = solution.edge_log_flow - solution.log_flow[graph.parents]
log_pb_edges = graph.log_backward()
gaps = (
    log_pf_edges
    - log_pb_edges
    - (solution.log_flow[graph.children] - solution.log_flow[graph.parents])
)
print(f"detailed balance of {len(gaps)} edges: largest residual {np.abs(gaps).max():.1e}")

# %%
# Which is which
# --------------
# =========================================  ==================================================
# the GFlowNet's loss                        the agent
# =========================================  ==================================================
# detailed balance, target network, replay   :class:`~gfn_gym.agents.SoftDQN`
# the same, squared and on-policy            :class:`~gfn_gym.agents.DetailedBalance`
# sub-trajectory balance                     :class:`~gfn_gym.agents.SubTrajectoryBalance`; over
#                                            n steps: ``SoftDQN(n_step=n)``
# trajectory balance                         :class:`~gfn_gym.agents.TrajectoryBalance`
# =========================================  ==================================================
#
# A backward policy that is learnt
# --------------------------------
# The theorem holds for any P_B, so it may be chosen to make the rest easier.
# ``learnt_backward=True`` gives it a network, trained by the gradient of the same loss:

for learnt_backward in (False, True):
    model = DetailedBalance(
        "MlpPolicy",
        GFNEnv(dag),
        learnt_backward=learnt_backward,
        learning_rate=3e-3,
        seed=0,
        device="cpu",
    )
    model.learn(total_trajectories=4_000)
    distance = evaluate_exact(dag, as_policy(model))["total_variation"]
    print(f"learnt P_B {learnt_backward!s:5}: total variation {distance:.3f}")

# %%
# The learnt P_B is a function of states, as evaluation takes it. In cell (3, 3) of the grid, the
# probabilities of the two steps back were ½ each before training:

state = np.array([[3, 3]], dtype=np.int32)
print(np.exp(model.backward_policy(state)).round(3))

# %%
# With it the decision process is another, since the rewards log P_B of its steps are. Its solution
# still samples R/Z and its V(s0) is still log Z:

print(
    f"log Z = {solution.log_z:.4f}, solved with the learnt P_B: "
    f"{solve(dag, model.backward_policy).log_z:.4f}"
)

# %%
# A potential: a reward on every step
# -----------------------------------
# The reward of a bit string comes when its last word is filled. A potential Φ, any function of
# states, moves it forward: a step also earns Φ(s') − Φ(s), and the end pays Φ back. ``"dag"`` is
# the domain's own; here −β times the bits that differ from the nearest mode, so far. One trajectory
# with and without:

bits = BitSequence(n=16, k=4, n_modes=4)
plain, shaped = MDP(bits), MDP(bits, potential="dag")
states, total, total_shaped = bits.initial_states(1), 0.0, 0.0
finished = np.repeat(bits.parse(["1111000011110001"]), 4, axis=0)
for action in bits.forward_action(finished, np.arange(4)):  # word by word
    step, step_shaped = (mdp.step(states, np.array([action])) for mdp in (plain, shaped))
    print(
        f"{bits.format(step.next_states)[0]}  reward {step.rewards[0]:7.3f}, "
        f"with the potential {step_shaped.rewards[0]:7.3f}"
    )
    total, total_shaped = total + step.rewards[0], total_shaped + step_shaped.rewards[0]
    states = step.next_states
print(f"sum               reward {total:7.3f}, with the potential {total_shaped:7.3f}")

# %%
# The sums agree on every trajectory, so the optimum is what it was: the same policy, the same
# objects, the same V(s0) = log Z. In between V(s) is log F(s) − Φ(s): what the network learns is by
# how much the flow differs from what Φ promised, and detailed balance and sub-trajectory balance
# become their *forward-looking* forms (`arXiv:2302.01687 <https://arxiv.org/abs/2302.01687>`_).
# Trajectory balance has no flows of states, and is what it was. After the same few trajectories:

for potential in (None, "dag"):
    model = DetailedBalance(
        "MlpPolicy",
        GFNEnv(bits, potential=potential),
        learning_rate=3e-3,
        seed=0,
        device="cpu",
    )
    model.learn(total_trajectories=1_500)
    distance = evaluate_exact(bits, as_policy(model))["total_variation"]
    print(f"potential={potential!r:6}: total variation {distance:.3f}")
