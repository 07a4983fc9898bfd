"""
The hypergrid as a decision process
===================================

*For readers who know reinforcement learning and have never seen a GFlowNet.*

We want to sample the cells x of a grid with probability R(x)/Z, where R is a reward that we can
compute and Z = Σ R(x) its sum. The plan: walk from the origin, one step along an axis at a time,
and stop somewhere; find the policy whose walks stop in x with probability R(x)/Z.
"""

import gymnasium
import matplotlib.pyplot as plt
import numpy as np

from gfn_gym.agents import SoftDQN, as_policy
from gfn_gym.evaluation import evaluate_exact, solve, target_distribution, terminal_distribution

env = gymnasium.make("gfn_gym:HypergridGFN-v0", ndim=2, height=8, observation="state")
state, info = env.reset(seed=0)
for action in (0, 1, 1, 2):  # along x0, along x1 twice, stop
    state, reward, terminated, truncated, info = env.step(action)
    print(f"action {action} → state {state}, reward {reward:.3f}, legal: {info['action_mask']}")

# %%
# An episode ends when the walk stops, which earns log R(x). The steps before earn something too:
# log P_B, the log-probability of undoing this very step, when one of the possible steps back is
# chosen at random. Many walks lead to the same cell; the log P_B of their steps share its reward
# out among them, so that a cell is not sampled more often only because it can be reached in more
# ways.
#
# Soft optimality
# ---------------
# Ordinary reinforcement learning looks for the walk with the highest return. Here we maximise the
# return *plus the entropy* of the policy, with coefficient 1 and without discounting. The soft
# Bellman equations are then
#
# .. math::
#
#     Q(s, a) = r(s, a) + V(s'), \qquad V(s) = \log \sum_a \exp Q(s, a), \qquad \pi = \exp(Q - V).
#
# On 64 cells they can be solved exactly, from the last states back to the origin:

dag = env.unwrapped.dag
solution = solve(dag)
log_z = np.logaddexp.reduce(solution.graph.log_reward())
print(f"V(s0) = {solution.log_z:.6f}")
print(f"log Z = {log_z:.6f}")

# %%
# Why V(s0) = log Z
# -----------------
# Write F(s) = exp V(s) and call it the *flow* through s. The soft Bellman equation says that what
# flows through s is what flows on to its neighbours, each time multiplied by P_B, plus R(s), which
# stays. Following all walks from the origin, P_B's parts add up to one for each cell, so what
# leaves the origin is Σ R(x) = Z. The optimal policy sends each neighbour its share of the flow,
# and the share that stays in x is R(x)/Z:

learnt = terminal_distribution(solution.graph, solution.policy)
target = target_distribution(solution.graph)
print("largest difference from R/Z:", np.abs(learnt - target).max())

cells = solution.graph.states
flow = np.zeros((8, 8))
flow[tuple(cells.T)] = np.exp(solution.log_flow - solution.log_z)
probability = np.zeros((8, 8))
probability[tuple(cells[solution.graph.objects].T)] = target

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for axis, values, title in zip(
    axes, (flow, probability), ("flow F(s)/Z", "probability R(x)/Z"), strict=True
):
    image = axis.imshow(values.T, origin="lower")
    axis.set(title=title, xlabel="x0", ylabel="x1")
    figure.colorbar(image, ax=axis)

# %%
# Learning it
# -----------
# Where states cannot be enumerated, Q is learnt. Soft DQN regresses a network on the right-hand
# side of the first equation. On this grid we can still say exactly how far the learnt policy is
# from R/Z: the total variation is half the summed absolute difference of the two distributions.

model = SoftDQN("MlpPolicy", env, preset="fast", seed=0, device="cpu")
before = evaluate_exact(dag, as_policy(model))
model.learn(total_trajectories=6_000)
after = evaluate_exact(dag, as_policy(model))
for name in ("total_variation", "kl", "log_z_error"):
    print(f"{name}: {before[name]:.3f} → {after[name]:.3f}")

# %%
# An agent that maximised the return alone would always walk to the same cell. The entropy is what
# makes a sampler of it, and its coefficient is not a setting here: at 1, and only there, the
# probabilities are those of R/Z.
