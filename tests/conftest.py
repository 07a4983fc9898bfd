"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium
import pytest

import gfn_gym.registration


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back what is registered as it was, so that no test depends on those before it."""
    monkeypatch.setattr(gfn_gym.registration, "_domains", dict(gfn_gym.registration._domains))
    known = dict(gymnasium.registry)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(known)
