"""Several processes, one fit: they share the work, end with the same flow, and fail together."""

import contextlib
import math
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from skflow import FlowClassifier, FlowDensity, FlowOutlierDetector, FlowRegressor
from skflow.engine import Pace
from skflow.estimators import base
from skflow.flows import Flow, FlowSettings, StandardNormal, build_flow
from skflow.persistence.checkpoints import CheckpointFiles
from skflow.training import distributed
from skflow.training import hyperparameters as hp
from skflow.training import run as run_module
from skflow.training.data import NoisySource, Part, ShardSource, TableSource
from skflow.training.distributed import DistributedFitError
from skflow.training.hyperparameters import Plan
from skflow.training.parameters import N_EXTRA
from skflow.training.shards import ShardFitting
from skflow.training.trainer import Trainer

from ..helpers import fit_quietly, quick, target
from ..processes import Ranks
from .test_training import Eventful

ALL = [FlowDensity, FlowOutlierDetector, FlowRegressor, FlowClassifier]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    ranks = Ranks(2, tmp_path_factory.mktemp("group") / "rendezvous")
    yield ranks
    ranks.close()


def rows(n=80, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randn(n, 3) @ rng.randn(3, 3)


def state(estimator):
    """All that a fit has learnt, as bytes, and what it has seen on the way."""
    tensors = {name: value.numpy().tobytes() for name, value in estimator.flow_.state_dict().items()}
    return tensors, estimator.loss_curve_, estimator.validation_scores_


def fit_the_same(rank, cls, params):
    return state(fit_quietly(quick(cls, **params), rows()))


def fit_shards(rank, cls):
    estimator, part = quick(cls), [slice(0, 50), slice(50, None)][rank]
    y = target(estimator, rows())
    y = rows()[:, 0] if cls is FlowRegressor else y
    return state(fit_quietly(estimator, rows()[part], None if y is None else y[part]))


def fit_whole(rank, cls):
    return state(fit_quietly(quick(cls), rows(), rows()[:, 0] if cls is FlowRegressor else None))


@pytest.mark.parametrize("cls", ALL)
def test_all_ranks_end_with_the_same_flow_bit_for_bit(ranks, cls):
    first, second = ranks.run(fit_the_same, cls, {})
    assert isinstance(first, tuple) and first == second


def stream(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(100, 2)) for _ in range(10)]


def fit_long(rank, seeds):
    """As if a thousand rows did not fit into memory; scores of rows that all have."""
    before = hp.SAMPLE_ROWS, hp.SHUFFLE_ROWS
    hp.SAMPLE_ROWS, hp.SHUFFLE_ROWS = 400, 300
    try:
        density = fit_quietly(quick(FlowDensity, base="normal", max_iter=5, random_state=None), stream(seeds[rank]))
        return density.score_samples(stream()[0]).tolist(), density.n_iter_
    finally:
        hp.SAMPLE_ROWS, hp.SHUFFLE_ROWS = before


def test_all_ranks_end_with_the_same_flow(ranks):
    first, second = ranks.run(fit_long, (0, 0))
    assert isinstance(first, tuple) and first == second and first[1] == 5


def test_streams_that_differ_are_refused_on_all(ranks):
    errors = ranks.run(fit_long, (0, 1))
    assert {type(error) for error in errors} <= {ValueError, DistributedFitError}
    assert all("give all processes the same stream" in str(error) for error in errors)


def test_a_random_state_of_none_is_the_first_ranks(ranks):
    first, second = ranks.run(fit_the_same, FlowDensity, {"random_state": None})
    assert isinstance(first, tuple) and first == second


@pytest.mark.parametrize("cls", ALL)
def test_short_shards_are_fitted_as_the_table_that_they_make(ranks, cls):
    first, second = ranks.run(fit_shards, cls)
    assert first == second == ranks.run(fit_whole, cls)[0]


def mixed():
    frame = pd.DataFrame(rows(60), columns=list("abc"))
    frame["d"] = np.where(frame["a"] > 0, "high", "low")
    frame.loc[50:, "b"] = np.nan  # only on the second rank
    return frame


def fit_mixed(rank, shards):
    frame = mixed()
    return state(fit_quietly(quick(), frame.iloc[[slice(0, 40), slice(40, None)][rank]] if shards else frame))


def test_shards_of_a_table_with_categories_and_holes_are_fitted_as_the_table_that_they_make(ranks):
    first, second = ranks.run(fit_mixed, True)
    assert isinstance(first, tuple) and first == second == ranks.run(fit_mixed, False)[0]


X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.linspace(0.5, 1.5, 60)


def trained(train, validation=None, batch_size=20):
    """The optimiser's mean of the gradients of a pass, the mean loss, the validation score and the number of steps.

    In the bases that it starts from: what turns of few gradients are like is for rounding to decide.
    """
    torch.manual_seed(0)
    flow = Flow(build_flow("nsf", 3, 0, FlowSettings(1, (8,), 4)), StandardNormal(3)).float()
    plan = Plan(1, batch_size, None, 1, 0.0, 0.0, 10, 0.0)  # or rounding would decide where the first step goes
    trainer = Trainer(flow, train, validation, plan, torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hp, "EARLY_STEPS", 0)
        loss = trainer.one_pass(math.inf, Pace())
    return trainer.optimizer.mean, loss, None if validation is None else trainer.score(), trainer.step


def train_table(rank):
    with distributed.together(distributed.world()):
        return trained(TableSource(X, None, WEIGHT), TableSource(X, None, WEIGHT))


def test_ranks_share_every_step_of_a_table_that_all_have(ranks):
    alone = trained(TableSource(X, None, WEIGHT), TableSource(X, None, WEIGHT))
    for gradient, loss, score, n_steps in ranks.run(train_table):
        torch.testing.assert_close(gradient, alone[0], rtol=1e-4, atol=1e-6)
        assert (loss, score, n_steps) == (*(pytest.approx(v, rel=1e-6) for v in alone[1:3]), 3)


def count_sums(rank):
    plain, counted = torch.distributed.all_reduce, []
    torch.distributed.all_reduce = lambda message: counted.append(len(message)) or plain(message)
    try:
        n_steps = train_table(rank)[-1]
    finally:
        torch.distributed.all_reduce = plain
    return n_steps, [n for n in counted if n != distributed.LENGTH]


def test_a_step_is_one_sum_of_what_no_mask_hides(ranks):
    n_parameters = Flow(build_flow("nsf", 3, 0, FlowSettings(1, (8,), 4)), StandardNormal(3)).n_parameters()
    for n_steps, sums in ranks.run(count_sums):
        assert sums == [n_parameters + N_EXTRA] * (n_steps + 1)  # the last one says that there are no rows any more


def train_noisy(rank):
    with distributed.together(distributed.world()):
        return trained(NoisySource(X, None, 0.3, torch.Generator().manual_seed(1)))


def test_ranks_blur_a_batch_as_one_does(ranks):
    alone = trained(NoisySource(X, None, 0.3, torch.Generator().manual_seed(1)))
    for gradient, *_ in ranks.run(train_noisy):
        torch.testing.assert_close(gradient, alone[0], rtol=1e-4, atol=1e-6)


def train_shards(rank, batch_size):
    part = [slice(0, 45), slice(45, None)][rank]
    with distributed.together(distributed.world()):
        source = ShardSource(X[part], None, WEIGHT[part], 0.0, len(X[part]) / len(X))
        return trained(source, batch_size=batch_size)


def test_the_gradient_is_the_mean_over_the_rows_of_all_shards(ranks):
    alone = trained(TableSource(X, None, WEIGHT), batch_size=60)
    for gradient, loss, *_ in ranks.run(train_shards, 60):
        torch.testing.assert_close(gradient, alone[0], rtol=1e-4, atol=1e-6)
        assert loss == pytest.approx(alone[1], rel=1e-6)


def test_uneven_shards_end_a_pass_together(ranks):
    assert [n_steps for *_, n_steps in ranks.run(train_shards, 12)] == [5, 5]


def train_as_long_as_there_are_rows(rank):
    n = [50, 10][rank]
    with distributed.together(distributed.world()):
        return trained(ShardSource(X[:n], None, None, 0.0, 1.0), batch_size=10)


def test_a_rank_that_has_been_through_its_rows_waits_for_the_others(ranks):
    assert [n_steps for *_, n_steps in ranks.run(train_as_long_as_there_are_rows)] == [5, 5]


# Shards that no process has all of


def fit_long_shards(rank, tables, weights=None, groups=None, max_iter=3):
    before, hp.SAMPLE_ROWS = hp.SAMPLE_ROWS, 1600
    try:
        weight = None if weights is None else weights[rank]
        group = None if groups is None else groups[rank]
        return fit_quietly(quick(max_iter=max_iter), tables[rank], sample_weight=weight, groups=group)
    finally:
        hp.SAMPLE_ROWS = before


def fit_and_note_rows(rank, tables, groups=None):
    """The rows that this rank trains on, and those that are held out."""
    plain, seen = ShardFitting._rest, []

    def rest(self, held_out):
        index = plain(self, held_out)
        seen.append((self.shard.X[index], self.sample.X[held_out]))
        return index

    ShardFitting._rest = rest
    try:
        fit_long_shards(rank, tables, None, groups, 1)
    finally:
        ShardFitting._rest = plain
    return seen[0]


def test_long_shards_give_the_density_of_the_table_that_they_make(ranks):
    whole = rows(4000)
    shards, test = np.split(whole[:3000], [1800]), whole[3000:]
    densities = ranks.run(fit_long_shards, shards, None, None, 20)
    assert state(densities[0]) == state(densities[1])
    alone = fit_quietly(quick(max_iter=20), whole[:3000])
    assert densities[0].score(test) == pytest.approx(alone.score(test), abs=0.03)


def test_frames_in_long_shards_are_remembered_as_one(ranks):
    frames = [pd.DataFrame(rows(1000, seed).round(1), columns=list("abc")) for seed in (1, 2)]
    first, second = ranks.run(fit_long_shards, frames)
    assert first.sample(20, random_state=0).equals(second.sample(20, random_state=0))


def test_no_rank_trains_on_copies_of_rows_held_out(ranks):
    some = rows(1200, 1)
    for trained_on, held_out in ranks.run(fit_and_note_rows, (some, np.concatenate([rows(700, 2), some[:500]]))):
        assert len(held_out) > 20 and len(trained_on) > 500
        assert not set(map(bytes, trained_on)) & set(map(bytes, held_out))


def test_groups_of_long_shards_are_held_out_as_a_whole(ranks):
    tables, labels = (rows(1200, 1), rows(800, 2)), (np.arange(1200) // 7, np.arange(800) // 5)
    for (trained_on, held_out), X, label in zip(ranks.run(fit_and_note_rows, tables, labels), tables, labels):
        group = dict(zip(map(bytes, X), label))
        mine = {group[bytes(row)] for row in held_out if bytes(row) in group}
        assert mine and not mine & {group[bytes(row)] for row in trained_on}


def test_weights_of_long_shards_count_across_ranks(ranks):
    """Of two clouds the one whose rows count for nothing beside the other's is no part of the density."""
    tables, weights = (rows(1200), 1000 + rows(800)), (np.full(1200, 1.0), np.full(800, 1e-9))
    density, _ = ranks.run(fit_long_shards, tables, weights)
    assert np.abs(density.sample(200, random_state=0)).max() < 500


# Failures


def fit_with_an_event(rank, happens, who, cls=FlowDensity, **params):
    flow = Eventful(happens if rank == who else same, at={20})
    fit_quietly(quick(cls, flow=flow, max_iter=1000, **params), rows())


def same(z):
    return z


def fail(z):
    raise ArithmeticError("the abacus is broken")


@pytest.mark.parametrize("cls", ALL)
def test_a_failure_within_a_step_ends_the_fit_on_all_ranks(ranks, cls):
    other, failed = ranks.run(fit_with_an_event, fail, 1, cls)
    assert isinstance(failed, ArithmeticError)
    with pytest.raises(DistributedFitError, match="rank 1: ArithmeticError: the abacus is broken"):
        raise other


def fit_with_a_parameter(rank, values):
    quick(max_iter=values[rank]).fit(rows())


def test_a_parameter_refused_on_one_rank_is_told_to_all(ranks):
    other, failed = ranks.run(fit_with_a_parameter, [5, -1])
    assert "max_iter" in str(failed) and "rank 1" in str(other) and "max_iter" in str(other)


def fit_followed(rank, happens):
    density = fit_quietly(quick(), rows(seed=1))
    before = state(density)
    plain = base.follow_fit
    base.follow_fit = lambda *args: contextlib.nullcontext(happens if rank else lambda fitted: False)
    try:
        fit_quietly(density, rows())
    except Exception as error:
        return error, state(density) == before
    finally:
        base.follow_fit = plain
    return density.n_iter_, state(density)


def stop(fitted):
    return True


def break_down(fitted):
    raise ArithmeticError("the abacus is broken")


def test_a_callback_that_stops_one_rank_stops_all(ranks):
    first, second = ranks.run(fit_followed, stop)
    assert first[0] == 1 and first == second


def test_a_failed_fit_leaves_the_previous_one_on_all_ranks(ranks):
    (other, kept), (failed, kept_too) = ranks.run(fit_followed, break_down)
    assert isinstance(other, DistributedFitError) and isinstance(failed, ArithmeticError)
    assert kept and kept_too


def interrupt_myself(z):
    os.kill(os.getpid(), signal.SIGINT)
    return z


def test_an_interrupt_on_one_rank_reaches_all(ranks):
    answers = ranks.run(fit_with_an_event, interrupt_myself, 0)
    assert [type(answer) for answer in answers] == [KeyboardInterrupt] * 2


def fit_interrupted(rank):
    plain = run_module.keeps_the_fit
    run_module.keeps_the_fit = lambda: True
    try:
        with pytest.warns(UserWarning, match="interrupted"):
            density = quick(flow=Eventful(interrupt_myself if rank else same, at={20}), max_iter=1000)
            return state(density.fit(rows()))
    finally:
        run_module.keeps_the_fit = plain


def test_an_interrupted_fit_keeps_the_same_flow_on_all_ranks(ranks):
    first, second = ranks.run(fit_interrupted)
    assert isinstance(first, tuple) and first == second


def fit_other_columns(rank):
    quick().fit(pd.DataFrame(rows(seed=rank), columns=["a", "b", "xc"[rank]]))


def test_shards_of_other_columns_are_refused_by_rank(ranks):
    for answer in ranks.run(fit_other_columns):
        assert isinstance(answer, ValueError) and "rank 1" in str(answer) and "'c'" in str(answer)


def vanish(z):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_rank_ends_the_fit_of_the_others(tmp_path):
    ranks = Ranks(2, tmp_path / "rendezvous")
    try:
        other, lost = ranks.run(fit_with_an_event, vanish, 1)
    finally:
        ranks.close()
    assert lost is None
    assert isinstance(other, DistributedFitError) and "Rank 0 of 2 has lost another process" in str(other)


# Checkpoints


class Killed(BaseException):
    """Stands for the end of a process."""


def fit_with_checkpoints(rank, path, n, early):
    """A fit that ends, on the second rank, with the ``n``-th checkpoint of it, written or not yet."""
    write, written = CheckpointFiles.write, []

    def counted(self, checkpoint):
        written.append(checkpoint)
        if early and rank and len(written) == n:
            raise Killed
        write(self, checkpoint)
        if rank and len(written) == n:
            raise Killed

    before = hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE
    CheckpointFiles.write, hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE = counted, 0.0, 1e9
    try:
        return state(fit_quietly(quick(checkpoint=path, batch_size=20), rows())), len(written)
    finally:
        CheckpointFiles.write = write
        hp.CHECKPOINT_SECONDS, hp.CHECKPOINT_SHARE = before


@pytest.mark.parametrize("early", [False, True])
def test_ranks_go_on_together_from_the_latest_checkpoint_that_all_have(ranks, tmp_path, early):
    path = str(tmp_path / "checkpoint")
    (whole, n_steps), _ = ranks.run(fit_with_checkpoints, path, 10**6, early)
    assert not list(tmp_path.iterdir())
    answers = ranks.run(fit_with_checkpoints, path, 10, early)
    assert [type(answer) for answer in answers] == [DistributedFitError, Killed]
    assert {"checkpoint.0", "checkpoint.1"} <= {file.name for file in tmp_path.iterdir()}
    answers = ranks.run(fit_with_checkpoints, path, 10**6, early)
    assert answers == [(whole, n_steps - 10 + early)] * 2


# One process


def test_one_process_sends_nothing(table, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a call of torch.distributed")

    for name in ("all_reduce", "broadcast", "all_gather_object", "broadcast_object_list"):
        monkeypatch.setattr(torch.distributed, name, refuse)
    fit_quietly(quick(), table)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_are_all_rows_once(size):
    rows = list(range(20))
    assert [row for rank in range(size) for row in rows[Part(rank, size).of(20)]] == rows
