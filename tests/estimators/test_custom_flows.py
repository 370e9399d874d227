"""The univariate map on the page about custom flows keeps the contract of those that come with the package."""

import doctest
import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "custom_flows.rst"


@pytest.fixture
def source():
    """The class, as it stands on the page."""
    examples = doctest.DocTestParser().get_examples(PAGE.read_text())
    return next(example.source for example in examples if example.source.startswith("class "))


def test_the_curve_has_fifteen_lines(source):
    assert len([line for line in source.splitlines() if line.strip()]) <= 15


def test_the_curve_keeps_the_contract(source):
    names = {}
    exec("import torch\nfrom skflow.flows import MonotoneCurve\n" + source, names)
    univariate = names[re.match(r"class (\w+)", source)[1]]()
    x = torch.linspace(-40, 40, 201, dtype=torch.float64, requires_grad=True)
    z, log_slope = univariate.forward(x, torch.zeros(univariate.n_params, 201, dtype=torch.float64))
    torch.testing.assert_close(z, x, atol=1e-11, rtol=0)
    torch.manual_seed(0)
    params = 3 * torch.randn(univariate.n_params, 201, dtype=torch.float64)
    z, log_slope = univariate.forward(x, params)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0].log(), log_slope, atol=1e-9, rtol=0)
    torch.testing.assert_close(univariate.inverse(z.detach(), params)[0], x.detach(), atol=1e-9, rtol=0)
