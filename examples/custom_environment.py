"""Your own environment, choosing a team: define it, check it, register it, train on it."""

import gymnasium
import numpy as np

import gfn_gym
from gfn_gym.agents import SoftDQN, as_policy
from gfn_gym.evaluation import evaluate_exact, sample


class Team(gfn_gym.DAG):
    """Sets of ``n`` people, built one by one; R rewards pairs that work well together."""

    def __init__(self, n: int = 8, seed: int = 0):
        self.n = n
        self.harmony = np.triu(np.random.default_rng(seed).normal(size=(n, n)))
        self.state_space = gymnasium.spaces.MultiDiscrete([2] * n)  # 1: in the team
        self.n_actions, self.n_backward_actions, self.stop_action = n + 1, n, n

    def initial_states(self, n):
        return np.zeros((n, self.n), dtype=np.int64)

    def action_mask(self, states):
        return np.column_stack([states == 0, np.ones(len(states), dtype=bool)])

    def step(self, states, actions):
        added = actions[:, None] == np.arange(self.n)
        return states + added, actions == self.stop_action

    def backward_mask(self, states):
        return states == 1

    def backward_step(self, states, backward_actions):
        return states - (backward_actions[:, None] == np.arange(self.n))

    def backward_action(self, states, actions):
        return actions  # removing person i undoes adding person i

    def forward_action(self, states, backward_actions):
        return backward_actions

    def log_reward(self, states):
        return np.einsum("ni,ij,nj->n", states, self.harmony, states, dtype=float)


gfn_gym.register("Team-v0", Team)

if __name__ == "__main__":
    gfn_gym.check_dag(Team())  # the whole contract, on every state
    model = SoftDQN("MlpPolicy", "Team-v0", learning_rate=3e-3, dueling=True, seed=0)
    model.learn(total_trajectories=20_000, progress_bar=True)
    print("total variation:", evaluate_exact(model.dag, as_policy(model))["total_variation"])
    teams = sample(model.dag, as_policy(model), n=5)
    for team, log_reward in zip(teams.states, teams.log_reward, strict=True):
        print("team", np.flatnonzero(team).tolist(), f"R = {np.exp(log_reward):.3f}")
