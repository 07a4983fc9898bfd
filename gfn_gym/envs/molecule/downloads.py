"""The published files that molecules need: fetched once, checked, and opened with care.

They are looked for in the folder that the environment variable ``GFN_GYM_DATA`` names, then in
pooch's cache, and are downloaded from their public addresses at pinned commits otherwise. A file
is opened only after its SHA-256 has been seen to be the right one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.envs.molecule.test_molecules_file import load_test_molecules

FOLDER_VARIABLE = "GFN_GYM_DATA"
TIMEOUT = 60  # seconds without a byte
_UPSTREAM = (
    "https://github.com/GFNOrg/gflownet/raw/3ba65d243bb2e4fe77b3b93dc5f1634fd3ea5ea6/mols/data/"
)


@dataclass(frozen=True)
class Download:
    """A file by its name, what it is, its SHA-256, and its address, if it has one."""

    name: str
    what: str
    sha256: str
    url: str | None = None

    def is_given(self) -> bool:
        """Whether a file of that name lies in the folder that ``GFN_GYM_DATA`` names."""
        folder = os.environ.get(FOLDER_VARIABLE)
        return bool(folder) and (Path(folder or "") / self.name).is_file()

    def path(self) -> Path:
        """Return where the checked file lies, downloading it if need be.

        Raises:
            FileNotFoundError: it is nowhere and could not be downloaded; the message says what to
                fetch and where to put it.
            ValueError: the file in ``GFN_GYM_DATA``, or the one downloaded, is another one.
            ImportError: it has to be downloaded, and pooch is not installed.
        """
        if self.is_given():
            return self._checked(Path(os.environ[FOLDER_VARIABLE]) / self.name)
        if self.url is None:
            raise FileNotFoundError(f"{self.what} is missing: {self._instructions()}")
        return self._downloaded(self.url)

    def _checked(self, path: Path) -> Path:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ValueError(
                f"{path} is not {self.what}: its SHA-256 is {found}, not {self.sha256}; remove it, "
                f"or {self._instructions()}"
            )
        return path

    def _downloaded(self, url: str) -> Path:
        try:
            import pooch  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError(
                f"pooch downloads {self.what}: pip install 'gfn-gym[molecules]', or "
                f"{self._instructions()}"
            ) from error
        try:
            path = pooch.retrieve(
                url,
                known_hash=f"sha256:{self.sha256}",
                fname=self.name,
                path=pooch.os_cache("gfn_gym"),
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
            )
        except OSError as error:  # requests' errors are
            raise FileNotFoundError(
                f"{self.what} could not be downloaded: {self._instructions()} ({error})"
            ) from error
        except ValueError as error:  # pooch has thrown it away
            raise ValueError(
                f"what {url} sent is not {self.what}, its SHA-256 is another: "
                f"{self._instructions()}"
            ) from error
        return Path(path)

    def _instructions(self) -> str:
        source = f"fetch {self.url}" if self.url else "copy it"
        folder = os.environ.get(FOLDER_VARIABLE)
        named = f"{folder!r}, the folder" if folder else "a folder"
        return (
            f"{source} (SHA-256 {self.sha256}) and put it as {self.name!r} into {named} that the "
            f"environment variable {FOLDER_VARIABLE} names"
        )


PDB105 = Download(
    "blocks_PDB_105.json",
    "the paper's vocabulary of 105 blocks",
    "0fcc09130c2e03046ecf3ccc6cb5f903abdb912a541b3f9f2d4578ab01453b88",
    _UPSTREAM + "blocks_PDB_105.json",
)
PROXY_WEIGHTS = Download(
    "best_params.pkl.gz",
    "the file of the sEH proxy's weights",
    "f76ab480b62e23dda04fd45fefe0e7ae2374b3f8c3f18fb7e00651cad05b9e1f",
    _UPSTREAM + "pretrained_proxy/best_params.pkl.gz",
)
TEST_MOLECULES = Download(
    "some_mols_U_1k.pkl.gz",
    "the file of the paper's test molecules",
    "36aedfd2e9d3098bf23836a392dbcb740d254dcd352957d40f56386263e6c916",
    "https://github.com/GFNOrg/gflownet/raw/4d3a7d5d0957f8973912dbd5bda33cd7acf66f36/mols/data/"
    "some_mols_U_1k.pkl.gz",  # on the branch trajectory_balance
)
CONVERTED = Download(
    "test_mols.json",
    "the converted file of the paper's test molecules",
    "e8785a9cd22183374535dc6b60d98edf5bcec761c0b83ac9e4a120f3a7833742",
)
"""The same molecules as JSON, as this project's data hold them."""


def pdb105() -> Path:
    """Return where the paper's vocabulary lies, a JSON file for ``read_pairs``; see Download."""
    return PDB105.path()


def proxy_weights() -> list[NDArray[np.float32]]:
    """Return the sEH proxy's 22 arrays; raises as :meth:`Download.path` does."""
    return load_arrays(PROXY_WEIGHTS.path())


def test_molecules() -> list[dict[str, Any]]:
    """Return the paper's 950 test molecules; raises as :meth:`Download.path` does.

    Of each: ``blocks`` (entries of the paper's vocabulary in the order of addition), ``bonds``
    ([block, block, atom, atom]), ``stems`` ([block, atom], repeats count) and ``reward`` (stored
    upstream, β = 10). Where ``test_mols.json`` lies in ``GFN_GYM_DATA`` that is read, and has
    ``smiles`` and ``proxy`` as well.
    """
    if CONVERTED.is_given():
        molecules: list[dict[str, Any]] = json.loads(CONVERTED.path().read_text())["mols"]
        return molecules
    return load_test_molecules(TEST_MOLECULES.path())


# ---- a pickle that holds nothing but arrays -----------------------------------------------------


def load_arrays(path: Path) -> list[NDArray[np.float32]]:
    """Read a gzipped pickle of a list of float32 arrays; nothing else in it is ever made.

    Raises:
        pickle.UnpicklingError: it names anything else.
    """
    with gzip.open(path) as file:
        arrays = _ArraysOnly(file).load()
    if not isinstance(arrays, list) or not all(
        isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays
    ):
        raise pickle.UnpicklingError(f"{path} is not a list of float32 arrays")
    return arrays


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the file holds {module}.{name}; only arrays are admitted"
            ) from None


def _float32(name: Any, *_: Any) -> np.dtype[np.float32]:
    """In the place of ``numpy.dtype``: arrays of objects could hold anything."""
    if name != "f4":
        raise pickle.UnpicklingError(f"the file holds an array of {name!r}, not of float32")
    return np.dtype("f4", copy=True)  # the unpickler sets its byte order


_reconstruct: Callable[..., Any] = np.zeros(0).__reduce__()[0]  # type: ignore[assignment]
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _float32,
}
