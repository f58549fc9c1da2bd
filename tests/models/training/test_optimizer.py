import torch

from codec_models.networks.architecture import Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.training.optimizer import flush_denormals, parameter_groups

SMALL = Architecture(
    latents=16, hyper_latents=8, width8=16, width16=16, hyper_width=16, parameter_width=16, context_width=16, anchors=3
)


def test_every_parameter_learns_in_exactly_one_group():
    model = CompressionModel(SMALL)
    groups = {group["name"]: group["params"] for group in parameter_groups(model)}
    parameters = [id(p) for group in groups.values() for p in group]
    assert sorted(parameters) == sorted(id(p) for p in model.parameters())
    assert any(p is model.g_a.stem.weight for p in groups["rotation"])
    assert any(p is model.gain.log_scale for p in groups["transform"])
    assert any(p is model.h_a.stem.weight for p in groups["entropy"])


def test_denormals_are_flushed_only_during_training():
    tiny = torch.tensor([1e-40])
    with flush_denormals():
        assert float(tiny * 1.0) == 0
    assert float(tiny * 1.0) > 0
