"""A grid whose steps take time; worker processes import this."""

import time

from gfn_gym.envs.hypergrid import Hypergrid


class SlowGrid(Hypergrid):
    """Each batched step takes 10 ms more."""

    def step(self, states, actions):
        time.sleep(0.01)
        return super().step(states, actions)
