"""The built site in a real browser: pages load, the search finds things, pictures are there, the console is silent."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built: make docs"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium, chromedriver: make docs says how"),
]
PAGES = [
    "index.html",
    "start.html",
    "user_guide/index.html",
    "user_guide/flows.html",
    "user_guide/choosing.html",
    "user_guide/columns.html",
    "user_guide/reading.html",
    "user_guide/displays.html",
    "user_guide/tuning.html",
    "development/architecture.html",
    "benchmarks/index.html",
    "benchmarks/performance.html",
    "changelog.html",
    "auto_examples/index.html",
    "auto_examples/plot_latent_space.html",
    "api/index.html",
    "api/generated/skflow.FlowDensity.html",
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def outside(browser, address):
    """Requests to anywhere but the site itself."""
    import json

    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if url.startswith("http") and not url.startswith(address)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", PAGES)
def test_page(browser, address, page, size):
    browser.set_window_size(*SIZES[size])
    browser.get(f"{address}/{page}")
    assert browser.find_elements("css selector", "h1"), "no heading"
    broken = browser.execute_script(
        "return [...document.images].filter(i => { i.loading = 'eager'; return i.complete && !i.naturalWidth })"
        ".map(i => i.src)"
    )
    assert not broken, f"pictures missing: {broken}"
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not errors, errors
    assert not outside(browser, address)
    too_wide = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert too_wide <= 1, f"the page is {too_wide} pixels wider than the screen"


def test_formulas_are_drawn(browser, address):
    browser.get(f"{address}/user_guide/flows.html")
    heights = browser.execute_script("return [...document.querySelectorAll('math')].map(m => m.clientHeight)")
    assert len(heights) > 5


def test_gallery_has_pictures(browser, address):
    browser.get(f"{address}/auto_examples/index.html")
    cards = browser.find_elements("css selector", ".sphx-glr-thumbcontainer img")
    assert len(cards) >= 9


def test_code_of_the_gallery_does_not_scroll(browser, address):
    browser.set_window_size(*SIZES["desktop"])
    wide = {}
    for page in sorted((SITE / "auto_examples").glob("plot_*.html")):
        browser.get(f"{address}/auto_examples/{page.name}")
        wide[page.name] = browser.execute_script(
            "return [...document.querySelectorAll('.highlight-Python pre')]"
            ".filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.innerText)"
        )
    assert wide and not any(wide.values()), wide


@pytest.mark.parametrize("word", ["GridSearchCV", "FlowDensity", "nats"])
def test_search_finds(browser, address, word):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.set_window_size(*SIZES["desktop"])
    browser.get(f"{address}/search.html?q={word}")
    found = WebDriverWait(browser, 20).until(
        lambda b: b.find_elements("css selector", "ul.search li a"), f"nothing found for {word}"
    )
    assert found


def test_links_within_the_site_lead_somewhere():
    import re

    missing = set()
    for path in SITE.rglob("*.html"):
        for link in re.findall(r'href="([^"#?:]+\.html)', path.read_text(errors="ignore")):
            if not (path.parent / link).exists():
                missing.add((str(path.relative_to(SITE)), link))
    assert not missing
