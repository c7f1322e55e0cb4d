"""The builder of the pocket world: its labels, its optimiser, and that a killed build continues."""

import json
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from pyrite.core.errors import RunFolderError
from pyrite.world.build import data, judge, pipeline, proxies, vq
from pyrite.world.build.optimisers import MuonAdamW, orthogonalise, trapezoid
from pyrite.world.prompts import HELD_OUT_PAIRS, random_scene, sample_prompts
from pyrite.world.scenes import render
from pyrite.world.vocabulary import PLAN_TOKENS, PROMPT_TOKENS, clip_tokenizer, plan_words, policy_tokenizer


def _pool(num_prompts: int, seed: int = 0) -> proxies.RatedPool:
    rng = np.random.default_rng(seed)
    num = 4 * num_prompts
    return proxies.RatedPool(
        images=torch.from_numpy(rng.integers(0, 256, (num, 3, 64, 64), dtype=np.uint8)),
        prompts=sample_prompts("rl", num_prompts, seed),
        alignment=rng.random(num),
        realism=rng.random(num),
        from_policy=np.arange(num) < num // 2,
    )


def test_orthogonalise_pushes_singular_values_towards_one() -> None:
    matrices = torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalise(matrices))
    assert singular.min() > 0.6  # five rounds of Jordan's quintic land between 0.68 and 1.13, not on 1
    assert singular.max() < 1.25


def test_orthogonalise_treats_tall_and_wide_matrices_alike() -> None:
    matrices = torch.randn(2, 9, 30, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalise(matrices.mT), orthogonalise(matrices).mT)


def test_muon_adamw_lowers_a_convolution_loss() -> None:
    torch.manual_seed(0)
    layer, target = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3)
    images = torch.randn(16, 3, 8, 8)
    optimiser = MuonAdamW([layer.weight], [layer.bias], muon_lr=0.02, adamw_lr=0.02)
    losses = []
    for step in range(60):
        loss = (layer(images) - target(images).detach()).square().mean()
        optimiser.step(loss, trapezoid(step, 60, warm_up=5))
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_trapezoid_warms_up_stays_and_decays_to_its_floor() -> None:
    factors = [trapezoid(step, 1000, warm_up=50, decay_from=0.5, floor=0.03) for step in (0, 49, 400, 750, 999)]
    assert factors == pytest.approx([0.02, 1.0, 1.0, 0.5, 0.03], abs=0.01)


def test_pretraining_pictures_never_show_a_held_out_pair() -> None:
    drawn = data.draw_pictures(200, 3, wrong_frac=0.5, damaged_frac=0.2)
    pairs = {(plan[k], plan[k + 1]) for plan in drawn.plans for k in range(0, PLAN_TOKENS, 5) if plan[k] != "<none>"}
    assert len(pairs) > 20
    assert not pairs & HELD_OUT_PAIRS


def test_object_cells_cover_every_pixel_that_an_object_changes() -> None:
    for prompt in sample_prompts("rl", 12, 0):
        scene = random_scene(prompt, np.random.default_rng(1))
        empty = type(scene)((), scene.background)
        changed = np.abs(render(scene) - render(empty)).max(2) > 0.02
        cells = changed.reshape(8, 8, 8, 8).any((1, 3)).ravel()
        assert not (cells & ~data.object_cells(scene)).any()


def test_every_prompt_and_plan_is_in_the_vocabularies() -> None:
    policy, clip = policy_tokenizer().get_vocab(), clip_tokenizer()
    rng = np.random.default_rng(0)
    for prompt in sample_prompts("rl", 120, 0):
        words = prompt.text.split()
        assert len(words) <= PROMPT_TOKENS
        plan = plan_words(random_scene(prompt, rng))
        assert len(plan) == PLAN_TOKENS
        assert {*words, *plan} <= policy.keys()
        ids = clip(prompt.text)["input_ids"]
        assert ids[0] == 1
        assert ids[-1] == 3
        assert 2 not in ids


def test_a_quarter_of_the_preference_labels_is_flipped() -> None:
    liking = np.random.default_rng(0).random(4 * 2000)
    pairs = proxies.preference_pairs(liking, seed=1)
    assert len(pairs) == 6 * 2000
    assert (pairs[:, 0] // 4 == pairs[:, 1] // 4).all()
    wrong = (liking[pairs[:, 0]] < liking[pairs[:, 1]]).mean()
    assert wrong == pytest.approx(proxies.LABEL_NOISE, abs=4 * np.sqrt(0.25 * 0.75 / len(pairs)))  # 4 standard errors


def test_ties_are_not_labelled() -> None:
    assert len(proxies.preference_pairs(np.ones(8), seed=0)) == 0


def test_pair_accuracy_is_one_for_gold_itself_half_for_noise_and_nan_without_clear_pairs() -> None:
    rng = np.random.default_rng(0)
    gold = rng.random(4000)
    assert proxies.pair_accuracy(gold, gold)[0] == 1
    accuracy, pairs = proxies.pair_accuracy(rng.random(4000), gold)
    assert accuracy == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(pairs))
    assert np.isnan(proxies.pair_accuracy(gold, np.zeros(4000))[0])


def test_vivid_annotators_like_saturation_beyond_the_truth() -> None:
    pool = _pool(50)
    honest, vivid = proxies.utility(pool, vivid=0, contrasty=0), proxies.utility(pool, vivid=1, contrasty=0)
    assert honest == pytest.approx(4 * pool.alignment + 3 * pool.realism)
    assert np.corrcoef(vivid - honest, proxies.saturation(pool.images))[0, 1] > 0.99


def test_cells_and_pixels_are_inverse() -> None:
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(vq.from_cells(vq.to_cells(images)), images)


def test_dead_codes_are_restarted_where_the_error_is_largest() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.nn.functional.normalize(torch.randn(4096, vq.CODE_DIM, generator=generator), dim=-1)
    book = vq.Codebook(latents, generator)
    lonely = latents[:1].expand(2048, -1)
    for _ in range(400):
        book.update(lonely, book.assign(lonely), restart_dead=False)
    codes = book.assign(latents)
    book.update(latents, codes, restart_dead=True)
    before = (latents * book.vectors[codes]).sum(1).mean()
    after = (latents * book.vectors[book.assign(latents)]).sum(1).mean()
    assert after > before
    torch.testing.assert_close(book.vectors.norm(dim=1), torch.ones(vq.NUM_CODES))


def _build(folder: Path, seed: int = 0) -> pipeline.Build:
    def no_policy(path: Path) -> NoReturn:
        raise AssertionError(f"no part of this test loads {path}")

    scale = pipeline.Scale(**{**vars(pipeline.TINY), "pictures": 12})
    neighbours = pipeline.Neighbours(no_policy, lambda name, path: no_policy(path), judge.Question("", "{prompt}"))
    return pipeline.Build(folder, seed, neighbours, scale)


def test_a_finished_part_is_not_done_again_and_a_half_done_one_is(tmp_path: Path) -> None:
    build = _build(tmp_path)
    first = build.run("pictures")
    stamp = (tmp_path / "pictures" / "images.npy").stat().st_mtime_ns
    assert build.run("pictures") == first
    assert (tmp_path / "pictures" / "images.npy").stat().st_mtime_ns == stamp
    (tmp_path / "pictures" / "part.json").unlink()  # what a kill before the end leaves behind
    again = build.run("pictures")
    assert again["quality"] == first["quality"]
    assert json.loads((tmp_path / "pictures" / "part.json").read_text()) == again


def test_a_part_depends_on_its_own_work_and_on_that_of_the_parts_before_it(tmp_path: Path) -> None:
    settings = _build(tmp_path).settings
    assert settings("pictures").keys() == {"seed", "pictures"}
    assert settings("policy").keys() == {"seed", "pictures", "tokeniser_steps", "policy_steps"}
    everything = {"seed", *vars(pipeline.TINY)}
    assert set().union(*(settings(part) for part in pipeline.PARTS)) == everything


def test_parts_come_after_those_they_need() -> None:
    for number, part in enumerate(pipeline.PARTS.values()):
        assert set(part.needs) <= set(list(pipeline.PARTS)[:number])


def test_a_part_without_those_it_needs_says_what_to_build_first(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"'tokeniser' builds on 'pictures'.*--only pictures"):
        _build(tmp_path).run("tokeniser")


def test_parts_of_two_builds_do_not_mix(tmp_path: Path) -> None:
    _build(tmp_path).run("pictures")
    with pytest.raises(RunFolderError, match=r"other settings \(seed\).*--out another folder"):
        _build(tmp_path, seed=1).run("pictures")
    with pytest.raises(RunFolderError, match=r"pictures was built with other settings \(seed\)"):
        _build(tmp_path, seed=1).run("tokeniser")


def test_equal_scores_count_half_towards_the_accuracy_of_alignment() -> None:
    pool = _pool(20)
    assert proxies.alignment_quality(pool.alignment, pool)["pair_accuracy_alignment"] == 1
    assert proxies.alignment_quality(-pool.alignment, pool)["pair_accuracy_alignment"] == 0
    found = proxies.alignment_quality(np.zeros(len(pool.alignment)), pool)
    assert found["pair_accuracy_alignment"] == 0.5
    assert 0 < found["alignment_pairs"] <= 6  # of the base policy's prompts only the first is held out
