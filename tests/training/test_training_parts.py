"""What the training is made of: batches, rows, the base that is trained along, the optimiser."""

import math

import numpy as np
import pytest
import torch

from skflow.engine import Pace
from skflow.flows import Flow, FlowSettings, build_flow
from skflow.training.data import TableSource
from skflow.training.hyperparameters import Plan
from skflow.training.mixtures import MixtureFitting
from skflow.training.table import Table
from skflow.training.trainer import Trainer


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 1.5, 10, dtype=torch.float64)])
def test_a_pass_is_all_rows_with_the_weight_of_each_in_the_mean_of_its_batch(weight):
    x, context = torch.arange(10.0, dtype=torch.float64)[:, None], torch.randn(10, 2, dtype=torch.float64)
    batches = list(TableSource(x, context, weight).batches(4, torch.Generator().manual_seed(0)))
    rows = [batch.x[:, 0].long() for batch in batches]
    assert len(batches) == 2 and sorted(torch.cat(rows).tolist()) == list(range(10))
    for some, batch in zip(rows, batches):
        assert batch.context.equal(context[some])
        expected = torch.ones(5, dtype=torch.float64) if weight is None else weight[some]
        torch.testing.assert_close(batch.share, expected / 5, rtol=1e-15, atol=0)


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 1.5, 10)])
def test_shares_of_a_source_in_order_add_up_to_one(weight):
    batches = list(TableSource(torch.randn(10, 3), None, weight).in_order(4))
    assert [len(batch.x) for batch in batches] == [4, 4, 2]
    assert float(torch.cat([batch.share for batch in batches]).sum()) == pytest.approx(1)


def test_diagonal_mixture_stays_diagonal_in_training():
    rows = torch.randn(320, 5, generator=torch.Generator().manual_seed(0))
    base = MixtureFitting(rows.double()).fit(3, np.random.RandomState(0), diagonal=True)
    flow = Flow(build_flow("nsf", 5, 0, FlowSettings(3, (16, 16), 4)), base).float()
    means = flow.base.means.detach().clone()
    plan = Plan(1, 32, None, 1, 1e-2, 0.0, 10, 0.0)
    trainer = Trainer(flow, TableSource(rows), None, plan, torch.Generator().manual_seed(0))
    trainer.one_pass(math.inf, Pace())
    assert not torch.equal(flow.base.means, means)
    assert bool((flow.base.lower == 0).all())


def test_training_rows_of_a_sorted_table_come_in_random_order():
    table = Table(np.arange(5000.0)[:, None], None, None, None, np.random.RandomState(0))
    (fold,) = table.split(0.1)
    assert sorted([*fold.train, *fold.held_out]) == list(range(5000))
    assert fold.train[:200].mean() == pytest.approx(2500, abs=400)


def test_ties_of_a_sorted_table_are_judged_by_all_of_it():
    x = np.sort(np.r_[np.zeros(60_000), np.random.RandomState(0).randn(440_000)])[::-1].copy()
    table = Table(x[:, None], None, None, None, np.random.RandomState(0))
    assert len(np.unique(table.x.numpy())) > 490_000
