"""Downloads against a server on this machine: checked before opening, nothing left half-written."""

from __future__ import annotations

import gc
import gzip
import hashlib
import http.server
import os
import pickle
import re
import sys
import threading
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from gfn_gym.envs.molecule import downloads
from gfn_gym.envs.molecule.downloads import Download, load_arrays
from gfn_gym.envs.molecule.test_molecules_file import load_test_molecules
from seh_data import data_folder, needs_data

CONTENT = b"the published file " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()

__all__ = ["data_folder"]


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, something else, or half of CONTENT, as ``behaviour`` says."""

    behaviour = "good"
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.requests += 1
        if self.server.behaviour == "missing":
            self.send_error(404)
            return
        body = CONTENT if self.server.behaviour != "wrong" else b"something else"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.server.behaviour == "cut" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # pooch leaves failed answers open
        gc.collect()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder named, and no proxy before this machine."""
    monkeypatch.delenv("GFN_GYM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "gfn_gym"


def download(server, **changes):
    fields = {"name": "file.bin", "what": "the file", "sha256": SHA256, "url": server.url}
    return Download(**{**fields, **changes})


def left_in(folder):
    return sorted(os.listdir(folder)) if folder.exists() else []


# ---- from the server ------------------------------------------------------------------------


def test_good_file_is_fetched_once(server, cache):
    assert download(server).path() == cache / "file.bin"
    assert download(server).path().read_bytes() == CONTENT
    assert server.requests == 1
    assert left_in(cache) == ["file.bin"]


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        ("wrong", ValueError, "is not the file, its SHA-256 is another"),
        ("cut", FileNotFoundError, "the file could not be downloaded: fetch"),
        ("missing", FileNotFoundError, "the file could not be downloaded: fetch .*404"),
    ],
)
def test_bad_answer_leaves_nothing_and_can_be_retried(server, cache, behaviour, error, words):
    server.behaviour = behaviour
    with pytest.raises(error, match=words) as raised:
        download(server).path()
    for word in (f"fetch {server.url}", SHA256, "put it as 'file.bin'", "GFN_GYM_DATA"):
        assert word in str(raised.value)
    assert left_in(cache) == []
    server.behaviour = "good"
    assert download(server).path().read_bytes() == CONTENT


def test_nobody_answers(server, cache):
    closed = download(server, url="http://127.0.0.1:9/file.bin")
    with pytest.raises(FileNotFoundError, match=r"fetch http://127.0.0.1:9/file.bin \(SHA-256"):
        closed.path()
    assert left_in(cache) == []


def test_spoilt_cache_is_fetched_again(server, cache):
    download(server).path().write_bytes(CONTENT[:100])
    assert download(server).path().read_bytes() == CONTENT
    assert server.requests == 2


# ---- offline --------------------------------------------------------------------------------


def test_named_folder_comes_first_and_needs_neither_server_nor_pooch(
    server, cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("GFN_GYM_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pooch", None)  # as if it were not installed
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert download(server).path() == tmp_path / "file.bin"
    assert server.requests == 0


def test_named_folder_without_the_file_falls_back_to_the_server(
    server, cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("GFN_GYM_DATA", str(tmp_path / "nowhere"))
    assert download(server).path() == cache / "file.bin"


def test_wrong_file_in_the_named_folder_is_not_opened(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GFN_GYM_DATA", str(tmp_path))
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"file\.bin is not the file: its SHA-256 is") as raised:
        download(server).path()
    assert SHA256 in str(raised.value)
    assert server.requests == 0


def test_without_pooch_the_message_says_how_to_get_it(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'gfn-gym\[molecules\]'"):
        download(server).path()


def test_file_without_an_address(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GFN_GYM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="the file is missing") as raised:
        download(server, url=None).path()
    assert repr(str(tmp_path)) in str(raised.value)


# ---- the pickle -----------------------------------------------------------------------------


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")  # which would create the file


def dumped(path: Path, content: object, protocol: int = 3) -> Path:
    with gzip.open(path, "wb") as file:
        pickle.dump(content, file, protocol)
    return path


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_are_read(tmp_path, protocol):
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(1, np.float32)]
    read = load_arrays(dumped(tmp_path / "arrays", arrays, protocol))
    assert len(read) == 2
    assert all(np.array_equal(a, b) for a, b in zip(arrays, read, strict=True))
    assert all(array.dtype == np.float32 for array in read)
    assert np.dtype("f4").isnative


def test_nothing_but_arrays_is_made(tmp_path):
    created = tmp_path / "created"
    one = np.ones(1, np.float32)
    with pytest.raises(pickle.UnpicklingError, match=r"io\.open; only arrays are admitted"):
        load_arrays(dumped(tmp_path / "evil", [one, Evil(str(created))]))
    objects = np.array([Evil(str(created))])
    with pytest.raises(pickle.UnpicklingError, match="'O8', not of float32"):
        load_arrays(dumped(tmp_path / "objects", [objects]))
    assert not created.exists()


@pytest.mark.parametrize(
    "content", [{"weights": np.ones(1, np.float32)}, [np.ones(1)], [1.0, 2.0], np.ones(1, "f4")]
)
def test_other_content_is_refused(tmp_path, content):
    with pytest.raises(pickle.UnpicklingError, match="float32"):
        load_arrays(dumped(tmp_path / "other", content))


# ---- the published files --------------------------------------------------------------------


@needs_data
def test_published_files(cache, data_folder):
    weights = downloads.proxy_weights()
    named = np.load(data_folder / "seh_proxy_weights.npz")
    assert len(weights) == len(named.files) == 22
    assert all(np.array_equal(w, named[n]) for w, n in zip(weights, named.files, strict=True))
    assert downloads.pdb105() == data_folder / "blocks_PDB_105.json"
    assert len(downloads.test_molecules()) == 950
    assert left_in(cache) == []


@needs_data
def test_upstreams_pickle_holds_the_converted_molecules(data_folder):
    if not downloads.TEST_MOLECULES.is_given():
        pytest.skip("upstream's pickle is not in the folder")
    fields = ("blocks", "bonds", "stems", "reward")
    converted = [{name: m[name] for name in fields} for m in downloads.test_molecules()]
    assert load_test_molecules(downloads.TEST_MOLECULES.path()) == converted


# ---- a pickle of molecules, none of whose objects is made -------------------------------------


class Upstream:
    """Pickled under the name of upstream's class, or under another."""

    def __init__(self, **fields):
        vars(self).update(fields)


def pickled_molecule(tmp_path, monkeypatch, name="BlockMoleculeDataExtended", **changes):
    module = types.ModuleType("mol_mdp_ext")
    upstream = type(name, (Upstream,), {"__module__": "mol_mdp_ext"})
    setattr(module, name, upstream)
    fields = {"blockidxs": [3, 9], "jbonds": [[0, 1, 0, 1]], "stems": [[1, 2]], "reward": 0.5}
    monkeypatch.setitem(sys.modules, "mol_mdp_ext", module)
    path = dumped(tmp_path / "molecules", [(0.5, upstream(**{**fields, **changes}), [], 0.1)])
    monkeypatch.delitem(sys.modules, "mol_mdp_ext")
    return path


def test_molecules_are_read_without_their_class(tmp_path, monkeypatch):
    path = pickled_molecule(tmp_path, monkeypatch, blocks=[Chem.MolFromSmiles("CO")])
    assert load_test_molecules(path) == [
        {"blocks": [3, 9], "bonds": [[0, 1, 0, 1]], "stems": [[1, 2]], "reward": 0.5}
    ]


def test_what_is_not_a_molecule_is_refused(tmp_path, monkeypatch):
    created = tmp_path / "created"
    evil = pickled_molecule(tmp_path, monkeypatch, _mol=Evil(str(created)))
    with pytest.raises(pickle.UnpicklingError, match="the file holds"):
        load_test_molecules(evil)
    assert not created.exists()
    with pytest.raises(pickle.UnpicklingError, match=r"holds mol_mdp_ext\.Other; only"):
        load_test_molecules(pickled_molecule(tmp_path, monkeypatch, "Other"))
    with pytest.raises(pickle.UnpicklingError, match=r"not a list of molecules: .*not integers"):
        load_test_molecules(pickled_molecule(tmp_path, monkeypatch, blockidxs=[1.5]))
    with pytest.raises(pickle.UnpicklingError, match="not a list of molecules"):
        load_test_molecules(dumped(tmp_path / "numbers", [1, 2]))


def test_addresses_are_pinned():
    for file in (downloads.PDB105, downloads.PROXY_WEIGHTS):
        assert file.url is not None
        assert file.url.startswith("https://github.com/GFNOrg/gflownet/raw/3ba65d243bb2e4fe77b3")
        assert file.url.endswith("/" + file.name)
    assert re.fullmatch(
        r"https://github.com/GFNOrg/gflownet/raw/4d3a7d5[0-9a-f]{33}/mols/data/some_mols_U_1k.pkl.gz",
        downloads.TEST_MOLECULES.url,
    )
