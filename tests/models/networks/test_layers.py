import torch

from codec_models.networks.entropy import CONTEXT_MAX, companded
from codec_models.networks.integer import clip_through
from codec_models.networks.layers import Block


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
    x, unit_quality = torch.randn(1, 8, 5, 5), torch.tensor([0.3])
    assert torch.equal(block(x, unit_quality), x)
    torch.nn.init.normal_(block.project.weight)
    added = block(x, unit_quality) - x
    block.input_scale.fill_(2.0)
    doubled = block(x, unit_quality) - x
    assert added.abs().max() > 0 and not torch.allclose(added, doubled)
