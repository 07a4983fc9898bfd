"""Reading a user's data: an array, columns by name, anything like a DataFrame, or a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfn_gym.arguments import open_text
from gfn_gym.dag import Floats
from gfn_gym.envs.bayesian_network.bits import LARGEST

Column = NDArray[Any]
MISSING = {"na", "n/a", "nan", "null"}
"""Cells of a CSV file, in lower case, that stand for no value, as R and pandas write them."""


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
        names: d names, all different.
        columns: d arrays of shape (N,), of any dtype.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def observations(self) -> int:
        """The number of rows, N."""
        return len(self.columns[0])

    def real(self) -> Floats:
        """Return the columns as finite numbers, float64 (N, d).

        Raises:
            ValueError: a value is missing, infinite or not a number; the message says where.
        """
        return np.stack([self._real(i) for i in range(len(self.names))], axis=1)

    def codes(self) -> NDArray[np.int64]:
        """Return the columns as levels 0, 1, …, int64 (N, d): the sorted values that occur.

        Raises:
            ValueError: a value is missing, or a number that is not whole; the message says where.
        """
        return np.stack([self._codes(i) for i in range(len(self.names))], axis=1)

    def _real(self, i: int) -> Floats:
        try:
            if self.columns[i].dtype.kind in "mMc":  # numpy would turn dates into nanoseconds
                raise TypeError(f"they are {self.columns[i].dtype}")
            values = self.columns[i].astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"data: column {self.names[i]!r} must hold numbers for a Gaussian score: {error}; "
                "discrete data go with score='bde'"
            ) from error
        self._require(i, np.isfinite(values), "must be a finite number")
        return values

    def _codes(self, i: int) -> NDArray[np.int64]:
        column = self.columns[i]
        if column.dtype.kind == "f":
            whole = np.isfinite(column) & (column == np.round(column))
            rule = "must be a whole number or a label for score='bde'; cut it into levels first"
            self._require(i, whole, rule)
        elif column.dtype.kind not in "iub":
            values = column.tolist()
            self._require(i, np.array([not _is_missing(value) for value in values]), "is missing")
            column = np.array([str(value) for value in values])
        return np.unique(column, return_inverse=True)[1].astype(np.int64)

    def _require(self, i: int, good: NDArray[np.bool_], rule: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            value = self.columns[i][row]
            shown = repr(str(value)) if isinstance(value, str) else str(value)
            raise ValueError(f"data: {shown} in column {self.names[i]!r}, row {row}, {rule}")


def read_table(data: Any) -> Table:
    """Return the columns of ``data``.

    Args:
        data: an array (N, d), whose columns are called X0, X1, …; a dict {name: column (N,)}; an
            object with ``columns`` and ``to_numpy``, as pandas DataFrames have; or the path of a
            CSV file whose first row names the columns. A cell that is empty, NA, N/A, NaN or null
            (in any case) is missing.

    Raises:
        TypeError: something else.
        ValueError: not two-dimensional, columns of different lengths, no rows, less than two
            columns or more than 52, or names that are empty or not distinct.
        OSError: the file cannot be read.
    """
    if isinstance(data, (str, PathLike)):
        table = _read_csv(Path(data))
    elif isinstance(data, Mapping):
        table = _read_columns(data)
    elif hasattr(data, "columns") and hasattr(data, "to_numpy"):
        names = [str(name) for name in data.columns]
        if hasattr(data, "iloc"):  # each column in its own dtype
            columns = [np.asarray(data.iloc[:, i]) for i in range(len(names))]
        else:
            columns = list(np.asarray(data.to_numpy()).T)
        table = Table(tuple(names), tuple(columns))
    elif isinstance(data, np.ndarray):
        if data.ndim != 2:
            raise ValueError(f"data has shape {data.shape}; it must be (observations, nodes)")
        table = Table(tuple(f"X{i}" for i in range(data.shape[1])), tuple(data.T))
    else:
        raise TypeError(
            f"data={data!r} must be an array (observations, nodes), a dict of columns, a DataFrame "
            "or the path of a CSV file"
        )
    _check(table)
    return table


def _check(table: Table) -> None:
    names = table.names
    if not 2 <= len(names) <= LARGEST:
        raise ValueError(f"data has {len(names)} columns; it must have from 2 to {LARGEST}")
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(f"data: the columns' names {list(names)} must be distinct and not empty")
    if table.observations < 1:
        raise ValueError("data has no rows")


def _read_columns(data: Mapping[Any, Any]) -> Table:
    columns = {str(name): np.asarray(column) for name, column in data.items()}
    shapes = {column.shape for column in columns.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ValueError(
            f"data: the columns have shapes {sorted(shapes)}; they must be (observations,), all of "
            "the same length"
        )
    if len(columns) < len(data):
        raise ValueError(f"data: the columns' names {list(data)} must be distinct as strings")
    return Table(tuple(columns), tuple(columns.values()))


def _read_csv(path: Path) -> Table:
    rows = [row for row in csv.reader(open_text("data", path)) if row]
    if len(rows) < 2:
        raise ValueError(f"data={str(path)!r} must have a row of names and at least one of values")
    names = [name.strip() for name in rows[0]]
    if all(_is_number(name) for name in names):
        raise ValueError(f"data={str(path)!r}: the first row {names} must name the columns")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(
                f"data={str(path)!r}: row {number} has {len(row)} cells, not {len(names)}"
            )
    columns = zip(*rows[1:], strict=True)
    return Table(tuple(names), tuple(_parse([_strip(cell) for cell in c]) for c in columns))


def _strip(cell: str) -> str:
    """A cell without blanks around it; "" where it is missing."""
    stripped = cell.strip()
    return "" if stripped.lower() in MISSING else stripped


def _is_missing(value: Any) -> bool:
    """Whether a label is None, empty, NaN or NaT, which differ from themselves, or pandas' NA."""
    try:
        return value is None or bool(value == "" or value != value)
    except TypeError:  # of NA no comparison is true or false
        return True


def _parse(cells: list[str]) -> Column:
    """Numbers where all cells are numbers or empty (NaN), else strings."""
    if all(_is_number(cell) for cell in cells if cell):
        return np.array([float(cell) if cell else np.nan for cell in cells])
    return np.array(cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
