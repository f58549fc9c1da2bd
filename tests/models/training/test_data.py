import pytest
import torch

from codec_models.training.data import random_batch


def shades_drawn(sides: list[int], size: int, crops: int = 2000) -> torch.Tensor:
    """How often each of grey pictures of these ``sides`` is drawn."""
    pictures = [torch.full((3, side, side), 10 * shade, dtype=torch.uint8) for shade, side in enumerate(sides)]
    crops = random_batch(pictures, crops, size, 0.25, torch.Generator().manual_seed(1))
    return torch.bincount((crops[:, 0, 0, 0] * 25.5).round().long(), minlength=len(sides)) / len(crops)


def test_pictures_are_drawn_by_the_square_root_of_their_area():
    assert shades_drawn([64, 128, 256], 32).tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=0.05)


def test_pictures_smaller_than_a_crop_are_drawn_only_where_most_are():
    assert shades_drawn([32, 128, 128], 64)[0] == 0
    assert shades_drawn([32, 32, 128], 64).tolist() == pytest.approx([1 / 6, 1 / 6, 4 / 6], abs=0.05)
