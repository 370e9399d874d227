"""Rows given a context: a density of known truth is recovered by the training, in the units of rows and contexts."""

import numpy as np
import pytest
import torch

from skflow import FlowDensity
from skflow.flows import EmbeddedContext
from skflow.inference.evaluator import Evaluator
from skflow.training.density import DensityFitting

from ..helpers import EVERY_FLOW

CPU = torch.device("cpu")
DEPTH = {"nice": 4, "glow": 6, "planar": 3, "radial": 3, "sylvester": 2, "gaussianization": 2}


def draw(n, seed):
    """Contexts, rows whose location and scale depend on them, and the log-density of each row."""
    rng = np.random.RandomState(seed)
    context = np.c_[rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)]
    scale = 10 * np.exp(0.4 * context[:, 1])
    noise = rng.standard_normal((n, 2))
    first = 30 * context[:, 0] + scale * noise[:, 0]
    second = 0.5 * first - 20 * context[:, 1] + 10 * noise[:, 1]
    log_density = -0.5 * (noise**2).sum(1) - np.log(scale) - np.log(10) - np.log(2 * np.pi)
    return context * [1e3, 1e-3], np.c_[first, second], log_density


def fitted(name, context, rows, **params):
    sizes = {"hidden_layer_sizes": (16,), "n_bins": 4, "max_iter": 40, "depth": DEPTH.get(name, 2)} | params
    estimator = FlowDensity(name, random_state=0, learning_rate_init=0.01, **sizes)
    fitting = DensityFitting(estimator, rows, None, None, 0, CPU, (None, None), context=context)
    return fitting, fitting.from_scratch()


def log_density(fit, rows, context, kernels=True):
    return Evaluator(fit.flow, CPU, kernels).log_density(rows, context)


@pytest.mark.parametrize("name", EVERY_FLOW)
def test_a_conditional_density_is_recovered(name):
    """In nats a row; the density that knows no context falls short of the truth by more than one."""
    context, rows, _ = draw(1000, 0)
    new_context, new_rows, truth = draw(2000, 1)
    _, fit = fitted(name, context, rows)
    gap = (truth - log_density(fit, new_rows, new_context)).mean()
    assert -0.05 < gap < (0.4 if name == "nice" else 0.15)  # the scales of NICE know no context


def test_without_the_context_it_is_missed():
    _, rows, _ = draw(1000, 0)
    _, new_rows, truth = draw(2000, 1)
    _, fit = fitted("maf", None, rows)
    assert (truth - log_density(fit, new_rows, None)).mean() > 0.8


@pytest.mark.parametrize("name", ["maf", "nsf-coupling", "planar"])
def test_programs_given_a_context_are_the_modules(name):
    context, rows, _ = draw(400, 0)
    _, fit = fitted(name, context, rows, max_iter=2)
    plain, fast = (log_density(fit, rows, context, kernels) for kernels in (False, True))
    np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-9)
    evaluators = [Evaluator(fit.flow, CPU, kernels) for kernels in (False, True)]
    for ask in ("to_latent", "from_latent"):
        values = [getattr(evaluator, ask)(0.1 * rows, context) for evaluator in evaluators]
        np.testing.assert_allclose(*values, rtol=1e-7, atol=1e-7)
    samples = [evaluator.sample(len(rows), torch.Generator().manual_seed(0), context) for evaluator in evaluators]
    np.testing.assert_allclose(*samples, rtol=1e-7, atol=1e-7)


def test_samples_follow_the_context():
    context, rows, _ = draw(1000, 0)
    _, fit = fitted("nsf", context, rows)
    at = np.repeat([[600.0, 0.0], [-600.0, 5e-4]], 2000, 0)
    drawn = Evaluator(fit.flow, CPU, True).sample(len(at), torch.Generator().manual_seed(0), at)
    for part, mean, scale in ((drawn[:2000], 18, 10), (drawn[2000:], -18, 10 * np.exp(0.2))):
        assert part[:, 0].mean() == pytest.approx(mean, abs=3)
        assert part[:, 0].std() == pytest.approx(scale, rel=0.15)


def test_an_average_over_orderings_takes_a_context():
    context, rows, _ = draw(400, 0)
    new_context, new_rows, truth = draw(1000, 1)
    _, fit = fitted("maf", context, rows, ordering="agnostic", max_iter=60)
    assert (truth - log_density(fit, new_rows, new_context)).mean() < 0.3


def test_training_goes_on_given_a_context():
    context, rows, _ = draw(400, 0)
    fitting, fit = fitted("maf", context, rows, max_iter=2)
    before = fitting.table.x
    further = fitting.further(fit.flow, fit.optimizer_state)
    assert before is fitting.table.x
    assert isinstance(further.flow.bijection.links[1], EmbeddedContext)
    embeddings = [f.flow.bijection.links[1].embedding.state_dict() for f in (fit, further)]
    assert all(torch.equal(a, b) for a, b in zip(*(e.values() for e in embeddings)))
    assert further.progress.best_score > fit.progress.best_score


def test_the_embedding_is_that_of_the_training_rows():
    """What is held out has no say in the scale of the context."""
    context, rows, _ = draw(1000, 0)
    fitting, fit = fitted("maf", context, rows, max_iter=1)
    scale = fit.embedding.links[0].scale.numpy()
    (fold,) = fitting.folds
    assert len(fold.held_out) == 100
    changed = context.copy()
    changed[fold.held_out] *= 100
    _, other = fitted("maf", changed, rows, max_iter=1)
    np.testing.assert_allclose(other.embedding.links[0].scale.numpy(), scale, rtol=1e-6)
