"""
A reward of your own
====================

*For chemists and biologists with objects to design.*

Your score may be slow and may fail; you want diverse candidates rather than one best; and the
computer may be switched off half-way. Molecules are the example (RDKit is needed); only the reward
would differ for another domain.
"""

import logging
import tempfile
from pathlib import Path

import gymnasium
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors
from stable_baselines3.common.callbacks import BaseCallback

from gfn_gym.agents import SoftDQN, TrainingCheckpoint, as_policy
from gfn_gym.envs.molecule.metrics import diverse_molecules
from gfn_gym.envs.molecule.resilient import SmilesReward
from gfn_gym.evaluation import sample

# %%
# The score
# ---------
# A function of a list of SMILES that returns a number for each: here a wish for a certain
# lipophilicity and polar surface, and for some molecules an error, as a docking program would have.


def score(smiles: list[str]) -> list[float]:
    values = []
    for text in smiles:
        molecule = Chem.MolFromSmiles(text)
        if molecule.GetNumHeavyAtoms() > 33:
            raise RuntimeError("the program gives up on large molecules")
        log_p = Crippen.MolLogP(molecule)
        surface = rdMolDescriptors.CalcTPSA(molecule)
        values.append(-abs(log_p - 2.5) - abs(surface - 75) / 30)
    return values


logging.getLogger("gfn_gym").setLevel(logging.ERROR)  # each failure would be a warning
reward = SmilesReward(score, on_failure="floor", floor=-8.0)

# %%
# What fails gets the floor instead of stopping the training; every molecule is scored once and its
# score is kept. With ``workers=4, timeout=60`` the scores are computed in processes of their own,
# and what hangs is ended.
#
# Training
# --------
# R(x) = exp(2·score): the exponent says how much better molecules are preferred. A checkpoint is
# written every 100 trajectories. To see what it is good for, the power fails half-way.


class PowerCut(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps > 1_200:
            raise KeyboardInterrupt
        return True


env = gymnasium.make("gfn_gym:MoleculeGFN-v0", reward=reward, reward_exponent=2, max_blocks=4)
path = Path(tempfile.mkdtemp()) / "checkpoint.zip"
checkpoint = TrainingCheckpoint(path, (100, "episode"))
model = SoftDQN("auto", env, preset="fast", seed=0, device="cpu")
try:
    model.learn(total_trajectories=400, callback=[checkpoint, PowerCut()])
except KeyboardInterrupt:
    print("interrupted after", model.num_timesteps, "environment steps")

print("molecules that failed:", dict(reward.failures))
for smiles, failure in list(reward.failed.items())[:2]:
    print(" ", smiles, "→", failure.reason)

# %%
# Resuming
# --------
# From the last checkpoint, in another process if need be, training goes on to the total that was
# asked for, with the numbers of an uninterrupted run:

model = SoftDQN.resume(path, trusted=True)  # the file holds our reward function, which is code
print("checkpoint:", model.num_timesteps, "environment steps")
model.learn(callback=[checkpoint])
print("complete:  ", model.num_timesteps, "environment steps")

# %%
# Diverse candidates
# ------------------
# Samples come with probability proportional to R, so good molecules come often and in variety. The
# best of 500, where no two have similar fingerprints:

states = sample(model.dag, as_policy(model), 500, seed=0).states
best = diverse_molecules(model.dag, states, k=6)
for smiles in best.smiles:
    print(smiles)
