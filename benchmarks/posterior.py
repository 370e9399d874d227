"""Densities known up to a constant whose constant is known all the same: error, effective draws, evaluations, seconds.

The numbers that it has printed stand in docs/user_guide/posterior.rst.

Seconds are those of a processor, which other work on the machine doesn't lengthen.

python benchmarks/posterior.py energies|targets|logistic|diagnostics [--seeds 2] [--peers]
"""

from __future__ import annotations

import argparse
import math
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_breast_cancer

import skflow
from skflow import FlowPosterior

LOG_2PI = math.log(2 * math.pi)
ENERGY_GRID = np.linspace(-8, 8, 801)


@dataclass(frozen=True)
class Target:
    """A log-density in torch, the logarithm of its integral, and the scale of a normal prior wide enough for peers."""

    log_density: Callable
    n_features: int
    log_z: float
    scale: float = 1.0
    bounds: object = None


def funnel(x):
    """Neal (2003), section 8."""
    v, rest = x[:, 0], x[:, 1:]
    log_v = -0.5 * v**2 / 9 - 0.5 * LOG_2PI - math.log(3)
    return log_v + (-0.5 * rest**2 * torch.exp(-v[:, None]) - 0.5 * v[:, None] - 0.5 * LOG_2PI).sum(1)


MEANS = 40 * (2 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1)
DEVIATION = math.log1p(math.e)


def forty_gaussians(x):
    """Midgley et al. (2023), section 4.1."""
    square = ((x[:, None] - MEANS) / DEVIATION).square().sum(2)
    return torch.logsumexp(-0.5 * square, 1) - 2 * math.log(DEVIATION) - LOG_2PI - math.log(40)


def many_well(x):
    """Midgley et al. (2023), section 4.2."""
    a, b = x[:, ::2], x[:, 1::2]
    return (-(a**4) + 6 * a**2 + 0.5 * a - 0.5 * b**2).sum(1)


def eight_schools(x):
    """Rubin (1981), with the effects as columns: mean, logarithm of the spread, and eight effects."""
    effect = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=x.dtype)
    error = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=x.dtype)
    mean, log_spread, theta = x[:, 0], x[:, 1], x[:, 2:]
    offset = (theta - mean[:, None]) / log_spread[:, None].exp()
    of_effects = -0.5 * (((theta - effect) / error).square() + offset.square()).sum(1) - 8 * log_spread
    return of_effects - 0.5 * (mean / 5) ** 2 - torch.log1p((log_spread.exp() / 5) ** 2) + log_spread


def energies():
    """U1 to U4 of figure 3 of Rezende & Mohamed (2015), as log-densities."""

    def w1(x):
        return torch.sin(2 * math.pi * x[:, 0] / 4)

    def w2(x):
        return 3 * torch.exp(-0.5 * ((x[:, 0] - 1) / 0.6) ** 2)

    def w3(x):
        return 3 * torch.sigmoid((x[:, 0] - 1) / 0.3)

    def u1(x):
        ring = 0.5 * ((x.norm(dim=1) - 2) / 0.4) ** 2
        sides = torch.logaddexp(-0.5 * ((x[:, 0] - 2) / 0.6) ** 2, -0.5 * ((x[:, 0] + 2) / 0.6) ** 2)
        return sides - ring

    # Three of the four waves never end: a wide normal factor does it.
    def ending(function):
        return lambda x: function(x) - 0.5 * (x[:, 0] / 3) ** 2

    def u2(x):
        return -0.5 * ((x[:, 1] - w1(x)) / 0.4) ** 2

    def u3(x):
        a, b = (x[:, 1] - w1(x)) / 0.35, (x[:, 1] - w1(x) + w2(x)) / 0.35
        return torch.logaddexp(-0.5 * a**2, -0.5 * b**2)

    def u4(x):
        a, b = (x[:, 1] - w1(x)) / 0.4, (x[:, 1] - w1(x) + w3(x)) / 0.35
        return torch.logaddexp(-0.5 * a**2, -0.5 * b**2)

    return {"U1": u1, "U2": ending(u2), "U3": ending(u3), "U4": ending(u4)}


def divergences(score_samples, log_density):
    """KL(p || q) and KL(q || p) in nats, by quadrature."""
    x = torch.from_numpy(np.stack(np.meshgrid(ENERGY_GRID, ENERGY_GRID, indexing="ij"), -1).reshape(-1, 2))
    cell = math.log((ENERGY_GRID[1] - ENERGY_GRID[0]) ** 2)
    log_p = log_density(x).numpy()
    log_p = log_p - np.logaddexp.reduce(log_p) - cell
    log_q = score_samples(x.numpy())
    p, q = np.exp(log_p + cell), np.exp(log_q + cell)
    return float(p @ (log_p - log_q)), float(q @ (log_q - log_p))


MANY_WELL = 16 * (
    math.log(float(np.trapezoid(np.exp(-((g := np.linspace(-6, 6, 200_001)) ** 4) + 6 * g**2 + 0.5 * g), g)))
    + 0.5 * LOG_2PI
)
HARD = {
    "funnel": Target(funnel, 10, 0.0, 20.0),
    "forty Gaussians": Target(forty_gaussians, 2, 0.0, 40.0),
    "Many-Well": Target(many_well, 32, MANY_WELL, 2.0),
    "eight schools": Target(eight_schools, 10, 7.950262, 10.0),  # by quadrature over mean and spread
}


def fitted(target, seed, **params):
    """A posterior, and the seconds of a processor that its fit has taken."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior = FlowPosterior(random_state=seed, bounds=target.bounds, **params)
        posterior.fit(target.log_density, target.n_features)
    return posterior, time.process_time() - start


def line(name, seed, posterior, seconds, log_z):
    """One fit, one line."""
    error = posterior.log_evidence_ - log_z
    print(
        f"{name:24} seed {seed}  log Z error {error:+.4f} ± {posterior.log_evidence_std_:.4f} "
        f"({abs(error) / posterior.log_evidence_std_:.1f} s.e.)  k {posterior.pareto_k_:+.2f}  "
        f"effective {posterior.effective_sample_size_ / 4000:.1%}  {posterior.n_evaluations_} evaluations  "
        f"{seconds:.0f} s",
        flush=True,
    )


def pocomc(name, target, seed):
    """The same by pocoMC with its defaults, from a normal prior."""
    import pocomc
    from scipy import stats

    n_evaluations, prior = 0, [stats.norm(0, target.scale)] * target.n_features

    def log_likelihood(x):
        nonlocal n_evaluations
        n_evaluations += len(x)
        return target.log_density(torch.from_numpy(x)).numpy() - stats.norm(0, target.scale).logpdf(x).sum(1)

    start = time.process_time()
    sampler = pocomc.Sampler(pocomc.Prior(prior), log_likelihood, vectorize=True, random_state=seed)
    sampler.run(progress=False)
    log_z, error = sampler.evidence()
    print(
        f"{name:24} seed {seed}  log Z error {log_z - target.log_z:+.4f} ± {error:.4f}  {n_evaluations} evaluations  "
        f"{time.process_time() - start:.0f} s  (pocoMC)",
        flush=True,
    )


def normflows_splines(name, log_density, n_steps=2000, n_draws=256):
    """The same by normflows: four spline layers, by the reverse KL divergence alone."""
    import normflows

    class Energy(normflows.distributions.Target):
        def log_prob(self, z):
            return log_density(z)

    torch.manual_seed(0)
    start = time.process_time()
    splines, lu = normflows.flows.AutoregressiveRationalQuadraticSpline, normflows.flows.LULinearPermute
    layers = [layer for _ in range(4) for layer in (splines(2, 2, 64), lu(2))]
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(2), layers, Energy())
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = flow.reverse_kld(n_draws)
        if loss.isfinite():
            loss.backward()
            optimizer.step()
    seconds = time.process_time() - start
    with torch.no_grad():
        forward, reverse = divergences(
            lambda x: flow.log_prob(torch.from_numpy(x).float()).double().numpy(), log_density
        )
    print(
        f"{name}  splines    4  KL(p||q) {forward:.4f}  KL(q||p) {reverse:.4f}  {n_steps * n_draws} evaluations  "
        f"{seconds:.0f} s  (normflows)",
        flush=True,
    )


def run_energies(peers):
    """KL from the default, and from planar and radial flows of three depths in front of a standard normal."""
    paper = [(flow, depth, "normal", 30_000) for flow in ("planar", "radial") for depth in (2, 8, 32)]
    for flow, depth, base, n in [("nsf", "auto", "auto", 100_000), *paper]:
        for name, log_density in energies().items():
            settings = {"flow": flow, "depth": depth, "base": base, "max_evaluations": n}
            posterior, seconds = fitted(Target(log_density, 2, math.nan), 0, **settings)
            forward, reverse = divergences(posterior.score_samples, log_density)
            print(
                f"{name}  {flow:6} {depth!s:4}  KL(p||q) {forward:.4f}  KL(q||p) {reverse:.4f}  "
                f"{posterior.n_evaluations_} evaluations  {seconds:.0f} s",
                flush=True,
            )
    if peers:
        for name, log_density in energies().items():
            normflows_splines(name, log_density)


def run_targets(seeds, peers):
    """The hard ones."""
    for name, target in HARD.items():
        for seed in range(seeds):
            posterior, seconds = fitted(target, seed)
            line(name, seed, posterior, seconds, target.log_z)
            if name == "forty Gaussians":
                X = posterior.sample(8000, random_state=0)
                nearest = ((X[:, None] - MEANS.numpy()) ** 2).sum(2).argmin(1)
                print(f"{'':24} {len(np.unique(nearest))} of 40 modes among 8,000 draws")
            if peers:
                pocomc(name, target, seed)


def logistic_regression():
    """The breast cancer table, standardised, with an intercept and standard normal coefficients."""
    X, y = load_breast_cancer(return_X_y=True)
    X = np.column_stack([np.ones(len(X)), (X - X.mean(0)) / X.std(0)])
    X, sign = torch.from_numpy(X), torch.from_numpy(2.0 * y - 1)

    def log_density(w):
        return torch.nn.functional.logsigmoid((w @ X.T) * sign).sum(1) - 0.5 * (w.square() + LOG_2PI).sum(1)

    return log_density, X.shape[1]


def hamiltonian(log_density, d, n_chains=64, n_steps=3000, n_leaps=12, seed=0):
    """Moments by plain Hamiltonian Monte Carlo from the mode, preconditioned by the curvature there."""
    generator = torch.Generator().manual_seed(seed)
    mode = torch.zeros(1, d, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([mode], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -log_density(mode).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    curvature = torch.autograd.functional.hessian(lambda w: -log_density(w[None])[0], mode.detach()[0])
    factor = torch.linalg.cholesky(torch.linalg.inv(curvature))
    mode = mode.detach()

    def value_and_slope(z):
        z = z.detach().requires_grad_(True)
        value = log_density(mode + z @ factor.T)
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    z = torch.randn(n_chains, d, generator=generator, dtype=torch.float64)
    value, slope = value_and_slope(z)
    total = square = torch.zeros(d, dtype=torch.float64)
    count = 0
    for step in range(n_steps):
        size = 0.25 * (0.8 + 0.4 * torch.rand(1, generator=generator, dtype=torch.float64))
        momentum = torch.randn(n_chains, d, generator=generator, dtype=torch.float64)
        new, new_slope, p = z, slope, momentum
        for _ in range(n_leaps):
            p = p + 0.5 * size * new_slope
            new = new + size * p
            new_value, new_slope = value_and_slope(new)
            p = p + 0.5 * size * new_slope
        ratio = new_value - value - 0.5 * (p.square() - momentum.square()).sum(1)
        accepted = torch.rand(n_chains, generator=generator, dtype=torch.float64).log() < ratio
        z, slope = torch.where(accepted[:, None], new, z), torch.where(accepted[:, None], new_slope, slope)
        value = torch.where(accepted, new_value, value)
        if step >= n_steps // 10:
            x = mode + z @ factor.T
            total, square, count = total + x.sum(0), square + x.square().sum(0), count + n_chains
    mean = total / count
    return mean.numpy(), (square / count - mean**2).sqrt().numpy()


def run_logistic(peers):
    """Means and deviations beside a long Hamiltonian run."""
    log_density, d = logistic_regression()
    start = time.process_time()
    mean, std = hamiltonian(log_density, d, n_steps=800)
    print(f"Hamiltonian Monte Carlo {time.process_time() - start:.0f} s", flush=True)
    posterior, seconds = fitted(Target(log_density, d, math.nan), 0)
    X, log_weights = posterior.importance_sample(20_000, random_state=0)
    weight = np.exp(log_weights - log_weights.max())
    weight /= weight.sum()
    m = weight @ X
    s = np.sqrt(weight @ (X - m) ** 2)
    print(
        f"logistic regression  means off by {np.abs(m - mean).max():.4f} at most, deviations by "
        f"{np.abs(s / std - 1).max():.2%}  log Z {posterior.log_evidence_:.4f} ± {posterior.log_evidence_std_:.4f}  "
        f"k {posterior.pareto_k_:.2f}  effective {posterior.effective_sample_size_ / 4000:.1%}  "
        f"{posterior.n_evaluations_} evaluations  {seconds:.0f} s",
        flush=True,
    )
    if peers:
        pocomc("logistic regression", Target(log_density, d, posterior.log_evidence_), 0)


def twenty():
    """Targets of known constants, easy and hard."""
    few = torch.tensor([[-6.0, 0], [6.0, 0], [0, 9.0]], dtype=torch.float64)

    def normal(deviations):
        s = torch.as_tensor(deviations, dtype=torch.float64)
        return Target(lambda x: -0.5 * (x / s).square().sum(1), len(s), float(s.log().sum()) + 0.5 * len(s) * LOG_2PI)

    def student(df, d):
        each = math.lgamma(0.5 * df) - math.lgamma(0.5 * (df + 1)) + 0.5 * math.log(math.pi * df)
        return Target(lambda x: -0.5 * (df + 1) * torch.log1p(x.square() / df).sum(1), d, d * each)

    def banana(b):
        def log_density(x):
            return -0.5 * (x[:, 0] / 3) ** 2 - 0.5 * (x[:, 1] - b * (x[:, 0] ** 2 - 9)) ** 2

        return Target(log_density, 2, math.log(3) + LOG_2PI)

    def small_funnel(d, sd):
        def log_density(x):
            v, rest = x[:, 0], x[:, 1:]
            return -0.5 * (v / sd) ** 2 + (-0.5 * rest**2 * torch.exp(-v[:, None]) - 0.5 * v[:, None]).sum(1)

        return Target(log_density, d, math.log(sd) + 0.5 * d * LOG_2PI)

    def modes(width, d):
        centres = torch.nn.functional.pad(few, (0, d - 2))

        def log_density(x):
            return torch.logsumexp(-0.5 * ((x[:, None] - centres) / width).square().sum(2), 1)

        return Target(log_density, d, math.log(3) + d * math.log(width) + 0.5 * d * LOG_2PI)

    def gamma(x):
        return (x.log() - x).sum(1)

    return {
        "normal 2, scales": normal([1e-3, 1e3]),
        "normal 10": normal([1.0] * 10),
        "normal 30": normal([1.0] * 30),
        "Student t 5, 2": student(5, 2),
        "Student t 3, 5": student(3, 5),
        "Cauchy 2": student(1, 2),
        "Cauchy 5": student(1, 5),
        "banana 0.1": banana(0.1),
        "banana 1": banana(1.0),
        "funnel 2": small_funnel(2, 3.0),
        "funnel 5": small_funnel(5, 3.0),
        "funnel 20, 2": small_funnel(20, 2.0),
        "three modes 2": modes(1.0, 2),
        "three narrow modes 2": modes(0.02, 2),
        "three modes 10": modes(0.5, 10),
        "gamma 4, bounds": Target(gamma, 4, 0.0, bounds=(0, None)),
        "many-well 8": Target(many_well, 8, MANY_WELL / 4),
        "forty Gaussians": HARD["forty Gaussians"],
        "funnel 10": HARD["funnel"],
        "eight schools": HARD["eight schools"],
    }


def run_diagnostics():
    """What k says where log Z is wrong, with few evaluations: fits are to fail now and then."""
    missed = 0
    for name, target in twenty().items():
        posterior, seconds = fitted(target, 0, max_evaluations=50_000)
        line(name, 0, posterior, seconds, target.log_z)
        wrong = abs(posterior.log_evidence_ - target.log_z) > 3 * posterior.log_evidence_std_
        missed += wrong and posterior.pareto_k_ <= 0.7
    print(f"wrong by more than three standard errors and not above 0.7: {missed} of 20")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("section", choices=["energies", "targets", "logistic", "diagnostics"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--peers", action="store_true")
    given = parser.parse_args()
    print(
        f"skflow {skflow.__version__}, torch {torch.__version__}, scikit-learn {sklearn.__version__}, Python "
        f"{platform.python_version()}, {platform.machine()}, {torch.get_num_threads()} threads, {time.strftime('%F')}"
    )
    if given.section == "energies":
        run_energies(given.peers)
    elif given.section == "targets":
        run_targets(given.seeds, given.peers)
    elif given.section == "logistic":
        run_logistic(given.peers)
    else:
        run_diagnostics()
