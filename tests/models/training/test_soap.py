import copy

import torch

from codec_models.training.soap import Soap


def valley(optimizer_class, steps=400):
    """Squared distance to the minimum of a quadratic in a rotated basis, curvatures from 1 to 10,000."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(24, 24, generator=generator))[0]
    curvature = rotation @ torch.diag(torch.logspace(0, 4, 24)) @ rotation.T
    target = torch.randn(24, 40, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(24, 40))
    optimizer = optimizer_class([weight], lr=1e-2)
    for _ in range(steps):
        difference = weight - target
        optimizer.zero_grad()
        (difference * (curvature @ difference)).sum().backward()
        optimizer.step()
    return float((weight - target).detach().square().mean())


def test_soap_descends_a_rotated_valley_faster_than_adam():
    assert valley(Soap) < 0.5 * valley(torch.optim.Adam)


def test_biases_and_depthwise_kernels_get_the_updates_of_adam():
    start = torch.linspace(-1, 1, 27).reshape(3, 1, 3, 3)
    ours, adams = (torch.nn.Parameter(start.clone()) for _ in range(2))
    soap = Soap([ours], lr=1e-2, betas=(0.9, 0.99))
    adam = torch.optim.Adam([adams], lr=1e-2, betas=(0.9, 0.99))
    ours.grad = torch.zeros_like(start)  # the first step only measures
    adams.grad = torch.zeros_like(start)
    for _ in range(5):
        soap.step()
        adam.step()
        ours.grad, adams.grad = (p.detach().clone() for p in (ours, adams))
    torch.testing.assert_close(ours, adams)


def test_soap_continues_from_its_saved_state():
    def run(interrupted):
        generator = torch.Generator().manual_seed(1)
        weight = torch.nn.Parameter(torch.zeros(20, 20))
        optimizer = Soap([weight], lr=1e-2)
        for step in range(30):
            if interrupted and step == 25:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = Soap([weight], lr=1e-2)
                optimizer.load_state_dict(state)
            weight.grad = torch.randn(20, 20, generator=generator) + weight.detach()
            optimizer.step()
        return weight.detach()

    assert torch.equal(run(False), run(True))
