"""Scoring an image set on many machines with Ray Data: the work of `score_images`, in actors, with the same files.

The set is cut into *units*, whole batches in the order of the set, a Parquet file each. Ray Data hands them to
actors, each of which holds every reward once (`map_batches`), and brings what they say back in order.
One further actor, on the machine of whoever called, keeps the score store: an actor looks a pair up before it scores
it and hands scores over before it goes on, through the keys that the plain path uses. So what dies, dies with at most
a batch of work, and the same call again asks no reward about a pair it answered.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrite.core.cards import RewardCard
from pyrite.core.errors import RewardError
from pyrite.core.protocols import Reward
from pyrite.evaluation.image_sets import ImageSet, Item, survey
from pyrite.evaluation.ray_cluster import Cluster, carrying, open_cluster, ray_errors_are_ours
from pyrite.evaluation.ray_store import Keeper, Kept, close_keeper
from pyrite.evaluation.ray_units import Units, read_unit, unit_file
from pyrite.evaluation.score_folder import PROGRESS, open_score_folder, settings_of
from pyrite.evaluation.score_images import BATCH_SIZE, Progress, Scored, score_items
from pyrite.records.store import StoredScore
from pyrite.records.stored import Stored

if TYPE_CHECKING:
    import pyarrow

Load = Callable[[], Mapping[str, Reward]]
"""Makes the rewards in the process where they are needed; travels to every machine, so it is a function of a module."""

_MOST_DEATHS = 3
_SHARED, _OWN = "shared", "own"


def score_on_ray(
    images: ImageSet,
    load: Load,
    out: Path,
    *,
    store: Path | None = None,
    cluster: Cluster,
    batch_size: int = BATCH_SIZE,
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Score every image with every reward, as `score_images` does, and write the same folder.

    Args:
        images: the set; every machine finds its files under the same paths.
        load: makes the rewards; called once in each worker, and once more in one of them for their cards.
        out: the folder; every machine finds it under the same path.
        store: file of the shared store; None keeps the scores in the folder alone.
        cluster: where, and with how many workers.
        batch_size: most images in a batch.
        progress: told after each unit.

    Returns:
        What the run did. A worker that died has taken its count of the unit it was at with it.

    Raises:
        MissingExtraError: Ray is not installed.
        ImageSetError: the set is empty, not what its layout says, or has an id twice.
        RewardError: a reward raises, has other weights on another machine, or brings its worker down again and again;
            what was scored before is kept.
        RunFolderError: the folder cannot be written, or holds something that does not go together with this.
        StoreError: the store cannot be read or written.
    """
    total = survey(images)
    with ExitStack() as stack:
        ray = stack.enter_context(open_cluster(cluster))
        stack.enter_context(ray_errors_are_ours())
        cards = ray.get(cluster.task(_cards).remote(load))
        folder = stack.enter_context(open_score_folder(out, cards))
        folder.refuse_another_set(images.items(with_bytes=False))
        paths = {_OWN: out.absolute() / PROGRESS, _SHARED: store.absolute() if store is not None else None}
        places = {name: _SHARED if store is not None and card.deterministic else _OWN for name, card in cards.items()}
        keeper = cluster.beside_caller(Keeper).remote({place: str(paths[place]) for place in set(places.values())})
        stack.callback(close_keeper, keeper)
        ray.get(keeper.ready.remote())
        units = stack.enter_context(Units.write(images, total, out, batch_size))
        worker = {"load": load, "keeper": keeper, "places": places, "keys": _keys(cards), "batch_size": batch_size}
        num_asked = dict.fromkeys(cards, 0)
        items = images.items(with_bytes=False)
        done = 0
        for said in _in_order(units, cluster, worker):
            part = list(islice(items, len(said["image_keys"])))
            columns = {name: _stored(said, number) for number, name in enumerate(cards)}
            for row, item in enumerate(part):
                folder.append(item, said["image_keys"][row], {name: column[row] for name, column in columns.items()})
            for name, num in zip(cards, said["num_asked"], strict=True):
                num_asked[name] += num
            done += len(part)
            progress(done, total)
        return Scored(folder.finish({"images": str(images.path), "layout": images.layout}), num_asked)


def _cards(load: Load) -> dict[str, RewardCard]:
    return {name: reward.card for name, reward in load().items()}


def _keys(cards: Mapping[str, RewardCard]) -> dict[str, dict[str, Any]]:
    return {name: settings_of(card) for name, card in cards.items()}


def _in_order(units: Units, cluster: Cluster, worker: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the workers say of the units, in the order of the set."""
    import ray.data

    # A block per unit, so that a worker that dies has only its own to do again.
    numbers = ray.data.from_items([{"unit": number} for number in range(units.num)], override_num_blocks=units.num)
    found = numbers.map_batches(
        _Worker,
        batch_size=1,
        batch_format="pyarrow",
        fn_constructor_kwargs={**worker, "folder": str(units.folder)},
        compute=ray.data.ActorPoolStrategy(size=min(cluster.workers, units.num)),
        **cluster.resources,
    )
    for number, said in enumerate(found.iter_rows()):
        if said["unit"] != number:
            raise RewardError(
                f"Ray brought unit {said['unit']} of the set where unit {number} was due, and scores would stand "
                "beside other images. This version of Ray does not keep the order: install another one."
            )
        yield said


class _Worker:
    """One replica of every reward; Ray makes one in each actor, and hands it a unit at a time."""

    def __init__(
        self,
        load: Load,
        keeper: Any,
        places: Mapping[str, str],
        keys: Mapping[str, Mapping[str, Any]],
        batch_size: int,
        folder: str,
    ) -> None:
        self._load = load
        self._places = places
        self._keys = keys
        self._keeper = keeper
        self._batch_size = batch_size
        self._folder = folder

    @cached_property
    def _panel(self) -> dict[str, Stored]:
        """Made with the first unit: Ray brings an error from there as it is, and one from `__init__` as text."""
        panel = self._load()
        _refuse_others(self._keys, _keys({name: reward.card for name, reward in panel.items()}))
        return {name: Stored(reward, Kept(self._keeper, self._places[name])) for name, reward in panel.items()}

    def __call__(self, table: "pyarrow.Table") -> "pyarrow.Table":
        (number,) = table["unit"].to_pylist()
        with carrying():
            return self._score(number)

    def _score(self, number: int) -> "pyarrow.Table":
        import pyarrow

        items = read_unit(unit_file(self._folder, number))
        self._refuse_deadly(number, items)
        keys: list[str | None] = []
        columns: dict[str, list[StoredScore]] = {name: [] for name in self._panel}
        num_asked = dict.fromkeys(self._panel, 0)
        for batch in score_items(items, self._panel, self._batch_size):
            keys += batch.keys
            for name, column in batch.columns.items():
                columns[name] += column
                num_asked[name] += batch.num_asked[name]
        scores = [score for column in columns.values() for score in column]
        row = {
            "unit": number,
            "image_keys": keys,
            "num_asked": list(num_asked.values()),
            "values": [score.value for score in scores],
            "reasons": [score.reason for score in scores],
            "details": [json.dumps(dict(score.details)) if score.details else "" for score in scores],
        }
        return pyarrow.Table.from_pylist([row], schema=_said_schema())

    def _refuse_deadly(self, number: int, items: Sequence[Item]) -> None:
        """Ray starts a dead worker anew and gives it the same unit for ever: look how often that was."""
        import ray

        deaths = ray.get(self._keeper.begin.remote(number)) - 1
        if deaths >= _MOST_DEATHS:
            raise RewardError(
                f"{deaths} workers came to their end, one after the other, over the images from '{items[0].id}' to "
                f"'{items[-1].id}', as they do when a reward crashes its process or takes more memory than there is. "
                "What was scored before is kept. Score those with the plain path to see which one it is (leave "
                "--engine out), or take a smaller --batch-size or fewer --workers; then give the same command again."
            )


def _said_schema() -> Any:
    """What a worker says of a unit; the three columns of scores hold one reward after the other."""
    import pyarrow

    texts = pyarrow.large_list(pyarrow.large_string())
    return pyarrow.schema(
        [
            ("unit", pyarrow.int64()),
            ("image_keys", texts),
            ("num_asked", pyarrow.large_list(pyarrow.int64())),
            ("values", pyarrow.large_list(pyarrow.float64())),
            ("reasons", texts),
            ("details", texts),
        ]
    )


def _stored(unit: Mapping[str, Any], number: int) -> list[StoredScore]:
    num = len(unit["image_keys"])
    part = slice(number * num, (number + 1) * num)
    return [
        StoredScore(float(value), reason, json.loads(details) if details else {})
        for value, reason, details in zip(
            unit["values"][part], unit["reasons"][part], unit["details"][part], strict=True
        )
    ]


def _refuse_others(wanted: Mapping[str, Mapping[str, Any]], here: Mapping[str, Mapping[str, Any]]) -> None:
    import platform

    differing = [
        f"{name}: {what} is {here[name][what]!r} here and {value!r} elsewhere"
        for name, settings in wanted.items()
        for what, value in settings.items()
        if here[name][what] != value and what != "key"
    ]
    if differing:
        raise RewardError(
            f"the machine {platform.node()} would score with other models than the one that was asked first "
            f"({'; '.join(differing)}), and their scores would stand in one table. Give every machine the same "
            "weights and the same version of Pyrite, then give the same command again."
        )
