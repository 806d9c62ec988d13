"""Activations mean what transformers means by their names."""

import pytest
import torch
from transformers.activations import ACT2CLS, ACT2FN

from pyqrt.errors import ModelError
from pyqrt.nn import activation, activations

# These have trained parameters of their own.
PARAMETRIC = {"prelu", "xielu"}


@pytest.mark.parametrize("name", sorted(set(ACT2CLS) - PARAMETRIC))
def test_equals_transformers(name):
    # laplace divides by a small deviation; float32 inputs over the range layers produce
    x = torch.cat([torch.linspace(-12.0, 12.0, 4801), torch.tensor([0.0, -0.0, 1e-30, 60.0, -60.0])])
    torch.testing.assert_close(activation(name)(x), ACT2FN[name](x), rtol=2e-6, atol=1e-6)


def test_aliases_are_one_function():
    assert activation("swish") is activation("silu")
    assert activation("gelu_new") is activation("gelu_fast") is activation("gelu_pytorch_tanh")
    assert activation("gelu_python") is activation("gelu")
    assert activation("gelu_new") is not activation("gelu")


@pytest.mark.parametrize("name", ["geglu", "prelu", "", None, ["gelu"]])
def test_unknown_name_lists_the_known(name):
    with pytest.raises(ModelError) as error:
        activation(name)
    assert repr(name) in str(error.value)
    for known in activations():
        assert known in str(error.value)
