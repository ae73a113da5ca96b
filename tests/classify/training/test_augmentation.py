"""Augmentation changes faces as it is told, and is a function of its generator."""

import dataclasses

import pytest
import torch
from fergan.classify.recipes import Augmentation
from fergan.classify.training.augmentation import augment

OFF = Augmentation(flip=0, rotation=0, shift=0, zoom=0, erase=0)
RAMP = torch.arange(48.0).repeat(64, 1, 48, 1)  # column x is of gray value x


def once(faces: torch.Tensor = RAMP, seed: int = 0, **changes: float) -> torch.Tensor:
    how = dataclasses.replace(OFF, **changes)
    return augment(faces, [], how, torch.Generator().manual_seed(seed))[0]


def test_it_is_a_function_of_its_generator() -> None:
    every = {
        "rotation": 9,
        "contrast": 0.2,
        "brightness": 0.1,
        "salt_and_pepper": 0.1,
        "erase": 0.5,
        "crop": 44,
        "tones": 2,
    }
    mixed = every | {"mixup": 0.2, "cutmix": 1.0}
    assert torch.equal(once(seed=1, **mixed), once(seed=1, **mixed))
    assert not torch.equal(once(seed=1, **every), once(seed=2, **every))
    assert torch.allclose(once(), RAMP, atol=1e-4)
    assert torch.allclose(once(flip=1), RAMP.flip(3), atol=1e-4)


def test_shift_zoom_and_crop_move_pixels_by_what_they_say() -> None:
    middle = slice(12, 36)  # away from the border, which is repeated
    moved = (once(shift=0.1) - RAMP)[:, 0, 24, middle]
    assert torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-3)
    assert 4 < moved.abs().max() <= 4.8
    slope = once(zoom=0.2)[:, 0, 24, middle].diff(dim=1).mean(dim=1)
    assert 0.8 <= slope.min() < 0.85 and 1.15 < slope.max() <= 1.2 + 1e-4
    cropped = once(crop=44)[:, 0, 24]
    assert torch.allclose(cropped[:, middle].diff(dim=1), torch.tensor(44 / 48), atol=1e-3)
    left = cropped[:, 24] - 24 * 44 / 48  # the first column of the crop, nearly
    assert left.min() >= -0.6 and left.max() <= 4.6 and left.max() - left.min() > 3


def test_gray_values() -> None:
    faces = torch.full((64, 1, 48, 48), 100.0)
    faces[:, :, :24] = 140
    changed = once(faces, contrast=0.5)
    assert torch.allclose(changed.mean(dim=(1, 2, 3)), torch.tensor(120.0), atol=1e-3)
    spread = changed[:, 0, 0, 0] - changed[:, 0, 47, 0]
    assert 20 <= spread.min() < 24 and 56 < spread.max() <= 60
    offset = (once(faces, brightness=0.1) - faces).flatten(1)
    assert torch.allclose(offset.std(dim=1), torch.tensor(0.0), atol=1e-4) and 20 < offset.abs().max() <= 25.5
    bright = once(faces + 110, brightness=0.2)
    assert bright.max() == 255


def test_salt_and_pepper_hits_its_share_of_pixels() -> None:
    changed = once(torch.full((64, 1, 48, 48), 100.0), salt_and_pepper=0.1)
    pixels = 64 * 48 * 48
    for value in (0.0, 255.0):
        assert (changed == value).sum().item() / pixels == pytest.approx(0.05, abs=0.003)
    assert set(changed.round().unique().tolist()) == {0.0, 100.0, 255.0}


def test_erasing_fills_a_rectangle_with_the_mean() -> None:
    changed = once(erase=1)
    erased = (changed - RAMP).abs() > 1e-4
    share = erased.float().mean(dim=(1, 2, 3))
    assert share.max() <= 0.21 and (share > 0).float().mean() > 0.9
    assert torch.allclose(changed[erased], RAMP[0].mean(), atol=1e-3)


def test_mixup_mixes_faces_and_targets_alike() -> None:
    faces = torch.zeros(4, 1, 48, 48)
    faces[0] = 200.0
    targets = torch.zeros(4, 2)
    targets[0, 1], targets[1:, 0] = 1, 1
    how = dataclasses.replace(OFF, mixup=1.0)
    for seed in range(4):
        mixed, (mixed_targets,) = augment(faces, [targets], how, torch.Generator().manual_seed(seed))
        assert torch.allclose(mixed[:, 0, 0, 0] / 200, mixed_targets[:, 1], atol=1e-5)
        assert torch.allclose(mixed_targets.sum(dim=1), torch.ones(4))


def test_each_face_gets_one_of_seven_changes_of_tone() -> None:
    faces = torch.linspace(60, 195, 48).repeat(700, 1, 48, 1)
    assert (once(faces, tones=1, tone_strength=0.0) - faces).abs().max() <= 0.5 + 1e-3
    changed = once(faces, tones=1, tone_strength=0.5)
    assert changed.min() >= 0 and changed.max() <= 255
    levels = torch.tensor([len(face.unique()) for face in changed])
    offset = (changed - faces)[:, 0, 0]
    brighter = (offset.std(dim=1) < 1e-3) & (offset.abs().mean(dim=1) > 1e-3)
    assert 70 < (levels > 1000).sum() < 130  # noise
    assert 70 < brighter.sum() < 130 and 45 < offset[brighter].abs().max() <= 50
    assert (levels < 48).sum() > 35  # fewer gray levels


def test_cutmix_targets_tell_the_area_of_each_face() -> None:
    faces = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 48, 48) * 10
    for seed in range(20):
        mixed, (targets,) = augment(
            faces, [torch.eye(8)], dataclasses.replace(OFF, cutmix=1), torch.Generator().manual_seed(seed)
        )
        for row, target in zip(mixed, targets, strict=True):
            seen = torch.bincount((row / 10).round().long().flatten(), minlength=8) / row.numel()
            assert torch.allclose(seen, target, atol=1e-5)
