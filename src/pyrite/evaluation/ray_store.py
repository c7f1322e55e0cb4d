"""The score store where many machines write: one actor holds it open, and every worker speaks to that one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyrite.core.cards import RewardCard
from pyrite.core.types import Prompt
from pyrite.records.store import Pair, ScoreStore, StoredScore

_CLOSE_S = 30


class Keeper:
    """The stores, open in one process; every worker speaks to it."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths
        self._stores: dict[str, ScoreStore] = {}
        self._begun: Counter[int] = Counter()

    def ready(self) -> None:
        """Fails if a store cannot be opened."""
        for place in self._paths:
            self._store(place)

    def _store(self, place: str) -> ScoreStore:
        if place not in self._stores:
            self._stores[place] = ScoreStore(self._paths[place])
        return self._stores[place]

    def begin(self, unit: int) -> int:
        """How often a worker has begun with a unit, with this time."""
        self._begun[unit] += 1
        return self._begun[unit]

    def close(self) -> None:
        """Let every store write itself into one file."""
        for store in self._stores.values():
            store.close()

    def find(self, place: str, reward_key: str, pairs: Sequence[Pair]) -> dict[Pair, StoredScore]:
        """See `ScoreStore.find`."""
        return self._store(place).find(reward_key, pairs)

    def add(
        self, place: str, card: RewardCard, scores: Mapping[Pair, StoredScore], prompts: Mapping[str, Prompt]
    ) -> None:
        """See `ScoreStore.add`."""
        self._store(place).add(card, scores, prompts)


def close_keeper(keeper: Any) -> None:
    """Let it write everything into one file; where Ray itself is gone, the next to open the store does that."""
    import ray

    with suppress(ray.exceptions.RayError):
        ray.get(keeper.close.remote(), timeout=_CLOSE_S)


@dataclass(frozen=True)
class Kept:
    """A store that is another process's."""

    keeper: Any
    place: str

    def find(self, reward_key: str, pairs: Iterable[Pair]) -> dict[Pair, StoredScore]:
        """See `ScoreStore.find`."""
        import ray

        asked = list(pairs)
        return ray.get(self.keeper.find.remote(self.place, reward_key, asked)) if asked else {}

    def add(self, card: RewardCard, scores: Mapping[Pair, StoredScore], prompts: Mapping[str, Prompt]) -> None:
        """See `ScoreStore.add`."""
        import ray

        if scores:
            ray.get(self.keeper.add.remote(self.place, card, dict(scores), dict(prompts)))
