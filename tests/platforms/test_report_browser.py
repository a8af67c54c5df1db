"""The report in headless Chromium that reaches nothing but the file: no error, no request, tables that sort and filter,
no text cut off on a desk, a phone or paper. `make browser` installs what this needs."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.jobs.job import Job

WIDTHS = {"desk": 1_280, "phone": 375}
EVIL = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
Browser = webdriver.Chrome
Open = Callable[..., Browser]


@pytest.fixture(scope="module")
def page(orders: pa.Table, orders_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on orders some of which are hostile, long or empty."""
    job = Job(tmp_path_factory.mktemp("report"))
    shops = orders["shop"].to_pylist()
    shops[:4] = [EVIL, None, "a-shop-with-a-name-that-never-ends-" * 5, "Ørestad & Söhne"]
    hostile = orders.set_column(orders.column_names.index("shop"), "shop", pa.array(shops))
    write_deltalake(str(job.source), hostile, partition_by=["day"])
    shutil.copytree(orders_bundle, job.bundle)
    job.settings["score"]["alert_budget"] = 0.05
    job.settings["report"] = {"rows": 600}
    assert job.run("score", "--logical-time", "2024-05-01T00:00:00Z").code == 0
    outcome = job.run("report")
    assert outcome.code == 0, outcome.stderr
    return Path(outcome.last["path"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests, without a network."""
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    assert all(programs), "chromium and chromedriver are missing: run `make browser`"
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, Service(programs[1]))
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", OFFLINE)
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser: Browser, page: Path) -> Open:
    """Open the page in a window of a width, with the system's colours and media."""

    def open_page(width: int = WIDTHS["desk"], scheme: str = "light", media: str = "") -> Browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        for kind in ("performance", "browser"):
            browser.get_log(kind)
        browser.get(page.as_uri())
        browser.execute_script("localStorage.clear()")
        return browser

    return open_page


def read_requests(browser: Browser) -> set[str]:
    """Every address that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}


def head(browser: Browser, table: str, name: str) -> Any:
    return browser.find_element(By.XPATH, f"//table[@id='{table}']//th[button='{name}']")


def column(browser: Browser, table: str, number: int) -> list[str]:
    """What a column shows in the rows that are shown, or the values that it sorts by."""
    script = """return [...document.getElementById(arguments[0]).tBodies[0].rows].filter(row => !row.hidden)
        .map(row => row.cells[arguments[1]].dataset.value ?? row.cells[arguments[1]].textContent.trim())"""
    return list(browser.execute_script(script, table, number))


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_error_no_request_and_nothing_hostile_runs(scheme: str, width: int, visit: Open, page: Path) -> None:
    browser = visit(width, scheme)
    assert browser.get_log("browser") == []
    assert read_requests(browser) == {page.as_uri()}
    assert "owned" not in browser.title and browser.title
    assert EVIL in browser.find_element(By.ID, "table-rows").get_attribute("textContent")


def test_the_policy_stops_requests(visit: Open) -> None:
    browser = visit()
    script = """const done = arguments[arguments.length - 1];
        addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));
        fetch('http://127.0.0.1:9/').catch(() => 0);"""
    assert browser.execute_async_script(script) == "connect-src"
    browser.get_log("browser")


def test_a_table_sorts_by_click_and_by_keyboard(visit: Open) -> None:
    browser = visit()
    scores = [float(value) for value in column(browser, "table-rows", 0)]
    assert scores == sorted(scores, reverse=True) and len(scores) == 600
    title = head(browser, "table-rows", "score")
    title.find_element(By.TAG_NAME, "button").click()
    assert title.get_attribute("aria-sort") == "descending"
    title.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert title.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(browser, "table-rows", 0)] == scores[::-1]
    nights = head(browser, "table-rows", "night")
    nights.find_element(By.TAG_NAME, "button").click()
    assert (title.get_attribute("aria-sort"), nights.get_attribute("aria-sort")) == ("none", "ascending")
    assert column(browser, "table-rows", 2) == sorted(column(browser, "table-rows", 2))


def test_a_table_filters(visit: Open, page: Path) -> None:
    browser = visit()
    box = browser.find_element(By.ID, "table-rows-filter")
    box.send_keys("2024-01-02 currency")
    shown = browser.execute_script(
        "return [...document.querySelectorAll('#table-rows tbody tr')].filter(row => row.offsetParent)"
        ".map(row => row.textContent)"
    )
    assert 0 < len(shown) < 600
    assert all("2024-01-02" in text and "currency" in text for text in shown)
    output = browser.find_element(By.CSS_SELECTOR, "output[for=table-rows-filter]")
    assert output.text == f"{len(shown)} of 600 rows"
    box.clear()
    box.send_keys("zzz")
    assert output.text == "0 of 600 rows"
    table = DeltaTable(page.with_name("scored")).to_pyarrow_table()
    assert pc.sum(table["is_anomaly"]).as_py() > 0


def test_colours_follow_the_system_until_they_are_chosen(visit: Open) -> None:
    def ground(browser: Browser) -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    light = ground(visit(scheme="light"))
    browser = visit(scheme="dark")
    dark = ground(browser)
    assert light != dark
    button = browser.find_element(By.ID, "theme")
    button.click()
    assert (button.text, ground(browser)) == ("Light", light)
    browser.refresh()
    assert ground(browser) == light
    # The plots too: their text is in the page's colours.
    text = "return getComputedStyle(document.querySelector('figure svg text')).fill"
    before = browser.execute_script(text)
    browser.find_element(By.ID, "theme").click()
    assert ground(browser) == dark
    assert browser.execute_script(text) != before


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_cut_off(width: int, visit: Open) -> None:
    browser = visit(width)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        """return [...document.querySelectorAll('main *')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !e.closest('.scroll') && !e.closest('nav');
        }).map(e => e.outerHTML.slice(0, 200))"""
    )
    assert wide == []
    outside = browser.execute_script(
        """return [...document.querySelectorAll('figure svg')].flatMap(svg => {
            const frame = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].filter(text => {
                const box = text.getBoundingClientRect();
                return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1
                    || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
            }).map(text => text.textContent);
        })"""
    )
    assert outside == []
    seen = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].filter(svg => svg.getBoundingClientRect().width).length"
    )
    assert seen == 4


def test_it_prints(visit: Open) -> None:
    browser = visit(scheme="dark")
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert printed.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 80
    browser = visit(width=794, scheme="dark", media="print")
    style = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    assert browser.execute_script(style, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script(style, "nav", "display") == "none"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 794
