"""Chunks of files, datasets and iterables: all rows, where each is from, and what is said of those that do not fit."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skflow.utils import chunks
from skflow.utils.chunks import RowsInChunks, as_chunks, check_same_columns

pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")
X = np.arange(60.0).reshape(30, 2)


class Anew:
    """What can be iterated again and again, and has no length."""

    def __iter__(self):
        return iter(np.split(X, 5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of ten rows, in row groups of four."""
    folder = tmp_path_factory.mktemp("files")
    for k, part in enumerate(np.split(X, 3)):
        pq.write_table(arrow(part), folder / f"part{k}.parquet", row_group_size=4)
    return folder


def arrow(rows, names=("a", "b")):
    return pa.table(dict(zip(names, rows.T)))


SOURCES = {
    "folder": lambda folder: folder,
    "pattern": lambda folder: str(folder / "*.parquet"),
    "dataset": ds.dataset,
    "dataset in memory": lambda folder: ds.dataset(arrow(X)),
    "arrays": lambda folder: np.split(X, 5),
    "pandas": lambda folder: [pd.DataFrame(part, columns=["a", "b"]) for part in np.split(X, 3)],
    "polars": lambda folder: tuple(pl.DataFrame(part, schema=["a", "b"]) for part in np.split(X, 3)),
    "iterable": lambda folder: Anew(),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_row_comes_in_order(kind, folder):
    parts = [np.asarray(part) for _, _, part in as_chunks(SOURCES[kind](folder)).read()]
    np.testing.assert_array_equal(np.concatenate(parts), X)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_chunk_says_which_rows_it_has(kind, folder):
    source = as_chunks(SOURCES[kind](folder))
    list(source.read())
    for first, _, part in source.read(np.random.RandomState(0)):
        np.testing.assert_array_equal(np.asarray(part), X[first : first + len(part)])


@pytest.mark.parametrize("kind", ["folder", "dataset", "arrays", "pandas", "polars"])
def test_what_can_be_had_by_number_comes_in_random_order(kind, folder):
    source = as_chunks(SOURCES[kind](folder))
    in_order = [first for first, *_ in source.read()]
    shuffled = [first for first, *_ in source.read(np.random.RandomState(0))]
    assert shuffled != in_order and sorted(shuffled) == in_order


@pytest.mark.parametrize("table", [X, pd.DataFrame(X), pl.DataFrame(X), arrow(X)], ids=lambda t: type(t).__module__)
def test_a_table_comes_a_few_rows_at_a_time(table, monkeypatch):
    monkeypatch.setattr(chunks, "ROWS_AT_A_TIME", 7)
    parts = [part for _, _, part in RowsInChunks(table).read()]
    assert [len(part) for part in parts] == [7, 7, 7, 7, 2] and type(parts[0]) is type(table)
    np.testing.assert_array_equal(np.concatenate([np.asarray(part) for part in parts]), X)


@pytest.mark.parametrize("table", [X, X.tolist(), [X[0], X[1]], pd.DataFrame(X), arrow(X), iter([X]), {"a": X}, None])
def test_a_table_is_no_stream(table):
    assert as_chunks(table) is None


def test_a_path_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no.parquet.*no Parquet file matches it: pass"):
        as_chunks(tmp_path / "no.parquet")


@pytest.mark.parametrize(("names", "what"), [(("a",), "no column 'b'"), (("a", "b", "c"), "a column 'c'")])
def test_files_of_other_columns_are_named(names, what, tmp_path):
    pq.write_table(arrow(X), tmp_path / "a.parquet")
    pq.write_table(arrow(np.ones((5, 3)), names), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=f"b.parquet has {what}"):
        as_chunks(tmp_path)


def test_a_file_without_rows_is_named(tmp_path):
    pq.write_table(arrow(X), tmp_path / "a.parquet")
    pq.write_table(arrow(X[:0]), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="b.parquet has no rows: remove it"):
        as_chunks(tmp_path)


def test_columns_in_the_names_of_folders_are_read(tmp_path):
    for year in (1, 2):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(arrow(X), tmp_path / f"year={year}" / "a.parquet")
    (_, _, first), (_, _, second) = as_chunks(ds.dataset(tmp_path, partitioning="hive")).read()
    assert first.column_names == ["a", "b", "year"] and second["year"].to_pylist() == [2] * 30


def test_a_schema_leaves_columns_out(folder):
    source = as_chunks(ds.dataset(folder, schema=pa.schema([("b", pa.float64())])))
    assert {tuple(part.column_names) for *_, part in source.read()} == {("b",)}


def test_a_url_is_a_path(folder):
    assert sum(len(part) for *_, part in as_chunks(folder.as_uri()).read()) == len(X)


def test_a_filtered_dataset_says_what_to_do(folder):
    with pytest.raises(ValueError, match="filtered.*write it to Parquet"):
        as_chunks(ds.dataset(folder).filter(ds.field("a") > 3))


@pytest.mark.parametrize(
    ("names", "what"),
    [(["a"], "no column 'b'"), (["a", "b", "c"], "a column 'c'"), (["b", "a"], "another order"), (None, "no names")],
)
def test_chunks_of_other_columns_are_named(names, what):
    with pytest.raises(ValueError, match=f"chunk 3 has .*{what}"):
        check_same_columns(names, ["a", "b"], "chunk 3")
