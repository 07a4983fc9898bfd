"""Tables of words and their values, from a dict, a CSV or a Parquet file."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gfn_gym.arguments import open_text

SHOWN = 10  # bad lines that a message names


def read_table(
    table: str | Path | Mapping[str, Any],
    problem: Callable[[Any], str | None],
    linear: bool = False,
    floored: bool = False,
) -> dict[str, float]:
    """Return the values of words.

    Files have two columns, word and value. A CSV may begin with a line of names.

    Args:
        table: a dict, or the path of a file that ends in .csv or .parquet.
        problem: a word → what is wrong with it, or None.
        linear: values are R, so negative ones are bad; so is 0 unless ``floored``.
        floored: see above.

    Raises:
        FileNotFoundError: no such file.
        ImportError: a Parquet file, and pyarrow is missing.
        ValueError: bad lines, all counted and the first ten named; an empty table.
    """
    if isinstance(table, Mapping):
        source, entries = "the table", _of_dict(table)
    else:
        path = Path(table)
        if not path.is_file():
            raise FileNotFoundError(f"reward={str(table)!r}: there is no such file")
        source = str(path)
        entries = _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_csv(path, problem)
    values: dict[str, float] = {}
    first_place: dict[str, str] = {}
    bad: list[str] = []
    for place, word, value in entries:
        number = _number(value)
        if word is None and isinstance(value, list):
            wrong: str | None = f"{value} must be two fields, word and value"
        else:
            wrong = problem(word) or _bad_value(value, number, linear, floored)
        if wrong is None and word in values:
            wrong = f"{word!r} is there twice, first at {first_place[word]}"
        if wrong is not None:
            bad.append(f"{place}: {wrong}")
        else:
            assert number is not None
            values[word], first_place[word] = number, place
    if bad:
        more = f"\n… and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        count = "1 bad entry" if len(bad) == 1 else f"{len(bad)} bad entries"
        raise ValueError(f"{source} has {count}:\n" + "\n".join(bad[:SHOWN]) + more)
    if not values:
        raise ValueError(f"{source} has no entries")
    return values


Entry = tuple[str, Any, Any]
"""Where it stands, the word, and the value."""


def _of_dict(table: Mapping[str, Any]) -> Iterator[Entry]:
    for number, (word, value) in enumerate(table.items(), start=1):
        yield f"entry {number}", word, value


def _of_csv(path: Path, problem: Callable[[Any], str | None]) -> Iterator[Entry]:
    reader = csv.reader(open_text("reward", path))
    for number, fields in enumerate(reader):
        place = f"line {reader.line_num}"
        if len(fields) == 2:
            word, value = fields[0].strip(), fields[1]
            names = number == 0 and problem(word) is not None and _number(value) is None
            if not names:
                yield place, word, value
        elif fields:
            yield place, None, fields


def _of_parquet(path: Path) -> Iterator[Entry]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"reward={str(path)!r}: Parquet files need pyarrow: pip install 'gfn-gym[sequences]'"
        ) from error
    columns = parquet.read_table(path)
    if columns.num_columns != 2:
        raise ValueError(
            f"{path} has the columns {columns.column_names}; a table has two, word and value"
        )
    words, values = (column.to_pylist() for column in columns.columns)
    for number, (word, value) in enumerate(zip(words, values, strict=True), start=1):
        yield f"row {number}", word, value


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _bad_value(value: Any, number: float | None, linear: bool, floored: bool) -> str | None:
    if number is None or not math.isfinite(number):
        return f"the value {value!r} must be a finite number"
    if linear and (number < 0 or (number == 0 and not floored)):
        rule = "not be negative" if floored else "be above 0 (or floor= given, for zeros)"
        return f"R = {value} must {rule} with scale='linear'"
    return None
