"""Whatever a file holds: it is refused by the one documented class, or loads; 2,000 files by `make fuzz`."""

import os
import pickle
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import skflow
from skflow.persistence import FileFormatError
from skflow.persistence.files import from_bytes, to_bytes

from ..helpers import SAVABLE, fit_quietly, quick, scores
from .mutations import BY_BYTES, MUTATIONS, document, sealed, split

N_FILES = int(os.environ.get("SKFLOW_FUZZ_FILES", 150))
FORBIDDEN = {"exec", "compile", "pickle.find_class", "os.system", "subprocess.Popen", "marshal.loads", "open"}
watching, seen = False, []


def _hook(event, args):
    if watching and event in FORBIDDEN:
        seen.append((event, args))


sys.addaudithook(_hook)  # there is no way to take it off


@pytest.fixture(scope="module")
def contents(table):
    """Files of several kinds of estimators, and what they score."""
    flows = (
        {"bounds": [(-1, None), None, None, None], "flow": "nsf"},
        {"flow": "gaussianization"},
        {"flow": "sylvester"},
    )
    some = [fit_quietly(quick(**params), table) for params in flows]
    some.append(quick().partial_fit(table[:50]))
    some.append(fit_quietly(quick(ordering="agnostic", base="student-t"), table))
    some.append(fit_quietly(quick(skflow.FlowOutlierDetector, n_estimators=2), table))
    some += [fit_quietly(quick(cls), table) for cls in (skflow.FlowClassifier, skflow.FlowRegressor)]
    some.append(fit_quietly(quick(skflow.FlowPosterior), table))
    assert {type(estimator) for estimator in some} == set(SAVABLE)
    return [(to_bytes(estimator), scores(estimator, table[:20])) for estimator in some]


def outcome(content):
    """The estimator, or the message; nothing else may be raised, and no code run."""
    global watching
    seen.clear()
    watching = True
    try:
        return from_bytes(content)
    except FileFormatError as error:
        return str(error)
    finally:
        watching = False
        assert not seen


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutated_file_is_refused_or_loads(mutation, contents, table):
    rng = np.random.RandomState(N_FILES)
    for i in range(-(-N_FILES // len(MUTATIONS))):
        content, expected = contents[i % len(contents)]
        start = time.perf_counter()
        from_bytes(content)
        usual = time.perf_counter() - start
        mutated = mutation(rng, content)
        start = time.perf_counter()
        found = outcome(mutated)
        assert time.perf_counter() - start < usual + 1.0
        if isinstance(found, str):
            assert 10 < len(found) < 1000
            continue
        if mutation in BY_BYTES:
            assert np.array_equal(scores(found, table[:20]), expected)
        elif hasattr(found, "flow_"):
            found.device = "cpu"  # a device that is none is said when it is asked for
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert scores(found, table[:20].astype(float)).shape == (20,)


@settings(max_examples=N_FILES, deadline=None)
@given(data=st.data())
def test_any_bytes_are_refused(data, contents):
    content, _ = contents[0]
    start = data.draw(st.integers(0, len(content)))
    part = data.draw(st.binary(max_size=60))
    mutated = content[:start] + part + content[start + data.draw(st.integers(0, 60)) :]
    assert mutated == content or isinstance(outcome(mutated), str)


def peak_of(function):
    """In bytes, of Python's and numpy's memory."""
    tracemalloc.start()
    try:
        kept = function()  # noqa: F841 - part of the peak
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def slack(contents):
    """For every content a megabyte, and what as many empty modules of torch take as its model has."""
    return [1_000_000 + peak_of(lambda n=n: [nn.Module() for _ in range(n)]) for n in map(n_modules, contents)]


def n_modules(content_and_scores):
    parts = vars(from_bytes(content_and_scores[0])).values()
    return sum(1 for part in parts if isinstance(part, nn.Module) for _ in part.modules())


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_memory_stays_within_twice_the_file(mutation, contents, slack):
    rng = np.random.RandomState(0)
    for i in (0, 1, 2, -2, -1):
        mutated = mutation(rng, contents[i][0])
        assert peak_of(lambda content=mutated: outcome(content)) < 2 * len(mutated) + slack[i]


def test_a_header_of_millions_of_values_is_refused(contents):
    header, data = split(contents[0][0])
    assert "values" in outcome(sealed(header, data, "[" + "[]," * 1_000_000 + "[]]"))


def test_a_claim_of_petabytes_allocates_nothing(contents):
    header, data = split(contents[0][0])
    name = next(name for name in header if name != "__metadata__")
    header[name] = {"dtype": "F64", "shape": [10**15], "data_offsets": [0, 8 * 10**15]}
    assert "end behind the file" in outcome(sealed(header, data)) or "fill" in outcome(sealed(header, data))


def flow_of(tree):
    return tree["attributes"]["flow_"]["of"]


EDITS = {
    "class": (lambda tree: tree.update({"class": "os.system"}), "skflow loads"),
    "module": (lambda tree: flow_of(tree).update({"class": "Linear"}), "no class that skflow builds"),
    "attribute": (lambda tree: tree["attributes"].update(score_samples=1), "no attribute 'score_samples'"),
    "kind of attribute": (lambda tree: tree["attributes"].update(n_iter_="many"), "'n_iter_'.*can't be"),
    "missing attribute": (lambda tree: tree["attributes"].pop("_kernels"), "lacks the attribute '_kernels'"),
    "parameter": (lambda tree: tree["parameters"].update(loss="x"), "no parameter 'loss'"),
    "value of a parameter": (lambda tree: tree["parameters"].update(flow="nsff"), "not valid.*nsff"),
    "features": (lambda tree: tree["attributes"].update(n_features_in_=7), "7 features"),
    "nan": (lambda tree: tree["attributes"].update(best_validation_score_=float("nan")), "NaN"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_message_says_what_is_wrong(edit, contents):
    header, data = split(contents[0][0])
    tree = document(header)
    change, message = EDITS[edit]
    change(tree)
    with pytest.raises(FileFormatError, match=message):
        from_bytes(sealed(header, data, tree))


@pytest.mark.parametrize(
    "metadata, message",
    [
        ({"format": "pt"}, "not of an estimator of skflow"),
        ({"format_version": "2"}, "Upgrade skflow"),
        ({"format_version": "first"}, "version"),
    ],
)
def test_other_formats_are_named(metadata, message, contents):
    header, data = split(contents[0][0])
    header["__metadata__"].update(metadata)
    with pytest.raises(FileFormatError, match=message):
        from_bytes(sealed(header, data))


def test_a_pickle_is_not_opened(density, tmp_path):
    (tmp_path / "density.pkl").write_bytes(pickle.dumps(density))
    with pytest.raises(FileFormatError):
        skflow.load(tmp_path / "density.pkl")
