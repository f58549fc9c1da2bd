import pytest
import torch

from codec_models.training.device import accelerator_of, full_float32


@pytest.mark.parametrize(
    ("device", "has_cuda", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cuda", True, "cuda"), ("cpu", True, "cpu")],
)
def test_training_runs_on_cuda_or_the_cpu_and_on_no_other_accelerator(device, has_cuda, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert accelerator_of(device) == expected


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_off_only_where_sums_must_be_exact(allowed, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    with full_float32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == allowed
