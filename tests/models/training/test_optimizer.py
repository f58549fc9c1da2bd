import torch

from codec_models.networks.architecture import Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import CONTEXT_MAX, companded
from codec_models.networks.integer import clip_through
from codec_models.networks.layers import Block
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


def test_a_clipped_value_gets_only_gradients_that_lead_back():
    x = torch.tensor([-5.0, -5.0, 0.5, 9.0, 9.0], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])
    clipped = clip_through(x, 0.0, 3.0)
    clipped.backward(gradient)
    assert clipped.tolist() == [0, 0, 0.5, 3, 3]
    assert x.grad.tolist() == [0, -1, 1, 1, 0]


def test_companded_latents_are_integers_in_range_and_rise():
    decoded = torch.arange(-9000.0, 9001.0)
    values = companded(decoded, exact=True)
    assert torch.equal(values, values.round()) and values.abs().max() == CONTEXT_MAX
    assert (values.diff() >= 0).all()
    assert (companded(decoded, exact=False) - values).abs().max() <= 0.5


def test_a_block_starts_as_the_identity_and_its_branches_get_scaled_features():
    torch.manual_seed(0)
    block = Block(8, anchors=3)
    x, quality = torch.randn(1, 8, 5, 5), torch.tensor([0.3])
    assert torch.equal(block(x, quality), x)
    torch.nn.init.normal_(block.project.weight)
    added = block(x, quality) - x
    block.input_scale.fill_(2.0)
    doubled = block(x, quality) - x
    assert added.abs().max() > 0 and not torch.allclose(added, doubled)


def test_denormals_are_flushed_only_during_training():
    tiny = torch.tensor([1e-40])
    with flush_denormals():
        assert float(tiny * 1.0) == 0
    assert float(tiny * 1.0) > 0
