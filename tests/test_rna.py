"""RNA that binds and RNA that folds, against ViennaRNA itself and against enumeration."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from gfn_gym import GFNEnv, check_dag
from gfn_gym.graph import enumerate_graph

RNA = pytest.importorskip("RNA", reason="ViennaRNA is missing: extra 'rna'")

from gfn_gym.envs.rna.binding import RNABinding  # noqa: E402
from gfn_gym.envs.rna.duplex import TARGETS  # noqa: E402
from gfn_gym.envs.rna.fold import RNAFold  # noqa: E402
from gfn_gym.envs.sequence.dag import Sequence  # noqa: E402

KT = (37 + 273.15) * 1.98717 / 1000  # kcal/mol
# 46 bases with few pairs, in some of which interior loops and hairpins of more than 30 fit.
LONG_LOOPS = "GGAAAAAAAAAAAAAAAAAGAAACCAAAAAAAAAAAAAAAAAAACC"


def ratio(target, word):
    """The score, by ViennaRNA directly."""
    complement = "".join({"A": "U", "C": "G", "G": "C", "U": "A"}[base] for base in target)[::-1]
    best = RNA.duplexfold(target, complement).energy
    return RNA.duplexfold(target, word).energy / (best * len(word) / len(target))


# ---- binding ------------------------------------------------------------------------------------


def test_targets_of_the_literature():
    energies = {"RNA1": -260.1, "RNA2": -270.3, "RNA3": -215.6}
    for name, target in TARGETS.items():
        assert len(target) == 100
        complement = target.translate(str.maketrans("ACGU", "UGCA"))[::-1]
        assert RNA.duplexfold(target, complement).energy == pytest.approx(energies[name])


@pytest.mark.parametrize("length", [5, 14])
@pytest.mark.parametrize("target", ["RNA1", "RNA2", "RNA3", "GGGAAACCCGUAC"])
def test_scores_are_ratios_of_energies_to_the_last_bit(length, target):
    letters = np.random.default_rng(length).choice(list("ACGU"), (40, length))
    words = ["".join(row) for row in letters]
    dag = RNABinding(targets=target, length=length)
    expected = [ratio(TARGETS.get(target, target), word) for word in words]
    assert dag.scores(words).tolist() == expected
    log_rewards = [8 * math.log(max(score, 0.01)) for score in expected]
    assert dag.log_reward(dag.parse(words)) == pytest.approx(log_rewards, abs=1e-12)


def test_several_targets_are_averaged_in_workers_as_here():
    words = ["GGGG", "ACGU", "CCCC"]
    dags = [RNABinding(["RNA1", "RNA3"], length=4, workers=workers) for workers in (0, 2)]
    mean = [(ratio(TARGETS["RNA1"], w) + ratio(TARGETS["RNA3"], w)) / 2 for w in words]
    for dag in dags:
        assert dag.scores(words).tolist() == mean
        assert dag.scores(words[:2]).tolist() == mean[:2]
        assert dag.reward.function.calls == 3  # the rest came from the cache
    dags[1].reward.function.close()


def test_landscapes_by_name_are_those_of_sequences():
    by_name = Sequence("ACGU", length=6, reward="RNA2", reward_exponent=4.0)
    binding = RNABinding("RNA2", length=6, reward_exponent=4.0)
    states = binding.parse(["ACGUAC", "GGGCCC"])
    assert by_name.log_reward(states).tolist() == binding.log_reward(states).tolist()


@pytest.mark.parametrize("order", ["any", "append", "both_ends"])
def test_contract_of_binding(order):
    check_dag(RNABinding(length=3, order=order))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"targets": "RNA9"},
            ValueError,
            r"targets='RNA9' has 'R' at .* is one of \['RNA1', 'RNA2",
        ),
        ({"targets": "acgu"}, ValueError, "write it in upper case"),
        ({"targets": "GGAACCTT"}, ValueError, "RNA has U where DNA has T"),
        ({"targets": []}, ValueError, "must be at least one name or sequence"),
        ({"targets": [3]}, TypeError, "has 3, which is not a string"),
        ({"targets": 3}, TypeError, "targets=3 must be a name"),
        ({"targets": ""}, ValueError, "targets='' has 0 letters"),
        ({"targets": "A"}, ValueError, "its own complement does not bind it"),
        ({"length": 0}, ValueError, "length=0"),
        ({"order": "left"}, ValueError, "order='left'"),
        ({"floor": 0}, ValueError, "floor=0"),
        ({"reward_exponent": -1}, ValueError, "reward_exponent=-1"),
        ({"workers": -1}, ValueError, "workers=-1"),
    ],
)
def test_bad_arguments_of_binding(arguments, error, words):
    with pytest.raises(error, match=words):
        RNABinding(**arguments)


@pytest.mark.parametrize("id", ["RNABindingGFN-v0", "RNAFoldGFN-v0"])
def test_without_viennarna_the_message_says_how_to_get_it(id):
    code = (
        "import sys, gymnasium; sys.modules['RNA'] = None\n"
        f"try: gymnasium.make('gfn_gym:{id}')\n"
        "except ImportError as error: assert \"pip install 'gfn-gym[rna]'\" in str(error)\n"
        "else: raise AssertionError('there is a ViennaRNA')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- folding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", ["GGGAAAUCCC", "GGGAAACGCUUCC", "GCGCAAAAGCAAAAGC"])
@pytest.mark.parametrize(
    ("temperature", "beta"), [(37.0, 1.0), (20.0, 0.5), (60.0, 2.0), (0.0, 20.0)]
)
def test_ensemble_of_all_structures(sequence, temperature, beta):
    dag = RNAFold(sequence, temperature=temperature, reward_exponent=beta)
    if len(sequence) < 13:
        check_dag(dag)
    graph = enumerate_graph(dag)
    assert dag.log_partition() == pytest.approx(graph.log_partition(), abs=1e-10)
    probabilities = np.exp(graph.log_reward() - graph.log_partition())
    marginals = dag.pair_frequencies(graph.states[graph.objects], probabilities)
    assert marginals == pytest.approx(dag.pair_probabilities(), abs=1e-10)
    assert dag.ensemble.log_partition_correction() == 0.0


def test_log_z_of_a_structure_whose_weight_no_float_can_hold():
    sequence = "G" * 160 + "AAAA" + "C" * 160  # R of the best is more than a float holds, exp(709)
    dag = RNAFold(sequence)
    compound = RNA.fold_compound(sequence)
    compound.exp_params_rescale(compound.mfe()[1])
    _, free_energy = compound.pf()  # float32, and with pf_smooth
    assert dag.log_partition() == pytest.approx(-free_energy / KT, rel=1e-5)
    best = dag.ensemble.log_weights(["(" * 160 + "...." + ")" * 160])[0]
    assert 709 < best < dag.log_partition() < best + 2


def test_structures_are_those_that_viennarna_lists():
    sequence = "GGGAAACGCUUCC"
    listed = RNA.fold_compound(sequence).subopt(10**5)
    dag = RNAFold(sequence)
    graph = enumerate_graph(dag)
    assert sorted(dag.format(graph.states)) == sorted(s.structure for s in listed)
    assert len(graph.objects) == len(graph.states) > 50
    states = dag.parse([s.structure for s in listed])
    assert dag.energies(states) == pytest.approx([s.energy for s in listed], abs=1e-5)
    assert dag.log_reward(states) == pytest.approx([-s.energy / KT for s in listed], abs=1e-4)
    assert np.array_equal(dag.potential(states), dag.log_reward(states))
    assert dag.potential(dag.initial_states(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("temperature", [20.0, 37.0, 70.0])
def test_what_pf_leaves_out_is_known(temperature):
    dag = RNAFold(LONG_LOOPS, temperature=temperature)
    missing = enumerate_graph(dag).log_partition() - dag.log_partition()
    assert missing > 1e-7
    assert dag.ensemble.log_partition_correction() == pytest.approx(missing, rel=1e-6)


def crosses_or_shares(one, other):
    (a, b), (c, d) = sorted([one, other])
    return len({a, b, c, d}) < 4 or a < c < b < d


def test_masks_by_hand():
    """On random structures of the default sequence, pair by pair."""
    dag, rng = RNAFold(), np.random.default_rng(0)
    states = dag.initial_states(40)
    assert len(dag.pairs) == 146
    for _ in range(12):
        mask = dag.action_mask(states)
        assert mask[:, -1].all()
        for row, state in enumerate(states):
            present = [(i, j - 1) for i, j in enumerate(state.tolist()) if j > i]
            for pair, legal in zip(dag.pairs.tolist(), mask[row].tolist(), strict=False):
                assert legal == (not any(crosses_or_shares(tuple(pair), p) for p in present))
        choices = [rng.choice(np.flatnonzero(row)) for row in mask]
        states, _ = dag.step(states, np.array(choices))
    assert (states > 0).sum(axis=1).max() >= 10


def test_reading_and_writing_structures():
    dag = RNAFold("GGGAAAUCCC")
    written = ["..........", "(((....)))", "(.(...)..)", "((......))"]
    assert dag.format(dag.parse(written)) == written


@pytest.mark.parametrize(
    ("structures", "error", "words"),
    [
        ("..........", TypeError, "must be a list"),
        (["..."], ValueError, r"structures\[0\]='...' must be a string of 10 characters"),
        ([3], ValueError, "must be a string of 10"),
        (["((......)."], ValueError, "opens a pair at 1 that is not closed"),
        ([".......).."], ValueError, "closes a pair at 8 that was not opened"),
        (["[........]"], ValueError, r"has '\[' at 1"),
        (["...(....)."], ValueError, "pairs A4 and C9, which cannot pair"),
        (["(..)......"], ValueError, "pairs G1 and A4"),
    ],
)
def test_bad_structures(structures, error, words):
    with pytest.raises(error, match=words):
        RNAFold("GGGAAAUCCC").parse(structures)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"sequence": "gggaaauccc"}, ValueError, "write it in upper case"),
        ({"sequence": "GGGAAATCCC"}, ValueError, "RNA has U where DNA has T"),
        ({"sequence": "GGGXAAACCC"}, ValueError, "has 'X' at position 4"),
        ({"sequence": ""}, ValueError, "sequence='' has 0 letters"),
        ({"sequence": "AAAAAAAA"}, ValueError, "has no two bases that can pair"),
        ({"sequence": "GAC"}, ValueError, "has no two bases that can pair"),
        ({"sequence": ["G", "C"]}, TypeError, "must be a string of the letters ACGU"),
        ({"temperature": math.nan}, ValueError, "temperature=nan"),
        (
            {"temperature": -300},
            ValueError,
            "temperature=-300 must be a finite number from 0 to 100",
        ),
        ({"reward_exponent": 0}, ValueError, "reward_exponent=0"),
        ({"reward_exponent": 50}, ValueError, "reward_exponent=50 must be .* at most 20"),
    ],
)
def test_bad_arguments_of_folding(arguments, error, words):
    with pytest.raises(error, match=words):
        RNAFold(**arguments)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [math.nan, 1.0]])
def test_bad_weights(weights):
    dag = RNAFold("GGGAAAUCCC")
    with pytest.raises(ValueError, match=r"weights=.* must be 2 numbers"):
        dag.pair_frequencies(dag.initial_states(2), weights)


def test_pickles_hold_nothing_of_viennarna():
    dag = RNAFold(temperature=50.0)
    dag.log_partition()
    again = pickle.loads(pickle.dumps(dag))
    assert again.log_partition() == dag.log_partition()
    assert np.array_equal(again.pair_probabilities(), dag.pair_probabilities())


def test_observations_of_pairs():
    env = GFNEnv(RNAFold("GGGAAAUCCC"), observation="pairs")
    env.reset(seed=0)
    observation = env.step(5)[0]
    assert observation.tolist() == np.eye(len(env.dag.pairs))[5].tolist()


def test_pictures_of_structures():
    pytest.importorskip("PIL", reason="Pillow is missing: extra 'rna'")
    dag = RNAFold("GGGAAAUCCC")
    walk = dag.parse(["..........", "(........)", "(.(...)..)"])
    energy = RNA.fold_compound("GGGAAAUCCC").eval_structure("(.(...)..)")
    expected = f"GGGAAAUCCC\n(.(...)..)  {energy:.2f} kcal/mol"
    assert dag.render(walk, "ansi") == expected
    image = dag.render(walk, "rgb_array")
    red, blue = ((image == colour).all(axis=2) for colour in ((214, 60, 60), (70, 110, 190)))
    assert red.sum() > 50 and blue[: image.shape[0] // 3].sum() > 50  # the new arc, and the old one


def test_environments_are_made_by_their_ids():
    for id in ("RNABindingGFN-v0", "RNAFoldGFN-v0"):
        env = gymnasium.make_vec(id, num_envs=3, vectorization_mode="vector_entry_point")
        assert env.reset(seed=0)[0].shape[0] == 3
