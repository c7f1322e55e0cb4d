"""Drawing a set of images: what decides about them, what a kill costs, and what is refused."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image as PILImage
from tests.evaluation import generated
from tests.evaluation.generated import NoisePolicy, files_of, make_job

from pyrite.core.errors import ImageSetError, PromptFileError, RecipeError, RunFolderError
from pyrite.core.types import Prompt
from pyrite.evaluation.generate import generate
from pyrite.evaluation.generation_folder import FACTS, SAMPLES
from pyrite.evaluation.image_sets import open_image_set, survey
from pyrite.records.prompt_files import PromptRow


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / SAMPLES).read_text().splitlines()]


def test_every_image_has_a_line_that_says_where_it_comes_from(tmp_path: Path) -> None:
    done = generate(NoisePolicy(), make_job(seed=7), tmp_path, batch_size=4)
    assert (done.num_drawn, done.num_known, done.is_complete) == (15, 0, True)
    rows = rows_of(tmp_path)
    assert [(row["position"], row["n"]) for row in rows] == [(p, n) for p in range(5) for n in range(3)]
    assert rows[4] == {
        "id": "2_1", "prompt_id": "2", "prompt": "picture 1, of things", "nouns": ["things"], "position": 1, "n": 1,
        "image": "images/000001_01.png", "seed": 7, "policy": "noise", "policy_revision": "0123456789ab",
        "settings": {"tau": 1},
    }  # fmt: skip
    with PILImage.open(tmp_path / rows[4]["image"]) as image:
        assert image.format == "PNG"


def test_an_image_depends_on_seed_place_and_number_alone(tmp_path: Path) -> None:
    def drawn(name: str, batch_size: int = 15, **changes: object) -> dict[str, bytes]:
        generate(NoisePolicy(), make_job(**changes), tmp_path / name, batch_size=batch_size)
        return {key: data for key, data in files_of(tmp_path / name).items() if key.endswith(".png")}

    whole = drawn("whole")
    assert len(set(whole.values())) == 15
    assert drawn("again") == whole
    assert not set(drawn("other seed", seed=1).values()) & set(whole.values())
    assert len(drawn("few", limit=2)) == 6


@pytest.mark.parametrize("num_processes", [2, 3])
def test_shares_of_several_processes_make_the_files_of_one(tmp_path: Path, num_processes: int) -> None:
    generate(NoisePolicy(), make_job(), tmp_path / "one", batch_size=4)
    for rank in range(num_processes):
        done = generate(
            NoisePolicy(), make_job(), tmp_path / "many", batch_size=4, rank=rank, num_processes=num_processes
        )
        assert done.is_complete == (rank == num_processes - 1)
        assert (tmp_path / "many" / SAMPLES).exists() == done.is_complete
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")


def test_a_set_begun_by_three_processes_is_finished_by_one(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path / "one", batch_size=4)
    generate(NoisePolicy(), make_job(), tmp_path / "many", batch_size=4, rank=1, num_processes=3)
    done = generate(NoisePolicy(), make_job(), tmp_path / "many", batch_size=4)
    assert (done.num_drawn, done.num_known, done.is_complete) == (11, 4, True)
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")


def test_nothing_that_was_written_is_drawn_again(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path / "whole", batch_size=4)
    interrupted, continued = NoisePolicy(fails_at=3), NoisePolicy()
    with pytest.raises(KeyboardInterrupt):
        generate(interrupted, make_job(), tmp_path / "cut", batch_size=4)
    seen: list[tuple[int, int]] = []
    generate(continued, make_job(), tmp_path / "cut", batch_size=4, progress=lambda *now: seen.append(now))
    assert [*interrupted.calls[:2], *continued.calls] == [*interrupted.calls[:3], continued.calls[1]]
    assert seen == [(8, 15), (12, 15), (15, 15)]
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    idle = NoisePolicy()
    assert generate(idle, make_job(), tmp_path / "cut", batch_size=4).num_drawn == 0
    assert not idle.calls


@pytest.mark.parametrize("seed", range(3))
def test_a_set_killed_at_any_instant_and_continued_has_the_files_of_an_undisturbed_one(
    tmp_path: Path, seed: int
) -> None:
    generate(NoisePolicy(), make_job(40), tmp_path / "whole", batch_size=4)
    command = [sys.executable, generated.__file__, str(tmp_path / "killed"), "40", "0.005"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    chance = random.Random(seed)
    journal = tmp_path / "killed" / ".pyrite-generate" / "journal_0.jsonl"
    for _ in range(2):
        before = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 200
        while not (journal.exists() and journal.stat().st_size > before):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "nothing was drawn"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
    generate(NoisePolicy(), make_job(40), tmp_path / "killed", batch_size=4)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_torn_line_and_a_lost_image_are_drawn_again_in_their_old_batch(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path / "whole", batch_size=4)
    generate(NoisePolicy(), make_job(), tmp_path / "torn", batch_size=4)
    journal = tmp_path / "torn" / ".pyrite-generate" / "journal_0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    (tmp_path / "torn" / "images" / "000000_01.png").unlink()
    (tmp_path / "torn" / "images" / "000001_01.png").write_bytes(b"")
    done = generate(NoisePolicy(), make_job(), tmp_path / "torn", batch_size=4)
    assert done.num_drawn == 3
    assert files_of(tmp_path / "torn") == files_of(tmp_path / "whole")


def test_a_larger_limit_continues_a_smaller_one(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path / "whole", batch_size=4)
    assert generate(NoisePolicy(), make_job(limit=2), tmp_path / "grown", batch_size=4).num_drawn == 6
    assert len(rows_of(tmp_path / "grown")) == 6
    assert generate(NoisePolicy(), make_job(), tmp_path / "grown", batch_size=4).num_drawn == 9
    assert rows_of(tmp_path / "grown") == rows_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("layout", "names", "found"),
    [
        ("plain", ["images/000000_00.png", "images/000001_02.png"], "generated"),
        ("id-prompt", ["ID1_picture_0,_of_things_1.jpg", "ID2_picture_1,_of_things_3.jpg"], "generated"),
        ("geneval", ["00000/samples/00000.png", "00001/samples/00002.png", "00001/metadata.jsonl"], "generated"),
    ],
)
def test_each_layout_can_be_scored_as_it_lies(tmp_path: Path, layout: str, names: list[str], found: str) -> None:
    generate(NoisePolicy(), make_job(2, layout=layout), tmp_path)
    assert set(names) <= set(files_of(tmp_path))
    images = open_image_set(tmp_path)
    assert images.layout == found
    assert survey(images) == 6
    item = list(images.items())[4]
    assert (item.id, item.prompt.text, item.prompt.id) == ("2_1", "picture 1, of things", "2")
    assert item.prompt.nouns == ("things",)
    if layout != "plain":
        own = [item.prompt.text.replace("_", " ") for item in open_image_set(tmp_path, layout=layout).items()]
        assert len(own) == 6


def test_genevals_objects_come_back_as_they_were(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(2, layout="geneval"), tmp_path)
    assert json.loads((tmp_path / "00001" / "metadata.jsonl").read_text()) == {"prompt": "picture 1"}


def test_the_references_names_are_cut_at_100_characters_and_hold_no_path(tmp_path: Path) -> None:
    prompts = [PromptRow(Prompt("a/b " + "x" * 200, id="1"), {}), PromptRow(Prompt("\U0001f98a" * 150, id="2"), {})]
    generate(NoisePolicy(), make_job(layout="id-prompt", prompts=prompts, images_per_prompt=1), tmp_path)
    first, second = sorted(path.name for path in tmp_path.glob("*.jpg"))
    assert first == "ID1_a_b_" + "x" * 96 + "_1.jpg"
    assert len(second.encode()) <= 255
    assert [row["prompt"] for row in rows_of(tmp_path)] == [row.prompt.text for row in prompts]
    with PILImage.open(tmp_path / first) as image:
        assert image.format == "JPEG"


def test_an_unfinished_set_is_not_scored_as_a_whole_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate(NoisePolicy(fails_at=2), make_job(), tmp_path, batch_size=4)
    with pytest.raises(ImageSetError, match=r"is not complete(.|\n)*Give its command again"):
        survey(open_image_set(tmp_path))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "seed: was 0, is 1"),
        ({"layout": "geneval"}, "layout: was 'plain', is 'geneval'"),
        ({"images_per_prompt": 4}, "images_per_prompt: was 3, is 4"),
        ({"num_prompts": 6}, "num_prompts: was 5, is 6"),
        ({"format": "jpeg"}, "format: was 'png', is 'jpeg'"),
        ({"settings": {"tau": 2}}, r"settings: was {'tau': 1}, is {'tau': 2}"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_folder_of_another_job_is_refused_with_what_differs(tmp_path: Path, changes: dict, told: str) -> None:
    generate(NoisePolicy(), make_job(), tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(RunFolderError, match=rf"holds another job(.|\n)*{told}(.|\n)*Choose another folder"):
        generate(NoisePolicy(), make_job(**changes), tmp_path)
    assert files_of(tmp_path) == before


def test_other_weights_are_another_job(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path)
    policy = NoisePolicy()
    policy.card = type(policy.card)("noise", "Draws noise.", 1, (8, 8), revision="trained")
    with pytest.raises(RunFolderError, match=r"revision: was '0123456789ab', is 'trained'"):
        generate(policy, make_job(), tmp_path)


def test_a_changed_prompt_is_another_job(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path)
    job = make_job()
    changed = [PromptRow(job.prompts[0].prompt, {"prompt": "changed"}), *job.prompts[1:]]
    with pytest.raises(RunFolderError, match=r"prompts: was '[0-9a-f]{12}', is '[0-9a-f]{12}'"):
        generate(NoisePolicy(), make_job(prompts=changed), tmp_path)


def test_a_folder_of_something_else_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    with pytest.raises(RunFolderError, match=r"not empty \(cat.png\).*was not made by `pyrite generate`"):
        generate(NoisePolicy(), make_job(), tmp_path / "photos")
    generate(NoisePolicy(), make_job(), tmp_path / "damaged")
    (tmp_path / "damaged" / FACTS).write_text("{")
    with pytest.raises(RunFolderError, match=r"cannot be read.*Restore it"):
        generate(NoisePolicy(), make_job(), tmp_path / "damaged")


def test_two_commands_do_not_share_a_folder_unknowingly(tmp_path: Path) -> None:
    class Visitor(NoisePolicy):
        def sample(self, *arguments, **options):
            with pytest.raises(RunFolderError, match=r"in use by another `pyrite generate`"):
                generate(NoisePolicy(), make_job(), tmp_path)
            return super().sample(*arguments, **options)

    assert generate(Visitor(), make_job(), tmp_path).is_complete


def test_a_full_disk_is_told_and_the_set_continues_when_there_is_room(tmp_path: Path) -> None:
    generate(NoisePolicy(), make_job(), tmp_path / "whole", batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        generate(NoisePolicy(fails_at=2), make_job(), tmp_path / "full", batch_size=4)
    temporary = tmp_path / "full" / ".pyrite-generate" / "journal_0.tmp"
    temporary.symlink_to("/dev/full")  # refuses every byte as a full disk does
    with pytest.raises(RunFolderError, match=r"cannot write the image .*The disk is full(.|\n)*it continues"):
        generate(NoisePolicy(), make_job(), tmp_path / "full", batch_size=4)
    temporary.unlink()
    generate(NoisePolicy(), make_job(), tmp_path / "full", batch_size=4)
    assert files_of(tmp_path / "full") == files_of(tmp_path / "whole")


def test_a_prompt_that_the_policy_cannot_read_is_told_and_what_was_drawn_stays(tmp_path: Path) -> None:
    prompts = [*make_job(4).prompts, PromptRow(Prompt("an unreadable one", id="five"), {})]
    with pytest.raises(PromptFileError, match=r"cannot draw for the prompts five to five: .*never learned.*is kept"):
        generate(NoisePolicy(), make_job(prompts=prompts), tmp_path, batch_size=12)
    assert len(list((tmp_path / "images").iterdir())) == 12


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"layout": "coco"}, RecipeError, "no layout 'coco'.*plain, id-prompt, geneval"),
        ({"format": "webp"}, RecipeError, "png or jpeg, not as 'webp'"),
        ({"images_per_prompt": 0}, RecipeError, "leaves nothing to draw"),
        ({"limit": 0}, RecipeError, "leaves nothing to draw"),
        (
            {"layout": "id-prompt", "prompts": [PromptRow(Prompt("x", id=name), {}) for name in ("a_b", "c/d")]},
            PromptFileError,
            "2 ids cannot stand in a file name.*'a_b', 'c/d'",
        ),
    ],
    ids=["layout", "format", "num", "limit", "ids"],
)  # fmt: skip
def test_a_job_that_cannot_be_is_refused_before_anything_is_loaded(
    changes: dict, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        make_job(**changes)
