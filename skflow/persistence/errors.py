"""What is raised for a file that can't be read."""

from __future__ import annotations


class FileFormatError(ValueError):
    """A file is no model that skflow can load: damaged, edited, of another format, or of classes that it doesn't know.

    The message says what is wrong. Nothing of the file has been run, and no estimator has been changed.
    """
