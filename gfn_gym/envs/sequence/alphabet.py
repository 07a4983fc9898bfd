"""What words are made of, and how they are written and read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gfn_gym.dag import States

GAP = "·"
"""How a position that is still empty is written."""


class Alphabet:
    """Tokens by number, 0 to A − 1; A stands for an empty position.

    No token begins another one, so that a word, its tokens written one after another, can be read
    in one way only.

    Args:
        alphabet: a string of distinct characters, or a list of distinct tokens.

    Raises:
        TypeError: neither a string nor a list of strings.
        ValueError: fewer than two tokens, one that is empty, repeated, blank or begins another.
    """

    def __init__(self, alphabet: str | Sequence[str]):
        self.tokens = _tokens(alphabet)
        self.size = len(self.tokens)
        self._number = {token: i for i, token in enumerate(self.tokens)}
        self._single = all(len(token) == 1 for token in self.tokens)
        self._pattern = re.compile("|".join(map(re.escape, self.tokens)))

    def __repr__(self) -> str:
        return repr("".join(self.tokens) if self._single else list(self.tokens))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alphabet) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def write(self, rows: States, after_end: str = GAP) -> list[str]:
        """Return rows (n, L) of token numbers as words; ``after_end`` is what A is written as."""
        if not self._single:
            written = [*self.tokens, after_end]
            return ["".join([written[number] for number in row]) for row in rows.tolist()]
        # Rows of characters, read as strings; numpy leaves the zeros at their ends out.
        codes = np.array([ord(c) for c in [*self.tokens, after_end or "\0"]], dtype=np.uint32)
        characters = np.ascontiguousarray(codes[rows])
        words: list[str] = characters.view(f"U{rows.shape[1]}")[:, 0].tolist()
        return words

    def split(self, word: str) -> list[int] | None:
        """Return the token numbers of a word, or None where it cannot be read."""
        if self._single:
            numbers = [self._number.get(character, -1) for character in word]
            return None if -1 in numbers else numbers
        tokens = self._pattern.findall(word)
        return [self._number[token] for token in tokens] if "".join(tokens) == word else None

    def problem(self, word: Any, least: int, most: int) -> str | None:
        """Return what keeps ``word`` from being a word of ``least`` to ``most`` tokens, or None."""
        if not isinstance(word, str):
            return f"{word!r} must be a string"
        numbers = self.split(word)
        if numbers is None:
            return f"{word!r} {self._unreadable(word)}"
        if least <= len(numbers) <= most:
            return None
        wanted = f"{least}" if least == most else f"{least} to {most}"
        return f"{word!r} has {len(numbers)} letters; a word has {wanted}"

    def _unreadable(self, word: str) -> str:
        place = 0
        while match := self._pattern.match(word, place):
            place = match.end()
        reason = f"has {word[place]!r} at position {place + 1}, which is not in the alphabet {self}"
        if self.split(word.upper()) is not None:
            return f"{reason}: write it in upper case"
        if "U" in self._number and "T" not in self._number:
            if word[place] in "Tt":
                return f"{reason}: RNA has U where DNA has T"
            if self.split(word.upper().replace("T", "U")) is not None:
                return f"{reason}: write it in upper case, with U where DNA has T"
        return reason

    def read(self, name: str, words: Any, least: int, most: int) -> States:
        """Return words as rows of token numbers, int16 (n, ``most``), A after their ends.

        Args:
            name: of the argument, for messages.
            words: a list of n strings.
            least, most: how many tokens they may have.

        Raises:
            TypeError: not a list of strings.
            ValueError: a word that cannot be read, or is too short or too long, by its place.
        """
        if isinstance(words, str) or not isinstance(words, Iterable):
            raise TypeError(f"{name}={words!r} must be a list of words, even for one")
        words = list(words)
        rows = np.full((len(words), most), self.size, dtype=np.int16)
        for place, word in enumerate(words):
            problem = self.problem(word, least, most)
            if problem is not None:
                raise ValueError(f"{name}[{place}]={problem}")
            numbers = self.split(word)
            assert numbers is not None
            rows[place, : len(numbers)] = numbers
        return rows


def _tokens(alphabet: Any) -> tuple[str, ...]:
    if isinstance(alphabet, (bytes, bytearray)) or not isinstance(alphabet, Sequence):
        raise TypeError(f"alphabet={alphabet!r} must be a string of characters or a list of tokens")
    tokens = tuple(alphabet)
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"alphabet={alphabet!r} has {token!r}: its tokens must be strings")
        if not token.isprintable() or any(c.isspace() for c in token) or GAP in token or not token:
            raise ValueError(
                f"alphabet={alphabet!r} has {token!r}: a token must be printable, without blanks "
                f"and without {GAP}, which stands for an empty position"
            )
    if len(tokens) < 2:
        raise ValueError(f"alphabet={alphabet!r} must have at least two tokens")
    for first, second in zip(sorted(tokens), sorted(tokens)[1:], strict=False):
        if second.startswith(first):
            what = "twice" if first == second else f"and {second!r}, which begins with it"
            raise ValueError(
                f"alphabet={alphabet!r} has {first!r} {what}: words could not be read back"
            )
    return tokens
