"""What a notebook shows of an estimator: scikit-learn's diagram, with the flow and its score under the name."""

from __future__ import annotations

from .sklearn_compat import visual_block


class ReprSupport:
    """Puts a line such as "nsf, depth 3: -0.67 nats per held-out row" under the name in the HTML diagram."""

    def _caption(self) -> str:
        flow = self.flow if isinstance(self.flow, str) else getattr(self.flow, "__name__", type(self.flow).__name__)
        if not hasattr(self, "flow_"):
            return f"{flow}, depth {self.depth}, not fitted"
        caption = f"{flow}, depth {self.depth_}"
        if self.best_validation_score_ is not None:
            return f"{caption}: {self.best_validation_score_:.4g} nats per held-out row"
        if self.loss_curve_:
            return f"{caption}: {-self.loss_curve_[-1]:.4g} nats per training row"
        return caption

    def _sk_visual_block_(self):
        """scikit-learn's hook for the diagram; it draws a plain block where this raises."""
        return visual_block(self, self._caption())
