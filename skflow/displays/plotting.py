"""What the displays share: matplotlib where it is used, and one set of colours."""

from __future__ import annotations

# Okabe and Ito's palette, which people with any colour vision tell apart.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
MASS_CMAP, LOG_CMAP = "Blues", "viridis"


def pyplot(what: str):
    """Import ``matplotlib.pyplot`` for the display named ``what``."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{what} draws with matplotlib, which is not installed: install it with `pip install "
            "'skflow-density[plot]'` or `pip install matplotlib`."
        ) from error
    return plt


def axes_for(plt, ax, size: tuple[float, float]):
    """The given axes, or those of a new figure."""
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def grid_axes(plt, ax, n: int, what: str, n_columns: int, size: float = 2.6) -> list:
    """``n`` axes in rows: a new figure's, or those that the user gave."""
    import numpy as np

    if ax is not None:
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) != n:
            raise ValueError(f"{what} draws {n} panels, got {len(given)} axes: pass {n}, or leave ax=None.")
        return given
    n_columns = min(n_columns, n)
    n_rows = -(-n // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(size * n_columns, size * n_rows), layout="constrained", squeeze=False
    )
    for spare in axes.ravel()[n:]:
        spare.set_axis_off()
    return list(axes.ravel()[:n])
