import pytest


@pytest.fixture
def model(tiny_model_path):
    """Options that choose the small frozen model."""
    return ("--model", tiny_model_path)
