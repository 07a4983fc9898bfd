"""Rewards that are slow and fail, of objects that have names: the cache, failures, processes."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gfn_gym.rewards import Cache, RewardError, StringReward
from slow_rewards import Counting, Docking, failing, leaving, reward_of, sleepy


def test_cache_drops_what_was_asked_for_longest_ago():
    cache, computed = Cache(2), []

    def look_up(keys):
        def compute(rows):
            computed.extend(keys[i] for i in rows)
            return np.array([float(keys[i]) for i in rows])

        return cache.values_of(keys, compute).tolist()

    assert look_up(["1", "2", "1", "3"]) == [1, 2, 1, 3]  # more than there is room for
    assert (computed, len(cache)) == (["1", "2", "3"], 2)
    assert look_up(["2"]) == [2]
    assert look_up(["4"]) == [4]  # drops 3
    assert look_up(["2", "3"]) == [2, 3]
    assert computed == ["1", "2", "3", "4", "3"]


# ---- rewards that fail, in this process ---------------------------------------------------------


def test_floor_for_those_that_fail(caplog):
    reward = StringReward(failing, on_failure="floor", floor=-20.0)
    with caplog.at_level(logging.WARNING):
        values = reward(["CC", "CN", "CI", "CN", "CCO"])
    assert values.tolist() == [reward_of("CC"), -20.0, -20.0, -20.0, reward_of("CCO")]
    assert reward.failures == {"error": 1, "not finite": 1}
    assert reward.failed["CN"].reason == "RuntimeError: no pose for CN"
    assert [record.getMessage() for record in caplog.records] == [
        "no reward for CN: error, RuntimeError: no pose for CN; log R = -20",
        "no reward for CI: not finite, the reward function gave nan; log R = -20",
    ]


def test_floors_are_cached_until_they_are_forgotten():
    function = Counting(bad=["CN"])
    reward = StringReward(function, on_failure="floor", floor=-20.0)
    assert reward(["CN"]) == reward(["CN"]) == [-20.0]
    assert function.asked == [["CN"]]
    function.bad.clear()
    reward.forget_failures()
    assert reward(["CN"]) == [reward_of("CN")]
    assert not reward.failures


def test_raising_names_the_molecule_and_keeps_the_others():
    function = Counting(bad=["CN"])
    reward = StringReward(function)
    with pytest.raises(RewardError, match="no reward for CN: error, RuntimeError: the") as raised:
        reward(["CC", "CN", "CO"])
    assert 'raise RuntimeError("the service is down")' in str(raised.value)  # the traceback
    assert function.asked == [["CC", "CN", "CO"], ["CC"], ["CN"], ["CO"]]
    function.bad.clear()
    assert reward(["CC", "CN", "CO"]) == pytest.approx([-0.2, -0.2, -0.2])
    assert function.asked[4:] == [["CN"]]


@pytest.mark.parametrize("returned", [0.5, [0.5, 0.5, 0.5], None, "high", [["a"], ["b"]]])
def test_function_that_returns_something_else_is_no_failure_of_molecules(returned):
    reward = StringReward(lambda smiles: returned, on_failure="floor", floor=-20.0)
    with pytest.raises(ValueError, match="must return log R, 2 numbers"):
        reward(["CC", "CN"])


# ---- rewards that fail, in processes ------------------------------------------------------------


def test_workers_answer_in_order_and_survive_failures():
    reward = StringReward(failing, on_failure="floor", floor=-20.0, timeout=0.5, workers=2)
    smiles = ["CC", "CS", "CN", "CP", "CI", "CCC", "CCCC", "CCCCC"]
    good = [reward_of(s) for s in ("CC", "CCC", "CCCC", "CCCCC")]
    try:
        assert reward(smiles).tolist() == [good[0], -20.0, -20.0, -20.0, -20.0, *good[1:]]
        assert reward.failures == {"timeout": 1, "error": 1, "died": 1, "not finite": 1}
        assert reward.failed["CS"].reason == "no answer within 0.5 s"
        assert reward.failed["CP"].reason == "its process died with exit code 3"
        assert reward.failed["CN"].reason == "RuntimeError: no pose for CN"
        idle = [worker for worker in reward._pool._workers if worker.ready]
        for worker in idle:  # someone kills those that have nothing to do
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.join()
        assert idle
        assert reward(["CCF", "CC"]).tolist() == [reward_of("CCF"), good[0]]
    finally:
        reward.close()


def is_running(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_late_worker_is_killed_with_the_program_that_it_started(tmp_path):
    reward = StringReward(Docking(tmp_path / "pid"), timeout=1)
    with pytest.raises(RewardError, match=r"no reward for CC: timeout, no answer within 1.0 s"):
        reward(["CC"])
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            if not is_running(pid):
                break
        except (OSError, FileNotFoundError):
            break
        time.sleep(0.02)
    else:
        pytest.fail(f"process {pid} is still running")


def test_worker_that_cannot_start():
    class Unloadable:
        def __reduce__(self):
            return (int, ("no number",))

        def __call__(self, smiles):
            return [0.0]

    reward = StringReward(Unloadable(), on_failure="floor", floor=-20.0, workers=1)
    with pytest.raises(RuntimeError, match="could not start"):
        reward(["CC"])


def test_wrong_shape_in_a_worker():
    reward = StringReward(lambda smiles: [0.0, 0.0], on_failure="floor", floor=-20.0, workers=1)
    with pytest.raises(ValueError, match="must return log R, 1 numbers"):
        reward(["CC"])
    reward.close()


def test_exit_code_of_a_function_that_calls_sys_exit():
    reward = StringReward(leaving, on_failure="floor", floor=-20.0, workers=1)
    try:
        assert reward(["CP", "CC"]).tolist() == [-20.0, reward_of("CC")]
        assert reward.failed["CP"].reason == "its process died with exit code 3"
    finally:
        reward.close()


# ---- threads, forks, copies ---------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_threads_take_turns(workers):
    """Each thread gets its own answers, and no string is asked for twice."""
    reward = StringReward(sleepy, workers=workers)
    words = ["C" * length for length in range(1, 9)]
    batches = [np.random.default_rng(seed).permutation(words).tolist() for seed in range(4)]
    answers: dict[int, list[float]] = {}

    def ask(i):
        answers[i] = reward(batches[i]).tolist()

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert not any(thread.is_alive() for thread in threads)
        assert answers == {i: [reward_of(w) for w in batch] for i, batch in enumerate(batches)}
        assert reward.calls == len(words)
    finally:
        reward.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_starts_workers_of_its_own():
    """With its parent's it would read the parent's answers, and at its end kill them."""
    code = """
import os, sys
from gfn_gym.rewards import StringReward
from slow_rewards import reward_of

if __name__ == "__main__":
    reward = StringReward(lambda strings: [-0.1 * len(s) for s in strings], workers=1)
    assert reward(["C"]) == reward_of("C")
    (worker,) = reward._pool._workers
    child = os.fork()
    if not child:
        good = reward(["CC"]) == reward_of("CC")
        reward.close()
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert worker.process.is_alive() and reward(["CCC"]) == reward_of("CCC")
    assert reward._pool._workers == [worker]
    reward.close()
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_pickles_hold_neither_values_nor_workers():
    reward = StringReward(failing, on_failure="floor", floor=-20.0)
    reward(["CC", "CN"])
    again = pickle.loads(pickle.dumps(reward))
    assert again == reward and again.failures == reward.failures
    assert again(["CC"]).tolist() == [reward_of("CC")] and again.calls == reward.calls + 1


def test_calls_under_way_are_not_counted_in_a_copy():
    """A resumed training asks for them again."""
    reward = StringReward(sleepy, workers=1)
    try:
        reward(["C"])
        with reward.deferring():
            reward(["CC", "CO"])
        assert (reward.calls, pickle.loads(pickle.dumps(reward)).calls) == (3, 1)
    finally:
        reward.close()


# ---- a journal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_journal_outlives_the_process(tmp_path, workers):
    path = tmp_path / "rewards.jsonl"

    def new():
        settings = {"on_failure": "floor", "floor": -20.0, "workers": workers}
        return StringReward(failing, journal=path, **settings)

    reward = new()
    reward(["CC", "CN", 'C"O\n'])
    reward.close()
    again = new()
    assert again(["CC", 'C"O\n']).tolist() == [reward_of("CC"), reward_of('C"O\n')]
    assert again.calls == 0  # both were known
    assert again(["CN", "CCC"]).tolist() == [-20.0, reward_of("CCC")]
    assert again.calls == 2  # failures are tried again
    again.close()
    copy = pickle.loads(pickle.dumps(reward))
    assert copy(["CCC"]) == reward_of("CCC") and copy.calls == reward.calls == 3
    assert len(path.read_text().splitlines()) == 3


def test_journal_whose_last_line_was_cut_off(tmp_path, caplog):
    path = tmp_path / "rewards.jsonl"
    path.write_text('["CC", -7.0]\n["CO", -')
    function = Counting()
    with caplog.at_level(logging.WARNING):
        reward = StringReward(function, journal=path)
        assert reward(["CC", "CO"]).tolist() == [-7.0, reward_of("CO")]
    assert function.asked == [["CO"]]
    assert "rewards.jsonl, line 2 is not a reward" in caplog.text
    assert StringReward(function, journal=path)(["CO", "CC"]).tolist() == [reward_of("CO"), -7.0]
    assert len(function.asked) == 1


@pytest.mark.parametrize(
    "line",
    [b'["CC", NaN]', b'["CC", 1e999]', b'["CC", true]', b'["CC", "2"]', b'"C2"', b'[["CC"], 2]',
     b'["C\xff", 2]', b"\0\0\0", b'["CC", 1' + b"0" * 400 + b"]"],
)  # fmt: skip
def test_journal_with_a_line_that_is_not_a_reward(tmp_path, caplog, line):
    path = tmp_path / "rewards.jsonl"
    path.write_bytes(line + b'\n["CO", -7.0]\n')
    with caplog.at_level(logging.WARNING):
        reward = StringReward(Counting(), journal=path)
        assert reward(["CC", "CO"]).tolist() == [reward_of("CC"), -7.0]
    assert "rewards.jsonl, line 1 is not a reward" in caplog.text
    assert reward.state_dict()["strings"] == ["CO", "CC"]


def test_journal_knows_what_had_failed_here(tmp_path):
    path, settings = tmp_path / "rewards.jsonl", {"on_failure": "floor", "floor": -20.0}
    reward = StringReward(Counting(bad=["CC"]), journal=path, **settings)
    assert reward(["CC"]) == -20.0 and reward.failures == {"error": 1}
    assert StringReward(Counting(), journal=path, **settings)(["CC"]) == reward_of("CC")
    again = pickle.loads(pickle.dumps(reward))  # as a resumed training has it
    assert again(["CC"]) == reward_of("CC") and not again.failures
    assert again.state_dict()["strings"] == ["CC"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")
def test_journal_on_a_full_disk_is_an_error(tmp_path):
    script = (
        "import resource, signal\n"
        "from gfn_gym.rewards import StringReward\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "reward = StringReward(lambda s: [1.0] * len(s), journal='rewards.jsonl')\n"
        "reward(['a', 'b', 'c'])\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1 and "OSError" in ended.stderr
    assert (tmp_path / "rewards.jsonl").read_text() == '["a", 1.0]\n["b", 1.0'


def test_journal_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"journal=.*must be a file, in a folder that exists"):
        StringReward(failing, journal=tmp_path / "nowhere" / "rewards.jsonl")
    with pytest.raises(ValueError, match="must be a file"):
        StringReward(failing, journal=tmp_path)
    with pytest.raises(TypeError, match="journal=3 must be the path"):
        StringReward(failing, journal=3)
    folder = tmp_path / "gone"
    folder.mkdir()
    function = Counting()
    reward = StringReward(function, journal=folder / "rewards.jsonl")
    folder.rmdir()
    with pytest.raises(ValueError, match="in a folder that exists"):
        reward(["CC"])
    assert function.asked == []  # before anything is computed
