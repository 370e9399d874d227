"""SOAP: Adam in the eigenbases of the gradients' covariances."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from ..engine import threads_for
from . import hyperparameters as hp
from .parameters import ParameterVector, Stack, is_matrix

MOMENTS = "mean", "square", "covariances", "bases"
State = tuple[Tensor, Tensor, Tensor, Tensor, int]


class Soap:
    """SOAP (Vyas et al. 2025, algorithm 3) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    Adam (Kingma & Ba 2015, algorithm 1) works on the gradient G of a matrix turned into the eigenbases of the means of
    G G^T and G^T G, or of that one of both that has at most ``hp.MAX_SIDE`` rows; on all that is no matrix it works as
    ever. The bases follow by a step of orthogonal iteration now and then, and the moments are turned with them.

    The step of Adam is torch's fused one, a single pass over the vector, called below ``torch.optim``, whose import
    takes a second in every new process, more than a small fit.

    Parameters
    ----------
    params : ParameterVector
    alpha : float
        Weight decay.

    Attributes
    ----------
    mean, square : Tensor of shape (n_params,)
        Moments of the gradient in the bases.
    covariances, bases : Tensor of shape (n_numbers,)
        Those of all matrices, one behind the other.
    """

    def __init__(self, params: ParameterVector, alpha: float):
        self.params, self.alpha, value = params, alpha, params.value
        self.mean, self.square, self._turned, self._direction = value.new_zeros((4, len(value)))
        self._count = value.new_zeros((), dtype=torch.float32)
        sides = [(stack.count, n if n <= hp.MAX_SIDE else 0) for stack in params.stacks for n in stack.shape]
        self.covariances, self.bases = value.new_zeros((2, sum(count * n * n for count, n in sides)))
        covariances, bases = (_split(vector, sides) for vector in (self.covariances, self.bases))
        self._turns = [
            _Turn(stack, covariances[2 * i : 2 * i + 2], bases[2 * i : 2 * i + 2])
            for i, stack in enumerate(params.stacks)
        ]
        self.reset()

    def reset(self) -> None:
        """Forget the moments and the bases."""
        for vector in (self.mean, self.square, self.covariances):
            vector.zero_()
        for turn in self._turns:
            turn.reset()
        self.n_steps = 0

    def state(self) -> State:
        """The moments, the covariances, the bases and the number of steps, to go on later with `resume`."""
        return self.mean, self.square, self.covariances, self.bases, self.n_steps

    def resume(self, state: State) -> None:
        """Take up the state of an earlier run on the same parameters; that of Adam, of earlier versions, is no help."""
        *vectors, n_steps = state
        if len(vectors) != len(MOMENTS):
            return
        self.n_steps = n_steps
        for own, vector in zip(self.state(), vectors):
            own.copy_(vector)

    def step(self, learning_rate: float) -> None:
        """Move the parameters down their gradient."""
        self.n_steps += 1
        params, turned, direction = self.params, self._turned, self._direction
        for turn in self._turns:
            turn.into_bases(params.grad, turned)
        turned[params.n_in_stacks :].copy_(params.grad[params.n_in_stacks :])
        direction.zero_()
        torch._fused_adamw_(
            [direction], [turned], [self.mean], [self.square], [], [self._count.fill_(self.n_steps)], eps=1e-8,
            lr=learning_rate, beta1=hp.BETAS[0], beta2=hp.BETAS[1], weight_decay=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        params.value[: params.n_decayed].mul_(1 - learning_rate * self.alpha)
        for turn in self._turns:
            turn.add_out_of_bases(direction, params.value)
        params.value[params.n_in_stacks :].add_(direction[params.n_in_stacks :])
        early = self.n_steps <= hp.EARLY_STEPS
        for turn in self._turns:
            if early or self.n_steps % hp.COVARIANCE_STEPS == 0:
                turn.note(params.grad)
            if early or self.n_steps % hp.BASIS_STEPS == 0:
                turn.follow(self.mean, self.square)


def state_lengths(module: nn.Module) -> list[int]:
    """Those of the four vectors of the state for the parameters of a module."""
    params = [p for p in module.parameters() if p.requires_grad]
    n_params = sum(p.numel() for p in params)
    n_numbers = sum(n * n for p in params if is_matrix(p) for n in p.shape if n <= hp.MAX_SIDE)
    return [n_params, n_params, n_numbers, n_numbers]


class _Turn:
    """The turn of a stack's gradients G into the eigenbases of G G^T and G^T G, as far as these are small enough.

    Parameters
    ----------
    stack : Stack
    covariances, bases : list of Tensor of shape (count, n, n) or None
        Of the rows and of the columns.
    """

    def __init__(self, stack: Stack, covariances: list[Tensor | None], bases: list[Tensor | None]):
        self.stack, self.covariances, self.bases = stack, covariances, bases

    def reset(self) -> None:
        """To no turn at all."""
        for basis in self.bases:
            if basis is not None:
                basis.copy_(torch.eye(basis.shape[-1]))

    def into_bases(self, vector: Tensor, out: Tensor) -> None:
        """Set the stack's part of ``out`` to what that of ``vector`` is in the bases."""
        self.stack.of(out).copy_(_between(self.bases, self.stack.of(vector)))

    def add_out_of_bases(self, vector: Tensor, out: Tensor) -> None:
        """Add to the stack's part of ``out`` what that of ``vector``, in the bases, is out of them."""
        inverses = [None if basis is None else basis.mT for basis in self.bases]
        self.stack.of(out).add_(_between(inverses, self.stack.of(vector)))

    def note(self, grad: Tensor) -> None:
        """Let the covariances know of a gradient."""
        g = self.stack.of(grad)
        for covariance, pair in zip(self.covariances, ((g, g.mT), (g.mT, g))):
            if covariance is not None:
                with _threads_for(g):
                    covariance.baddbmm_(*pair, beta=hp.BETA_COVARIANCE, alpha=1 - hp.BETA_COVARIANCE)

    def follow(self, mean: Tensor, square: Tensor) -> None:
        """Bring the bases nearer to the eigenvectors of the covariances, and the moments along.

        A second moment becomes that of a sum of uncorrelated terms: if it stayed, as in the paper, a large mean could
        be turned to where it is small, and be divided by it.
        """
        changes = [_followed(*side) for side in zip(self.covariances, self.bases)]
        self.stack.of(mean).copy_(_between(changes, self.stack.of(mean)))
        squares = [None if change is None else change**2 for change in changes]
        self.stack.of(square).copy_(_between(squares, self.stack.of(square)))


def _split(vector, sides):
    """The stacks of square matrices that a vector holds; None in place of empty ones."""
    parts = vector.split([count * n * n for count, n in sides])
    return [part.view(count, n, n) if n else None for part, (count, n) in zip(parts, sides)]


def _threads_for(stack):
    """A block for products: threads share the matrices of a stack, but a single one they would divide, and round so."""
    return threads_for(0) if len(stack) == 1 else contextlib.nullcontext()


def _between(sides, x):
    """The product L^T x R, where a side of None is left out."""
    left, right = sides
    with _threads_for(x):
        x = x if left is None else left.mT @ x
        return x if right is None else x @ right


def _followed(covariance, basis):
    """One step of orthogonal iteration on a basis; the new one in terms of the old."""
    if basis is None:
        return None
    with threads_for(0):  # what the decomposition comes to depends on the number of threads
        new = torch.linalg.qr(covariance @ basis)[0]
    change = basis.mT @ new
    basis.copy_(new)
    return change
