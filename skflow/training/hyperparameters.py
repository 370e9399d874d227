"""Every tuned number of a fit, and what "auto" means: hyperparameters as functions of numbers of rows and columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..flows.registry import FLOWS, FlowSettings

# The validation part
MIN_ROWS_TO_SPLIT = 10  # a table of fewer has none
ROWS_TO_SPLIT_ONCE = 400  # a table of fewer is split twice, so that chance has less of a say
FOLD_FRACTION = 0.2  # of the rows are then held out each time
MAX_HELD_OUT = 50_000  # rows; they are scored after every pass
ROWS_TO_REFIT = 1000, 10_000  # a table of fewer is trained on once more, with the rows held out: at least, at most
ROWS_TO_REFIT_PER_COLUMN = 500  # and so much per column in between

# Tables that are not in memory as a whole: streams, and the rows of several processes
SAMPLE_ROWS = 200_000  # of all, which decide about preprocessing, starts and validation; no more are one table
SHUFFLE_ROWS = 200_000  # of a stream that are mixed at a time

# Checkpoints
CHECKPOINT_SECONDS = 30.0  # at least from one to the next
CHECKPOINT_SHARE = 0.01  # of the time of a fit is what they take at most

# The base distribution
COMPONENTS = 2, 4, 8, 16, 32  # sizes of mixtures to try, until one is no better than the one before
MIN_COMPONENTS_TO_TRY = 4  # of which one is tried all the same
ROWS_PER_COMPONENT = 10  # at least, or as many as there are columns
ROWS_PER_DIAGONAL_COMPONENT = 5  # at least
MAX_COVARIANCE_NUMBERS = 300_000  # K d^2: beyond it a mixture costs more than the flow in front of it
MAX_BASE_ROWS = 10_000  # to which a base is fitted
MAX_ROWS_FOR_MIXTURES = 50_000  # a flow of a longer table ends higher from a single Gaussian, though it starts lower
MIN_ROWS_PER_COLUMN = 20  # from where a covariance may do without being shrunk
REACH = 10.0  # in units of the latent; rows further out have no say in where mixtures start
BROAD_ROWS = 1.0  # what the broad component weighs
BROAD_SHARE = 0.05  # of the least variance in any direction is what the broad component adds to it
BROAD_VARIANCE = 4.0  # times that of the rows, column by column

# The network
INITIAL_ROWS = 1000  # from which layers set what they read off data
SMALL = 500  # training rows; a smaller network learns as much from them
LONG, VERY_LONG = 20_000, 1_400_000  # training rows
WIDTHS = 32, 64, 64  # hidden units of a layer for a small table, one in between, a long one
DEPTHS = 2, 3, 5  # layers for the same
ROWS_FOR_MORE_BINS = 2000  # training rows
BINS = 8, 16  # of a spline for fewer rows and more

# The choice between starts
TRIAL_SHARE = 0.1  # of all steps are made by every start before they are compared
TRIAL_SHARE_OF_SMALL = 0.04  # the same for a small table
MAX_TRIAL_STEPS = 1000  # at most
TRIAL_GROWTH = 1.3  # times as many steps have been made when they are compared again
MAX_TRIAL_SHARE_OF_LONG = 0.1  # of all steps is what the starts of a long table are compared for at most
MAX_SHARE_CUT_SHORT = 0.05  # of all steps may be missing from passes in which a trial has ended
TRUST_IN_RISE = 1.0  # of the last doubling's rise is what the next doubling is expected to bring

# The steps
MIN_STEPS = 90  # of any table
STEPS, STEPS_EXPONENT = (130, 215), 0.55  # of 500 rows if small and if not, and growing with this power of the rows
BATCH_SIZES = 128, 256  # for a small table, and up to a long one
BATCH_EXPONENT, LONG_STEPS_EXPONENT = 0.5, 0.85  # with which batch and steps grow beyond
LEARNING_RATE, RATE_EXPONENT = 8e-3, 0.25  # up to a long table, and with which it falls beyond
COLUMNS_AT_FULL_LENGTH = 64  # of more columns each step is so dear that there are fewer
PATIENCE = 0.1  # of all steps without a better validation score lower the rate, or end a run
MIN_PATIENCE, MIN_PATIENCE_STEPS = 5, 40  # passes, and steps of a table that is not small
BETAS = 0.95, 0.95  # what the means of the gradient and of its square keep from one step to the next
BETA_COVARIANCE, COVARIANCE_STEPS = 0.9, 3  # what the mean covariance keeps, from one of so many steps to the next
BASIS_STEPS = 15  # after which the bases follow the covariances
EARLY_STEPS = 4  # after each of which both do
MAX_SIDE = 128  # rows of a covariance
ALPHA_PER_COLUMN, MAX_ALPHA = 40.0, 10.0  # over the number of rows is the weight decay, at most
WARMUP_STEPS, MAX_WARMUP_SHARE = 100, 0.2  # of the learning rate, and the share of all steps that they are at most
MAX_DROPS, RATE_AFTER_DROP = 1, 0.1  # of the rate where patience is at an end, and what is left of it each time
LAST_RATE = 0.01  # of the learning rate is what the schedule ends with
AVERAGING = 0.99  # what the average of the parameters keeps from one step to the next
MAX_GRAD_NORM = 5.0  # a longer gradient is shortened
MAX_ROLLBACKS = 8  # to the best state, when the loss is not finite, before training gives up
RATE_AFTER_ROLLBACK = 0.5  # times the learning rate before
ROWS_TO_SCORE = 2048  # at a time
MIN_COMPILED = 1000  # values in the training rows; fewer are learnt before the compiled loops are loaded

# The members of an ensemble for outlier detection
WIDE = 64  # columns
ENSEMBLE_STEPS, MIN_ENSEMBLE_STEPS = 250, 100  # of every member: a blurred table is learnt soon
MIN_BATCHES = 4  # of a pass: a small table is gone through several times, under other noise
EM_ROWS = 1000, 5000  # at least, by repetition under other noise, and at most
VALIDATION_ROWS = 500, 2000  # at least and at most, likewise
MAX_ROWS_TO_DRAW = 20_000  # from which the centres of small kernel estimates are drawn
MAX_CENTRES = 4096  # of the sharp kernel estimate
MEMORY_WIDTH = 0.15  # standard deviations of a column: about as near are rows that are one and the same
LEAST_MEMORY, MOST_MEMORY = 0.05, 3.0  # odds of a repeated row from which rows are remembered, and that count at most
FORGOTTEN = 3.0  # times as far below the median as the threshold are rows that are not remembered

# Regression
FOLDS, FOLDS_OF_FEW, FEW = 5, 10, 2000  # flows, each blind to one fold; more of them for fewer rows
REGRESSION_LENGTH = 0.7  # of a density's steps
REGRESSION_PATIENCE = 0.15  # of all passes without a better validation score end a run
MAX_ROWS_FOR_PROCESS, ROWS_TO_TUNE_PROCESS = 2000, 400  # of a Gaussian process: of more there is none
MAX_COLUMNS_FOR_SCALES = 20  # of more columns the length scale of the process is one for all
MAX_ROWS_FOR_LOCATION = 200_000  # to which models of the mean are fitted

# The densities of classes
CLASS_FOLDS = 5  # each with a flow that has not seen it
ROWS_TO_CROSS_FIT = 10_000  # a longer table has one validation part and one flow
CLASS_STEPS, MIN_CLASS_STEPS, CLASS_WIDE = 500, 100, 25  # of every flow, and the columns beyond which there are fewer
PSEUDO_ROWS = 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, math.inf  # a column, which the covariance within classes counts for
DIAGONALS = 0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0  # shares of a covariance that is replaced by its diagonal, to try
DIAGONAL = 0.1  # the share with which the number of pseudo-rows is chosen
KERNEL_WIDTHS = tuple(2.0 ** (k / 2) for k in range(-8, 2))  # in units of the covariance within classes
LEAST_SHARE = 1e-3  # a density that counts for less is left out
STANDARD_ERRORS = 2.0  # by which a gain in log-loss must be sure for columns to be bent
MAX_TEMPERATURE = 100.0


# Variational inference
SCALES = tuple(2.0**k for k in range(-8, 13))  # of the reference, that are tried
DRAWS_PER_SCALE = 64
REFERENCE_DF, LOGISTIC_DF, LOGISTIC_SCALE = 5.0, 9.0, 1.55  # the latter two as good as uniform between two bounds
REFERENCE_ROWS = 4000
N_EFFECTIVE = 2000  # rows to which the next temperature comes down
GENERATION = 1000  # rows drawn at every temperature, and chains moved where they are not good enough
GOOD_SHARE = 0.5  # of a generation is its effective sample size where chains are spared
FINAL_ROWS = 8000  # effective ones, to which the flow is fitted in the end
MAX_FINAL_SHARE = 0.1  # of all evaluations is their number at most
PROPOSAL_STEPS = 100  # of the flows at every temperature
MIN_MOVES, MAX_MOVES, GLOBAL_EVERY = 8, 48, 4  # of every chain
CORRELATION = 0.4  # with where they were, at which chains have moved enough
ACCEPTED = 0.25  # share of local moves
SHORTEST = 0.03  # local move, as a share of the longest
MOVE_DF, HEAVY, FIRST_STEP, MAX_STEP = 5.0, 0.5, 0.5, 0.95  # degrees of freedom of a proposal's tails, and their share
BISECTIONS = 50
MAX_GENERATIONS = 60
EVIDENCE_ROWS = 4000  # drawn from the finished flow
MAX_EVIDENCE_SHARE = 0.2  # of all evaluations
FINAL_SHARE = 0.75  # of these is effective where no flows need be refined
REFINED_ROWS, REFINED_STEPS, REFINEMENTS = 4000, 400, 4
REFINED_DEPTH, REFINED_WIDTH = 3, 64
POOR_SHARE = 0.1  # of a generation is effective where this kind of flow is none for the target
REVERSE_KL_STEPS, REVERSE_KL_ROWS, REVERSE_KL_RATE = 300, 128, 1e-2
MAX_REVERSE_KL_SHARE = 0.3  # of the evaluations that are left
CHAINS, CHAINS_SHARE = (50, 300), 0.15  # their least and greatest number; of all evaluations
SHORT_CHAIN, LEAPS = 100, 10  # evaluations of one, above which there are more chains; steps of a move
LEAP_LENGTHS = (0.02, 1.0)  # their least and greatest, where rows have a covariance of one


@dataclass(frozen=True)
class Plan:
    """Hyperparameters of a run, every one resolved to a number.

    ``n_steps`` is the length of the learning-rate schedule; None keeps the rate constant. ``trial_steps`` are what a
    start is given before it is compared with others, ``max_trial_steps`` what it is given at most until one is chosen.
    ``kernels`` says whether compiled loops may be loaded.
    """

    max_iter: int
    batch_size: int
    n_steps: int | None
    trial_steps: int
    learning_rate: float
    alpha: float
    n_iter_no_change: int
    tol: float
    max_trial_steps: float = math.inf
    kernels: bool = True

    def in_whole_passes(self, n_steps: float) -> float:
        """At least so many steps, that end with a pass; less than a pass is left as it is."""
        length = 1 if self.n_steps is None else self.n_steps / self.max_iter
        return n_steps if n_steps < length else math.ceil(n_steps / length) * length


def resolve_flow(estimator, n: int) -> FlowSettings:
    """Depth, hidden layer sizes and bins for ``n`` training rows."""
    recipe = FLOWS.get(estimator.flow) if isinstance(estimator.flow, str) else None
    length = (n >= SMALL) + (n >= LONG)
    depth = _unless_auto(estimator.depth, (recipe.depth if recipe else None) or DEPTHS[length])
    sizes = _unless_auto(estimator.hidden_layer_sizes, 2 * (WIDTHS[length],))
    hidden = tuple(int(s) for s in np.atleast_1d(sizes))
    return FlowSettings(
        int(depth), hidden, int(_unless_auto(estimator.n_bins, BINS[n >= ROWS_FOR_MORE_BINS])), estimator.ordering
    )


def _unless_auto(value, default):
    return default if isinstance(value, str) else value


def resolve_plan(estimator, n: int, d: int) -> Plan:
    """Batch size, number of passes and patience for ``n`` training rows of ``d`` columns.

    The number of steps grows a little faster than the square root of the number of rows, and with the columns up to a
    point: beyond it each step is so dear that there are fewer. Beyond a long table the batch grows with the root, and
    the rate falls; in a very long one the number of steps stays.
    """
    growth = max(1.0, min(n, VERY_LONG) / LONG)
    # Batches are equal: a few rows more in each would leave most of a tile empty.
    most = int(BATCH_SIZES[n >= SMALL] * growth**BATCH_EXPONENT)
    batch_size = _unless_auto(estimator.batch_size, most if n < 2 * most else n // math.ceil(n / most))
    n_batches = max(1, n // batch_size)
    n_steps = max(MIN_STEPS, STEPS[n >= SMALL] * (min(n, LONG) / 500) ** STEPS_EXPONENT * growth**LONG_STEPS_EXPONENT)
    n_steps /= max(1.0, d / COLUMNS_AT_FULL_LENGTH)
    longer = max(1.0, min(d, COLUMNS_AT_FULL_LENGTH) / 8) ** 0.5
    max_iter = _unless_auto(estimator.max_iter, max(1, round(n_steps * longer / n_batches)))
    patience = max(PATIENCE * n_steps, 0 if n < SMALL else MIN_PATIENCE_STEPS)
    patience = _unless_auto(estimator.n_iter_no_change, max(MIN_PATIENCE, round(patience / n_batches)))
    trial_share = TRIAL_SHARE_OF_SMALL if n < SMALL else TRIAL_SHARE
    return Plan(
        max_iter=int(max_iter),
        batch_size=int(batch_size),
        n_steps=int(max_iter) * n_batches,
        trial_steps=max(1, round(min(MAX_TRIAL_STEPS, trial_share * n_steps))),
        max_trial_steps=math.inf if n <= LONG else MAX_TRIAL_SHARE_OF_LONG * n_steps,
        learning_rate=float(_unless_auto(estimator.learning_rate_init, LEARNING_RATE / growth**RATE_EXPONENT)),
        alpha=float(_unless_auto(estimator.alpha, min(MAX_ALPHA, ALPHA_PER_COLUMN * d / n))),
        n_iter_no_change=int(patience),
        tol=float(estimator.tol),
        kernels=n * d >= MIN_COMPILED,
    )


# Latent trees, for tables of categories and holes
TREE_STATES = 4, 8, 16, 32, 64  # of every column, to try
ROWS_PER_STATE = 8
TREE_MAX_ITER, TREE_ITER_TO_CHECK, TREE_PATIENCE = 200, 5, 20
TREE_TOL = 1e-4  # nats a row that count as better
TREE_ROWS = 50_000  # to which trees are fitted; a longer table is thinned out
TREE_ROWS_AT_A_TIME = 4096
TREE_ROWS_TO_COMPARE = 5_000  # from which the tree's structure and its start are read
TREE_CLASSES = 10  # of a number, where its mutual information with others is estimated
SOFTNESS = 0.1  # share of a state that starts anywhere
PSEUDO_COUNT = 0.5  # of every known category
UNSEEN_ROWS = 0.5  # for which all unknown categories of a column count together
LEAST_COUNT = 1e-6  # of a state
PSEUDO_COUNT_OF_STATES, PSEUDO_COUNT_OF_CATEGORIES, PSEUDO_COUNT_OF_MEAN = 1.0, 1.0, 0.1
PSEUDO_COUNT_OF_VARIANCE, PRIOR_VARIANCE = 5.0, 0.1
LOSS_TO_STOP = 0.3  # nats a row by which more states lose to fewer, and still more are not tried
LEAST_TREE_WEIGHT = 0.08  # a tree that counts for less is left out
DRAWS_TO_WEIGH = 16  # of what is missing from a row held out
STACKING_STEPS, STACKING_PSEUDO_ROWS = 100, 5.0  # of expectation-maximisation, and rows that the prior counts for
