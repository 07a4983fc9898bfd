"""Raw speed of torchgfn's hypergrid: its environment's step loop.

One round reads the states' forward masks, samples a uniform legal action for each environment,
computes the log reward of those that stop, steps the others and puts new initial states where an
episode ended. torchgfn's sampler leaves finished trajectories in its batch as sink states and steps
around them; here a finished environment starts again in the same round, so every transition counted
is a real one: an edge of the DAG, including the stop.

Two loops:

library: steps with `env._step`, the call that torchgfn's own sampler makes: it separates
exiting states, steps the rest and fills in sink states. This is what a user of the library gets.

lean: steps the whole batch with `HyperGrid.step`, which takes no exit action, gives the stopping
rows a harmless one and overwrites them. This is the fastest that the public interface allows.

`--observations yes` also encodes the new states with torchgfn's `KHotPreprocessor`, as its networks
read them and as other libraries' steps return them. Without it the loop computes no observation at
all, which favours torchgfn.
"""

from collections.abc import Callable

from common import HEIGHT, NDIM, REWARD, measure, report, stepping_arguments, use_one_thread

use_one_thread()

import torch  # noqa: E402
from gfn.gym import HyperGrid  # noqa: E402
from gfn.preprocessors import KHotPreprocessor  # noqa: E402
from gfn.states import DiscreteStates  # noqa: E402

Step = Callable[[DiscreteStates, torch.Tensor, torch.Tensor], DiscreteStates]


def make_environment() -> HyperGrid:
    """20^4 with the standard reward, its debug checks off as they are by default."""
    r0, r1, r2 = REWARD
    return HyperGrid(
        ndim=NDIM,
        height=HEIGHT,
        reward_fn_str="original",
        reward_fn_kwargs={"R0": r0, "R1": r1, "R2": r2},
        validate_modes=False,
    )


def draw_legal(masks: torch.Tensor, stop: str) -> torch.Tensor:
    """A uniform legal action per row; [n, n_actions] -> [n, 1]."""
    scores = torch.rand(masks.shape)
    if stop == "forced":
        scores[:, -1] = 0.0
    return scores.masked_fill_(~masks, -1.0).argmax(dim=-1, keepdim=True)


def make_step(env: HyperGrid, loop: str) -> Step:
    """A function of states, actions and the rows that stop, with sinks or anything in those."""
    if loop == "library":
        return lambda states, chosen, _: env._step(states, env.actions_from_tensor(chosen))

    def step(
        states: DiscreteStates, chosen: torch.Tensor, finished: torch.Tensor
    ) -> DiscreteStates:
        chosen[finished] = 0
        return env.step(states, env.actions_from_tensor(chosen))

    return step


def make_run(
    env: HyperGrid, num_envs: int, rounds: int, stop: str, loop: str, observe: bool
) -> Callable[[], int]:
    """A function that steps the same batch further for some rounds at each call."""
    step = make_step(env, loop)
    preprocessor = KHotPreprocessor(height=HEIGHT, ndim=NDIM)
    states = env.reset(num_envs)
    log_reward_sum = torch.zeros(())

    def run() -> int:
        nonlocal states, log_reward_sum
        for _ in range(rounds):
            chosen = draw_legal(states.forward_masks, stop)
            finished = (chosen.squeeze(-1) == env.n_actions - 1).nonzero().squeeze(-1)
            if len(finished):
                log_reward_sum += env.log_reward(states[finished]).sum()
            states = step(states, chosen, finished)
            if len(finished):
                states[finished] = env.reset(len(finished))
            if observe:
                preprocessor(states)
        return rounds * num_envs

    return run


def main() -> None:
    parser = stepping_arguments(__doc__)
    parser.add_argument("--loop", choices=("library", "lean"), default="library")
    parser.add_argument("--observations", choices=("yes", "no"), default="yes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    rounds = max(20, 20_000 // arguments.num_envs)
    observe = arguments.observations == "yes"
    with torch.inference_mode():
        run = make_run(
            make_environment(),
            arguments.num_envs,
            rounds,
            arguments.stop,
            arguments.loop,
            observe,
        )
        measured = measure(run, arguments.seconds)
    what = (
        f"step loop ({arguments.loop}) with automatic reset, log reward at the end, "
        f"{arguments.stop} stop, {'with' if observe else 'without'} observations"
    )
    report("torchgfn", what, arguments.num_envs, measured)


if __name__ == "__main__":
    main()
