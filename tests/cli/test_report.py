"""The report, in a real browser: no console errors, charts with their points, a slider that moves."""

import shutil
from importlib.util import find_spec

import pytest
from PIL import Image

from codec.evaluation.evaluate import evaluate
from codec.evaluation.report import compare, report
from conftest import made_picture

HAS_BROWSER = bool(shutil.which("chromium") and shutil.which("chromedriver") and find_spec("selenium"))
needs_browser = pytest.mark.skipif(not HAS_BROWSER, reason="needs Chromium, its driver and selenium")


@pytest.fixture(scope="module")
def page(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    path = folder / "a <b> &.png"
    Image.fromarray(made_picture(200, 184)).save(path)
    references = {"</script><!-- x": [{"bpp": 0.2, "psnr": 22.0}, {"bpp": 3.0, "psnr": 35.0}]}
    result = evaluate(folder, tiny, [0, 50, 100], ["jpeg", "webp"], references=references)
    file = folder / "report.html"
    file.write_text(report(result, "jpeg", [compare(path, tiny, "jpeg")]), encoding="utf-8")
    return file


def test_the_page_needs_nothing_from_a_network(page):
    text = page.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text and "https:" not in text and text.count("</script>") == 2


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{switch}")
    options.add_argument("--disable-component-update")
    options.add_argument("--no-first-run")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_works(page, browser, theme, width):
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    find = browser.find_elements
    assert len(find("css selector", "#distortion circle")) == 3 + 8 + 7 + 2
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (theme == "light")

    browser.execute_script("document.querySelector('#distortion circle').focus()")
    assert "bpp" in find("css selector", "#distortion .shown")[0].text
    browser.execute_script("document.getElementById('ms_ssim').click()")
    assert find("id", "ms_ssim")[0].get_attribute("aria-pressed") == "true"

    slider = find("id", "slider")[0]
    before = browser.execute_script("return document.getElementById('after').style.clipPath")
    slider.send_keys("\ue014" * 5)  # the right arrow key
    after = browser.execute_script("return document.getElementById('after').style.clipPath")
    assert before != after and "55%" in after
    assert browser.execute_script("return document.getElementById('before').naturalWidth") == 200
    browser.save_screenshot(str(page.with_name(f"{width}-{theme}.png")))
    assert "jpeg" in find("id", "left")[0].text and "nic" in find("id", "right")[0].text
