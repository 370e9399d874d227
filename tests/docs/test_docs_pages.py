"""Every code block of the pages and of the README runs."""

import doctest
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from sklearn.exceptions import ConvergenceWarning

pytest.importorskip("matplotlib", reason="the pages draw")
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN_BY_THE_BUILD = {"api", "auto_examples", "_build", "_templates"}
PAGES = [
    path
    for path in sorted(DOCS.rglob("*.rst"))
    if not WRITTEN_BY_THE_BUILD & set(path.relative_to(DOCS).parts)
    and path.name not in ("changelog.rst", "sg_execution_times.rst")
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def page_id(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_page(path, monkeypatch):
    module = ModuleType("page")  # what a page defines can then be pickled, as in a notebook
    monkeypatch.setitem(sys.modules, "page", module)
    test = doctest.DocTestParser().get_doctest(path.read_text(), {}, page_id(path), str(path), 0)
    test.globs = vars(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the fits of a page are short
        result = doctest.DocTestRunner(optionflags=FLAGS).run(test, clear_globs=False)
    assert result.failed == 0


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_python_blocks_run_too(path):
    """Blocks without prompts are run one after another; those with "..." for a body only have to compile."""
    blocks = re.findall(r"\.\. code-block:: python\n((?:\n|   .*\n)+)", path.read_text())
    namespace: dict = {}
    for block in blocks:
        code = re.sub(r"^   ", "", block, flags=re.MULTILINE)
        if ">>>" in code:
            continue
        compiled = compile(code, page_id(path), "exec")
        if not re.search(r": \.\.\.", code):
            exec(compiled, namespace)


def test_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_the_name_of_the_distribution_is_right():
    """Another package has the name skflow in the registries."""
    for path in [*PAGES, ROOT / "README.md", *(ROOT / "skflow").rglob("*.py")]:
        assert not re.search(r"pip install [\"']?skflow(?!-density)", path.read_text()), path
