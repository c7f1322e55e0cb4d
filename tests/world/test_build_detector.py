"""The pocket detector's pictures, boxes and assignment."""

import numpy as np
import pytest
import torch

from pyrite.world.build import clip, detector
from pyrite.world.prompts import sample_prompts
from pyrite.world.scenes import SHAPES, SIZE_PX, Background, Scene, SceneObject, render

FLAT = Background((0.9, 0.9, 0.9), (0.0, 0.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_box_is_as_tight_as_the_pixels_that_the_object_colours(shape: str) -> None:
    item = SceneObject(shape, "red", 30.3, 27.8, 10.4)
    picture = render(Scene((item,), FLAT))
    coloured = picture.max(-1) - picture.min(-1) > 0.1
    rows, columns = np.nonzero(coloured)
    left, top, right, bottom = np.array(detector.box_of(item)) * SIZE_PX
    # half a pixel of soft edge on either side of the outline
    assert (left, right) == pytest.approx((columns.min(), columns.max() + 1), abs=1.0)
    assert (top, bottom) == pytest.approx((rows.min(), rows.max() + 1), abs=1.0)


def test_a_box_ends_at_the_edge_of_the_picture() -> None:
    assert detector.box_of(SceneObject("square", "red", 1.0, 62.0, 12.0))[0] == 0
    assert detector.box_of(SceneObject("square", "red", 1.0, 62.0, 12.0))[3] == 1


def test_layouts_name_every_object_by_shape_and_by_colour_and_shape() -> None:
    layouts = detector.draw_layouts(sample_prompts("rl", 12, 3), seed=3)
    for phrases, boxes in zip(layouts.phrases.tolist(), layouts.boxes, strict=True):
        named = [pair for pair in phrases if pair[0] >= 0]
        assert 1 <= len(named) <= 4
        for shape, coloured in named:
            assert detector.PHRASES[coloured].split()[1] == detector.PHRASES[shape]
        assert (boxes[: len(named), 2:] > boxes[: len(named), :2]).all()
        assert not boxes[len(named) :].any()


def test_layouts_are_the_same_for_the_same_seed() -> None:
    prompts = sample_prompts("rl", 4, 3)
    first, second = (detector.draw_layouts(prompts, seed=3) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.boxes, second.boxes)
    learnt, held_out = first.split(1)
    assert (len(learnt.images), len(held_out.boxes)) == (3, 1)


def test_a_cell_answers_for_the_nearest_object() -> None:
    """One object in the middle of cell (0, 0), another of cell (7, 1) (column, row)."""
    centres = torch.tensor([[0.5 / 8, 0.5 / 8], [7.5 / 8, 1.5 / 8], [0.0, 0.0]])
    boxes = torch.cat([centres - 0.05, centres + 0.05], 1)[None]
    owner, cells = detector.cells_of(boxes, torch.tensor([[True, True, False]]), side=8)
    assert owner[0, 0] == 0
    assert owner[0, 8 + 7] == 1
    assert cells[0, [0, 15]].tolist() == pytest.approx([0, 0], abs=1e-5)
    assert cells[0, 1].item() == pytest.approx(1)  # one to the right
    assert cells[0, 8].item() == pytest.approx(1)  # one down
    assert owner[0, 16 + 5] == 1


def test_generalised_iou_of_boxes_known_by_hand() -> None:
    """Equal: 1. Halves of one another: 1/2. Apart by their own width: 0 shared, a third of the hull empty."""
    corners = torch.tensor([[0.2, 0.2, 0.4, 0.4]]).expand(3, -1)
    boxes = detector.by_centre(torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.2, 0.2, 0.3, 0.4], [0.6, 0.2, 0.8, 0.4]]))
    torch.testing.assert_close(detector.generalised_iou(boxes, corners), torch.tensor([1.0, 0.5, -1 / 3]))


def test_a_new_detector_begins_with_clips_towers_and_boxes_on_their_cells() -> None:
    torch.manual_seed(0)
    towers, model = clip.new_clip(), detector.new_detector()
    detector.take_towers(model, towers)
    for mine, theirs in (
        ("owlvit.text_projection.weight", "text_projection.weight"),
        ("owlvit.vision_model.pre_layernorm.weight", "vision_model.pre_layrnorm.weight"),
        ("owlvit.vision_model.encoder.layers.3.mlp.fc1.weight", "vision_model.encoder.layers.3.mlp.fc1.weight"),
    ):
        assert torch.equal(model.state_dict()[mine], towers.state_dict()[theirs])
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        logits, boxes = detector.look(model.eval(), images, detector.phrase_ids())
    assert logits.shape == (2, 64, len(detector.PHRASES))
    grid = (torch.arange(64) % 8 + 1) / 8
    torch.testing.assert_close(boxes[0, :, 0], grid.clamp(max=1), atol=0.05, rtol=0)
    assert logits.max() < -2  # nothing is seen before anything is learnt


def test_training_starts_and_its_quality_is_a_share() -> None:
    layouts = detector.draw_layouts(sample_prompts("rl", 8, 1), seed=1)
    losses: list[float] = []
    model = detector.train_detector(
        clip.new_clip(),
        layouts,
        steps=2,
        seed=0,
        progress=lambda step, steps, measures: losses.append(measures["loss"]),
    )
    quality = detector.detection_quality(model, layouts, threshold=0.3)
    assert np.isfinite(losses).all()
    assert all(0 <= share <= 1 for share in quality.values())
