"""Pictures of a fitted estimator, in the idiom of scikit-learn's displays."""

from ._display_density import DensityDisplay
from ._display_latent import LatentDisplay
from ._display_loss import LossCurveDisplay

__all__ = ["DensityDisplay", "LatentDisplay", "LossCurveDisplay"]
