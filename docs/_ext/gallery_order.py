"""The order of the gallery: what a newcomer wants to see first."""

from __future__ import annotations

ORDER = [
    "plot_compare_density_estimators.py",
    "plot_latent_space.py",
    "plot_grid_search.py",
    "plot_pipeline_outliers.py",
    "plot_outliers_explained.py",
    "plot_outliers_compare.py",
    "plot_synthetic_rows.py",
    "plot_gaussianizing_pipeline.py",
    "plot_bounded_columns.py",
    "plot_weights.py",
    "plot_all_flows.py",
    "plot_save_and_load.py",
]


class GalleryOrder:
    """Sort key of sphinx-gallery: listed examples in their order, then the others by name."""

    def __init__(self, folder: str):
        self.folder = folder

    def __call__(self, name: str) -> tuple[int, str]:
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)
