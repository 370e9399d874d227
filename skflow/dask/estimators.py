"""The density and the outlier detector for collections that lie on the workers of a cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from ..estimators.base import BaseFlow
from ..estimators.density import FlowDensity
from ..estimators.outlier import FlowOutlierDetector
from ..estimators.parameters import adds_to
from ..utils.dask_collections import is_dask
from .workers import fit_on_workers

if TYPE_CHECKING:
    from distributed import Client
    from typing_extensions import Self


class DaskFlow:
    """What is different for an estimator whose rows lie on a cluster; not to be used by itself."""

    _local: type[BaseFlow]  # what is fitted on every worker
    client: Client | None

    def _fit_on_workers(self, X, sample_weight) -> Self:
        for name, value in (("X", X), ("sample_weight", sample_weight)):
            if not is_dask(value) and (name == "X" or value is not None):
                raise TypeError(
                    f"{name} is a {type(value).__name__}, but {type(self).__name__} takes a Dask array or DataFrame: "
                    f"to a table in memory or to files, fit a {self._local.__name__}."
                )
        if self.client is None:
            from distributed import default_client

            client = default_client()
        else:
            client = self.client
        with self._keep_previous_fit():
            fitted = fit_on_workers(client, clone(self.to_local()), X, sample_weight)
            self._take_over(fitted)
        return self

    def _take_over(self, fitted):
        """The fitted attributes of another estimator of the same parameters."""
        parameters = set(self.get_params(deep=False))
        for name in set(vars(self)) - parameters:
            delattr(self, name)
        vars(self).update({name: value for name, value in vars(fitted).items() if name not in parameters})

    def to_local(self) -> Any:
        """The plain estimator, with what has been fitted: it needs neither Dask nor a cluster.

        Returns
        -------
        estimator : FlowDensity or FlowOutlierDetector
        """
        params = {name: value for name, value in self.get_params(deep=False).items() if name != "client"}
        local = self._local(**params)
        vars(local).update({name: value for name, value in vars(self).items() if name not in {*params, "client"}})
        return local

    def save(self, path: str | os.PathLike) -> None:
        """Write `to_local` to a file, which `skflow.load` reads."""
        self.to_local().save(path)

    def __sklearn_clone__(self):
        return type(self)(client=self.client, **clone(self.to_local()).get_params(deep=False))

    def __reduce_ex__(self, protocol):
        """Without the client: a connection stays where it is."""
        return _restored, (type(self), self.to_local())


def _restored(cls, local):
    restored = cls(**local.get_params(deep=False))
    restored._take_over(local)
    return restored


class DaskFlowDensity(DaskFlow, FlowDensity):
    """`FlowDensity` that is fitted to a Dask array or DataFrame, where its partitions lie.

    The workers that hold partitions form a group of torch.distributed (gloo) and train one flow together: each step is
    made with rows of all of them, the gradient is averaged, and a sample of at most 200,000 rows decides about
    preprocessing, starts and validation. A table of fewer rows, or one with categories or missing values, is gathered
    on every worker. Which rows a worker has is the scheduler's choice: keep the collection in memory
    (``X = X.persist()``) for fits that are the same again.

    `score_samples` and `transform` give lazy collections of Dask collections, as those of `FlowDensity` do.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the one that was made last. It is no part of a copy in another process.
    flow, depth, hidden_layer_sizes, n_bins, base, ordering, bounds, max_iter, batch_size : see below
    learning_rate_init, alpha, early_stopping, validation_fraction, n_iter_no_change, tol : see below
    warm_start, categorical_features, handle_unknown, random_state, device, checkpoint, verbose : see below
        As in `FlowDensity`, but for ``warm_start``, which has no effect. Every worker keeps a ``checkpoint`` of its
        own, under this path and its rank.

    Attributes
    ----------
    flow_ : skflow.flows.Flow
        And the other attributes of a fitted `FlowDensity`.

    See Also
    --------
    FlowDensity : Fitted to a table in memory, to files, or to a stream; scores Dask collections too.

    Examples
    --------
    >>> from distributed import Client
    >>> import dask.array as da
    >>> from skflow.dask import DaskFlowDensity
    >>> with Client(n_workers=2, threads_per_worker=1) as client:  # doctest: +SKIP
    ...     X = da.random.normal(size=(1_000_000, 5), chunks=(100_000, 5))
    ...     density = DaskFlowDensity(client, random_state=0).fit(X)
    ...     scores = density.score_samples(X).mean().compute()
    """

    _local = FlowDensity

    @adds_to(FlowDensity)
    def __init__(self, *, client: Client | None = None):
        self.client = client

    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> Self:
        """Fit the flow by maximum likelihood, on the workers.

        Parameters
        ----------
        X : Dask array or DataFrame of shape (n_samples, n_features)
            As `FlowDensity.fit` takes it, every partition with at least one row.
        y : ignored
        sample_weight : Dask array or Series of shape (n_samples,), optional
            Of the same partitions.

        Returns
        -------
        self : DaskFlowDensity

        Raises
        ------
        TypeError
            For what is no Dask collection.
        ValueError
            For a partition without rows, and for what `FlowDensity.fit` refuses, with the worker that has it.
        skflow.dask.WorkerLostError
            Where a worker is lost; the fit ends on all of them. The previous fit stays usable, as after every error.
        """
        return self._fit_on_workers(X, sample_weight)


class DaskFlowOutlierDetector(DaskFlow, FlowOutlierDetector):
    """`FlowOutlierDetector` that is fitted to a Dask array or DataFrame, on the workers that hold its partitions.

    Every worker gathers all rows, and they share the steps of the training. `score_samples`, `decision_function`,
    `predict` and `p_values` give lazy collections of Dask collections, as those of `FlowOutlierDetector` do.

    Parameters
    ----------
    client : distributed.Client, optional
        As in `DaskFlowDensity`.
    flow, contamination, criterion, n_estimators, smoothing, trimmed, depth, hidden_layer_sizes, n_bins : see below
    base, ordering, bounds, max_iter, batch_size, learning_rate_init, alpha, early_stopping : see below
    validation_fraction, n_iter_no_change, tol, warm_start, random_state, device, checkpoint, verbose : see below
        As in `FlowOutlierDetector`.

    Attributes
    ----------
    flow_ : skflow.flows.Flow
        And the other attributes of a fitted `FlowOutlierDetector`; those of every row are in the order of the workers.

    See Also
    --------
    FlowOutlierDetector : Fitted to a table in memory, or to a sample of a stream.
    """

    _local = FlowOutlierDetector

    @adds_to(FlowOutlierDetector)
    def __init__(self, *, client: Client | None = None):
        self.client = client

    def fit(self, X: Any, y: object = None, sample_weight: Any = None) -> Self:
        """Fit the members, the threshold and the calibration, on the workers.

        Parameters
        ----------
        X : Dask array or DataFrame of shape (n_samples, n_features)
        y : ignored
        sample_weight : Dask array or Series of shape (n_samples,), optional

        Returns
        -------
        self : DaskFlowOutlierDetector

        Raises
        ------
        TypeError, ValueError, skflow.dask.WorkerLostError
            As `DaskFlowDensity.fit`.
        """
        return self._fit_on_workers(X, sample_weight)
