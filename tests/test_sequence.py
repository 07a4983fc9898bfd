"""Words: alphabets, lengths and orders, rewards by function, table and landscape, pictures."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from itertools import product

import gymnasium
import numpy as np
import pytest

from gfn_gym import check_dag
from gfn_gym.edges import Edges
from gfn_gym.envs.sequence.dag import Sequence
from gfn_gym.envs.sequence.rewards import Landscape
from gfn_gym.graph import enumerate_graph
from gfn_gym.rewards import RewardError, StringReward
from sequence_envs import WORDS, tilted_words


def small(**arguments):
    return Sequence(**{"alphabet": "AC", "length": 3, "order": "append", **arguments})


# ---- words and orders ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", WORDS.values(), ids=WORDS)
def test_contract_and_number_of_words(arguments):
    dag = Sequence(reward=tilted_words, **arguments)
    check_dag(dag)
    graph = enumerate_graph(dag)
    assert len(graph.objects) == dag.n_words
    words = dag.format(graph.states[graph.objects])
    lengths = range(dag.min_length, dag.max_length + 1)
    assert sorted(words) == sorted(
        "".join(tokens)
        for length in lengths
        for tokens in product(arguments["alphabet"], repeat=length)
    )
    assert (dag.parse(words) == graph.states[graph.objects]).all()


def test_actions_by_hand():
    def write(dag, *actions):
        states = dag.initial_states(1)
        for action in actions:
            assert dag.action_mask(states)[0, action]
            states, done = dag.step(states, np.array([action]))
        return dag.format(states)[0], bool(done[0])

    fill = Sequence(alphabet="ACGU", length=3)
    assert write(fill, 2 * 4 + 1) == ("··C", False)
    assert write(fill, 2 * 4 + 1, 3, 4 + 2) == ("UGC", True)
    ends = Sequence(alphabet="ACGU", min_length=2, max_length=3, order="both_ends")
    assert ends.stop_action == 8
    assert write(ends, 1, 0, 4 + 2) == ("GCA", False)
    assert write(ends, 1, 0, 8) == ("CA", True)
    assert not ends.action_mask(ends.parse(["GCA"]))[0, :8].any()
    assert ends.action_mask(ends.step(ends.initial_states(1), np.array([1]))[0])[0, 8] == 0


def test_only_the_stop_action_ends_words_of_variable_length():
    dag = small(length=None, min_length=3, max_length=3)
    states = dag.parse(["ACA"])
    assert np.flatnonzero(dag.action_mask(states)[0]).tolist() == [dag.stop_action]
    assert small().stop_action is None


def test_parallel_edges_where_both_ends_give_the_same_word():
    dag = Sequence(alphabet="ACGU", max_length=4, order="both_ends")
    states = np.concatenate([dag.initial_states(2), dag.parse(["AA", "AA", "AC"])])
    actions = np.array([0, 4, 0, 1, 0])
    edges = Edges.of(dag, states, actions)
    assert dag.n_parallel(edges).tolist() == [2, 2, 2, 1, 1]
    assert dag.backward_group(edges).tolist() == [[1, 1]] * 3 + [[1, 0]] * 2


def test_tokens_of_several_characters():
    dag = Sequence(alphabet=["Lys", "Gly", "[C]"], max_length=4, order="append")
    (state,) = states = dag.parse(["GlyGly[C]"])
    assert state.tolist() == [1, 1, 2, 3]
    assert dag.format(states) == ["GlyGly[C]"]
    with pytest.raises(ValueError, match=r"words\[0\]='GlyLy' has 'L' at position 4"):
        dag.parse(["GlyLy"])


BAD = [
    ({"alphabet": "A"}, ValueError, "at least two tokens"),
    ({"alphabet": "ACA"}, ValueError, "has 'A' twice"),
    ({"alphabet": ["A", "AB"]}, ValueError, "has 'A' and 'AB', which begins with it"),
    ({"alphabet": ["A", ""]}, ValueError, "must be printable"),
    ({"alphabet": "A C"}, ValueError, "without blanks"),
    ({"alphabet": "A·"}, ValueError, "stands for an empty position"),
    ({"alphabet": ["A", 3]}, TypeError, "tokens must be strings"),
    ({"alphabet": 4}, TypeError, "alphabet=4 must be a string"),
    ({"length": 0}, ValueError, "length=0 must be an integer of at least 1"),
    ({"length": 2.5}, ValueError, "length=2.5"),
    ({"length": None, "min_length": 2}, ValueError, "needs max_length="),
    ({"length": None, "min_length": 5, "max_length": 4}, ValueError, "exceeds max_length=4"),
    ({"length": 3, "max_length": 4}, ValueError, "length=3 fixes the length"),
    ({"length": None, "min_length": 0, "max_length": 4}, ValueError, "min_length=0"),
    ({"length": None, "max_length": 4, "order": "any"}, ValueError, "needs a fixed length="),
    ({"order": "backwards"}, ValueError, "order='backwards' must be 'any', 'append'"),
    ({"reward": "RNA4"}, ValueError, r"reward='RNA4' must be one of \['uniform', 'RNA1'"),
    ({"reward": 3}, TypeError, "reward=3 must be a name, a function"),
    ({"reward": "missing.csv"}, FileNotFoundError, "there is no such file"),
    ({"reward": {}}, ValueError, "the table has no entries"),
    ({"reward": {"AAA": 1.0}}, ValueError, "has 1 of 8 words: default= must be"),
    ({"reward": {"AAA": 1.0}, "default": math.nan}, ValueError, "default=nan must be a finite"),
    ({"default": 1.0}, ValueError, "default=1.0 is for tables"),
    ({"reward": tilted_words, "floor": 0.1}, ValueError, "floor=0.1 has no effect"),
    ({"reward": tilted_words, "scale": "exp"}, ValueError, "scale='exp' must be 'log' or 'linear'"),
    ({"reward": tilted_words, "reward_exponent": 0}, ValueError, "reward_exponent=0"),
    ({"reward": Landscape(tilted_words), "scale": "linear"}, ValueError, "a landscape has scores"),
    ({"reward": Landscape(tilted_words), "floor": 0.0}, ValueError, "floor=0.0 must be a finite"),
    ({"reward": {"AA": 1.0}, "default": 0.0}, ValueError, "'AA' has 2 letters; a word has 3"),
    ({"reward": {"AAG": 1.0}, "default": 0.0}, ValueError, "has 'G' at position 3, which is not"),
    ({"reward": {"aca": 1.0}, "default": 0.0}, ValueError, "write it in upper case"),
    ({"reward": "RNA1", "alphabet": "ACGT"}, ValueError, "'RNA1' scores words of the letters ACGU"),
    ({"floor": 0.1}, ValueError, "floor=0.1 has no effect"),
    ({"reward": {"AA": 1.0}, "default": 0.0}, ValueError, "the table has 1 bad entry:"),
    ({"reward": {"": 1.0}, "default": 0.0}, ValueError, "'' has 0 letters"),
    ({"reward": {"AAA": "high"}, "default": 0.0}, ValueError, "'high' must be a finite number"),
    (
        {"reward": {"AAA": -1.0}, "default": 1.0, "scale": "linear"},
        ValueError, "entry 1: R = -1.0 must be above 0",
    ),
    (
        {"reward": {"AAA": 1.0}, "default": 0.0, "scale": "linear"},
        ValueError, "default=0.0 must be a finite number above 0, or 0 where floor= is given",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "words"), BAD)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        small(**arguments)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("ACG", TypeError, "must be a list of words"),
        (["ACG", 3], ValueError, r"words\[1\]=3 must be a string"),
        (["AC"], ValueError, "'AC' has 2 letters; a word has 3"),
        (["ACT"], ValueError, "has 'T' at position 3.*RNA has U where DNA has T"),
        (["acg"], ValueError, "write it in upper case"),
        (["act"], ValueError, "write it in upper case, with U where DNA has T"),
    ],
)
def test_bad_words(words, error, message):
    dag = Sequence("ACGU", length=3)
    for method in (dag.parse, dag.scores):
        with pytest.raises(error, match=message):
            method(words)


# ---- rewards ------------------------------------------------------------------------------------


def test_function_is_asked_once_a_word_and_its_failures_are_counted():
    asked = []

    def function(words):
        asked.extend(words)
        return [math.nan if word == "CCC" else tilted_words([word])[0] for word in words]

    dag = small(reward=StringReward(function, on_failure="floor", floor=-9.0), reward_exponent=2)
    states = dag.parse(["AAA", "CCC", "AAA", "ACA"])
    for _ in range(2):
        expected = [2 * tilted_words([w])[0] if w != "CCC" else -18.0 for w in dag.format(states)]
        assert dag.log_reward(states).tolist() == expected
    assert asked == ["AAA", "CCC", "ACA"]
    assert dag.reward.function.failures == {"not finite": 1}
    assert dag.scores(["CCC"]).tolist() == [-9.0]
    with pytest.raises(RewardError, match="no reward for CCC: not finite"):
        small(reward=function).log_reward(states)


def test_linear_scale():
    values = {"AAA": 2.0, "CCC": 0.0, "ACA": -1.0}
    dag = small(reward=lambda words: [values[w] for w in words], scale="linear", reward_exponent=3)
    assert dag.log_reward(dag.parse(["AAA"])) == pytest.approx([3 * math.log(2)])
    for word, message in (("CCC", "R = 0.0 of 'CCC'.*floor="), ("ACA", "R = -1.0 of 'ACA'")):
        with pytest.raises(ValueError, match=message):
            dag.log_reward(dag.parse([word]))
    floored = small(reward=lambda words: [values[w] for w in words], scale="linear", floor=0.5)
    assert floored.log_reward(dag.parse(["CCC"])) == pytest.approx([math.log(0.5)])
    with pytest.raises(ValueError, match=r"R = -1.0 of 'ACA'"):
        floored.log_reward(dag.parse(["ACA"]))


def test_landscape_has_a_floor_and_a_power():
    scores = {"AAA": 2.0, "CCC": 0.001, "ACA": -7.0}
    reward = Landscape(lambda words: [scores[w] for w in words])
    states = small().parse(list(scores))
    expected = np.log([2.0, 0.01, 0.01])
    assert small(reward=reward).log_reward(states) == pytest.approx(8 * expected)
    sharp = small(reward=reward, reward_exponent=3.0, floor=0.1)
    assert sharp.log_reward(states) == pytest.approx(3 * np.log([2.0, 0.1, 0.1]))
    assert sharp.scores(list(scores)).tolist() == list(scores.values())


TABLE = {"AAA": 1.0, "CAC": -2.5}


@pytest.fixture(params=["dict", "csv", "csv with names", "parquet"])
def table(request, tmp_path):
    if request.param == "dict":
        return TABLE
    if request.param == "parquet":
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is missing: extra 'sequences'")
        from pyarrow import parquet

        columns = {"word": list(TABLE), "value": list(TABLE.values())}
        parquet.write_table(arrow.table(columns), tmp_path / "table.parquet")
        return tmp_path / "table.parquet"
    names = "word,value\n" if "names" in request.param else ""
    lines = [f"{word},{value}\n" for word, value in TABLE.items()]
    (tmp_path / "table.csv").write_text(names + "".join(lines))
    return str(tmp_path / "table.csv")


def test_tables(table):
    dag = small(reward=table, default=0.25, reward_exponent=2.0)
    assert dag.log_reward(dag.parse(["AAA", "CAC", "CCC"])).tolist() == [2.0, -5.0, 0.5]
    graph = enumerate_graph(dag)
    assert dag.log_partition() == pytest.approx(graph.log_partition(), abs=1e-12)


def test_log_partition_of_a_table_of_long_words():
    dag = Sequence("ACGU", length=600, reward={"A" * 600: 3.0}, default=0.5)
    assert dag.log_partition() == pytest.approx(600 * math.log(4) + 0.5)


def test_every_bad_line_is_named(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("word,value\nAAA,1\nAAG,1\nCC,1\nCCC,nan\nAAA,2\nACA,1,5\nCAC,\n")
    with pytest.raises(ValueError) as raised:
        small(reward=path, default=0.0)
    for message in (
        "has 6 bad entries",
        "line 3: 'AAG' has 'G' at position 3",
        "line 4: 'CC' has 2 letters",
        "line 5: the value 'nan' must be a finite number",
        "line 6: 'AAA' is there twice, first at line 2",
        "line 7: ['ACA', '1', '5'] must be two fields",
        "line 8: the value '' must be a finite number",
    ):
        assert message in str(raised.value)


def test_tables_in_another_encoding_are_named(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("AAA,1\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"reward='.*table\.csv' must be a text file in UTF-8"):
        small(reward=path, default=0.0)


def test_long_lists_of_bad_lines_are_cut(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("".join(f"GGG,{i}\n" for i in range(25)))
    with pytest.raises(ValueError, match=r"25 bad entries(.|\n)*and 15 more"):
        small(reward=path, default=0.0)


@pytest.mark.parametrize("module", ["pyarrow", "PIL"])
def test_what_is_missing_is_named_with_its_extra(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "t.parquet").touch()
    with pytest.raises(ImportError, match=r"pip install 'gfn-gym\[sequences\]'"):
        if module == "PIL":
            small().render(small().initial_states(1), "rgb_array")
        small(reward=tmp_path / "t.parquet")


def test_pickles_and_copies_are_made_alike():
    dag = small(reward=StringReward(tilted_words), reward_exponent=2.0)
    states = dag.parse(["AAA", "CAC"])
    for again in (pickle.loads(pickle.dumps(dag)), copy.deepcopy(dag)):
        assert again.log_reward(states).tolist() == dag.log_reward(states).tolist()
        assert again.reward.function == dag.reward.function


# ---- pictures -----------------------------------------------------------------------------------


def test_text_in_numbered_blocks_of_ten():
    dag = Sequence("ACGU", max_length=72, order="append")
    states = dag.parse(["ACGUA" * 13])
    assert dag.render(states, "ansi").splitlines() == [
        "     1 " + " ".join(["ACGUAACGUA"] * 6),
        "    61 ACGUA····· ··",
        "65 of 1 to 72",
    ]


@pytest.mark.parametrize(
    "arguments",
    [{"alphabet": "ACGT"}, {"alphabet": "ACDEFGHIKLMNPQRSTVWY"}, {"alphabet": ["one", "two"]}],
)
def test_pixels_tell_letters_apart(arguments):
    pytest.importorskip("PIL", reason="Pillow is missing: extra 'sequences'")
    env = gymnasium.make("SequenceGFN-v0", length=4, render_mode="rgb_array", **arguments)
    env.reset(seed=0)
    width = env.unwrapped.dag.alphabet.size
    env.step(1)
    one = env.render()
    env.reset(seed=0)
    env.step(width + 1)
    other = env.render()
    assert one.dtype == np.uint8 and one.shape == other.shape and one.shape[2] == 3
    left, right = one.shape[1] // 4, one.shape[1] // 2
    assert (one[-22:, :left] != other[-22:, :left]).any()
    assert (one[-22:, :left] == other[-22:, left:right]).all()
