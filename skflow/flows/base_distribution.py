"""Base distributions: where a flow's latent rows are scored, drawn, and turned to and from normal scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .mixture_cdf import mixture_cdf, mixture_quantile
from .tape import Tape
from .tiles import from_tiles, to_tiles

RecordBack = Callable[[Tape, Tensor], tuple[Tensor, list[Tensor | None]]]
LOG_2PI = math.log(2 * math.pi)


def _diagonals(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1)


class BaseDistribution(nn.Module):
    """A density on R^d that can be scored, sampled and mapped to independent standard normals."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats of rows ``z`` (n, d); shape (n,)."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; shape (n, d)."""
        raise NotImplementedError

    def record(self, tape: Tape, z: Tensor) -> tuple[Tensor, RecordBack]:
        """Record `log_prob` on tiles (t, d, m), without a graph.

        Returns
        -------
        log_prob : Tensor of shape (t, m)
        record_back : callable
            ``record_back(tape, grad_log_prob)`` records the derivative, and returns the memory of the gradients with
            respect to ``z`` and to the parameters, in the order of ``parameters()``; None for one that is not trained.
        """
        out, kept, params = tape.keep(len(z), z.shape[2]), [], list(self.parameters())

        def evaluate():
            log_prob, kept[:] = self._evaluate(z) if tape.keeps else (self._log_prob(z), ())
            out.copy_(log_prob)

        def record_back(tape, grad_log_prob):
            grad_z = tape.output(*z.shape)
            grads = [torch.empty_like(p, requires_grad=False) if p.requires_grad else None for p in params]

            def pull_back():
                for into, grad in zip([grad_z, *grads], self._pull_back(kept, grad_log_prob)):
                    if into is not None:
                        into.copy_(grad)

            tape.add(pull_back)
            return grad_z, grads

        tape.add(evaluate)
        return out, record_back

    def _log_prob(self, z):
        """`log_prob` on tiles (t, d, m), shape (t, m)."""
        return to_tiles(self.log_prob(from_tiles(z, len(z) * z.shape[2])))

    def _evaluate(self, z):
        """`_log_prob` and what `_pull_back` needs."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_prob = self._log_prob(z)
        return log_prob.detach(), (z, log_prob)

    def _pull_back(self, kept, grad_log_prob):
        """Gradients of ``z`` and of the parameters; anything for one that is not trained."""
        z, log_prob = kept
        variables = [z, *self.parameters()]
        wanted = [v for v in variables if v.requires_grad]
        grads = iter(torch.autograd.grad(log_prob, wanted, grad_log_prob))
        return [next(grads) if v.requires_grad else None for v in variables]

    def to_normal(self, z: Tensor) -> Tensor:
        """The Rosenblatt transform: rows of this distribution become rows of independent standard normals."""
        raise NotImplementedError

    def from_normal(self, u: Tensor) -> Tensor:
        """The inverse of `to_normal`."""
        raise NotImplementedError


class StandardNormal(BaseDistribution):
    """Independent standard normals."""

    def __init__(self, n_features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))

    def log_prob(self, z):
        return -0.5 * (z * z).sum(1) - 0.5 * z.shape[1] * LOG_2PI

    def record(self, tape, z):
        square, log_prob = tape.scratch(*z.shape), tape.keep(len(z), z.shape[2])
        tape.add(torch.mul, z, z, out=square)
        tape.add(torch.sum, square, 1, out=log_prob)
        tape.add(log_prob.add_, z.shape[1] * LOG_2PI)
        tape.add(log_prob.mul_, -0.5)

        def record_back(tape, grad_log_prob):
            grad_z, down = tape.output(*z.shape), tape.scratch(*grad_log_prob.shape)
            tape.add(torch.neg, grad_log_prob, out=down)
            tape.add(torch.mul, z, down[:, None], out=grad_z)
            return grad_z, []

        return log_prob, record_back

    def sample(self, n, generator=None):
        return torch.randn(n, len(self.mean), generator=generator, dtype=self.mean.dtype, device=self.mean.device)

    def to_normal(self, z):
        return z

    def from_normal(self, u):
        return u


class GaussianMixture(BaseDistribution):
    """A mixture of K full-covariance Gaussians, trained along with the flow.

    Component k has mean ``means[k]`` and precision ``P_k^T P_k`` with ``P_k`` lower triangular: ``P_k (z - m_k)`` is
    standard normal. The diagonal of ``P_k`` is kept as its logarithm in ``log_diagonal``.

    Parameters
    ----------
    weights : Tensor of shape (K,)
    means : Tensor of shape (K, d)
    precision_factors : Tensor of shape (K, d, d)
    diagonal : bool, default=False
        Leave what stands below the diagonal of ``P_k`` out of the training.
    """

    def __init__(self, weights: Tensor, means: Tensor, precision_factors: Tensor, *, diagonal: bool = False):
        super().__init__()
        self.diagonal = diagonal
        self.logits = nn.Parameter(weights.log())
        self.means = nn.Parameter(means.clone())
        self.log_diagonal = nn.Parameter(_diagonals(precision_factors).log().clone())
        self.lower = nn.Parameter(torch.tril(precision_factors, -1), requires_grad=not diagonal)

    def n_idle(self) -> int:
        """Number of entries that are not free: those of ``lower`` that count for nothing or stay, and one logit."""
        k, d = self.means.shape
        return k * (d * d if self.diagonal else d * (d + 1) // 2) + 1

    def _factors(self):
        return torch.tril(self.lower, -1) + torch.diag_embed(self.log_diagonal.exp())

    def _whiten(self, z):
        """``P_k (z - m_k)`` of shape (t, K, d, m), the log-densities of the components (t, K, m) and all ``P_k``."""
        factors = self._factors()
        (k, d), (t, _, m) = self.means.shape, z.shape
        offset = (factors @ self.means[:, :, None]).reshape(k * d, 1)
        white = torch.baddbmm(offset, factors.reshape(k * d, d).expand(t, -1, -1), z, beta=-1).view(t, k, d, m)
        log_scale = self.log_diagonal.sum(1) + torch.log_softmax(self.logits, 0) - 0.5 * d * LOG_2PI
        return white, log_scale[:, None] - 0.5 * (white * white).sum(2), factors

    def log_prob(self, z):
        return self._log_prob(z.t()[None])[0]

    def _log_prob(self, z):
        return torch.logsumexp(self._whiten(z)[1], 1)

    def _evaluate(self, z):
        white, terms, factors = self._whiten(z)
        log_prob = torch.logsumexp(terms, 1)
        return log_prob, (z, white, terms.sub_(log_prob[:, None]).exp_(), factors)

    def _pull_back(self, kept, grad_log_prob):
        """With posterior weights r of the components, the gradient of ``w_k = P_k (z - m_k)`` is ``-r_k w_k``."""
        z, white, share, factors = kept
        t, k, d, m = white.shape
        share = share * grad_log_prob[:, None]
        grad_white = (white * share[:, :, None]).neg_().view(t, k * d, m)
        mass, total = share.sum(2).sum(0), grad_white.sum(2).sum(0).view(k, d, 1)
        grad_factors = (grad_white @ z.mT).sum(0).view(k, d, d) - total * self.means[:, None]
        grad_means = -(factors.mT @ total)[:, :, 0]
        grad_diagonal = _diagonals(grad_factors) * self.log_diagonal.exp() + mass[:, None]
        grad_logits = mass - torch.softmax(self.logits, 0) * mass.sum()
        grad_z = factors.view(k * d, d).t().expand(t, -1, -1) @ grad_white
        return [grad_z, grad_logits, grad_means, grad_diagonal, torch.tril(grad_factors, -1)]

    def sample(self, n, generator=None):
        weights = torch.softmax(self.logits, 0)
        component = torch.multinomial(weights, n, replacement=True, generator=generator)
        noise = torch.randn(
            n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        z = torch.empty_like(noise)
        for k, factor in enumerate(self._factors()):
            rows = component == k
            z[rows] = self.means[k] + torch.linalg.solve_triangular(factor, noise[rows].t(), upper=False).t()
        return z

    def to_normal(self, z):
        return self._rosenblatt(z, forward=True)

    def from_normal(self, u):
        return self._rosenblatt(u, forward=False)

    def _rosenblatt(self, v, forward):
        """Column by column: given the columns before it, a column of a Gaussian mixture is a mixture in one dimension.

        With z = m + C e, C the lower-triangular inverse of the precision factor, row i of C gives the mean and scale of
        column i; each column's density then updates the components' posterior weights.
        """
        chol = torch.linalg.inv(self._factors()).tril()
        log_weight = torch.log_softmax(self.logits, 0)[:, None].expand(-1, len(v))
        noise: list[Tensor] = []
        out = []
        for i, v_i in enumerate(v.t()):
            mean = self.means[:, i, None].expand(-1, len(v))
            if i:
                mean = mean + torch.einsum("kj,jkn->kn", chol[:, i, :i], torch.stack(noise))
            scale = chol[:, i, i, None].expand_as(mean)
            convert = mixture_cdf if forward else mixture_quantile
            out.append(convert(v_i, log_weight, mean, scale))
            noise.append(((v_i if forward else out[-1]) - mean) / scale)
            log_weight = torch.log_softmax(log_weight - 0.5 * noise[-1] ** 2 - scale.log(), 0)
        return torch.stack(out, 1)
