"""The page of a study in Chromium: opened from the file system, it sorts, filters, folds and prints, at any width, in light and dark."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from html_elements import Elements
from study_folder import record, written

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=2000",
)  # fmt: skip
SECONDS = 120


def browse(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page of the file system; return what Chromium prints."""
    profile = page.parent / "profile"
    environment = {
        **os.environ,
        "HOME": str(page.parent),
        "XDG_CONFIG_HOME": str(profile),
        "XDG_CACHE_HOME": str(profile),
    }
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", *options, page.resolve().as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS)
    assert result.returncode == 0, result.stderr
    return result


def console(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the messages of the page's console, which holds refused scripts and addresses too."""
    return re.findall(r"CONSOLE[^\]]*\] (.*)", result.stderr)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    written(folder, record(question="Does it pay?"))
    return folder / "studies" / "tiny" / "index.html"


def after(page: Path, script: str, *options: str) -> str:
    """Run a script at the end of a copy of the page, whose policy allows it, and return the text that it leaves in `#result`."""
    text = page.read_text()
    text, count = re.subn(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", text)
    assert count == 1
    wrapped = f"""
<script>
addEventListener("load", () => {{
  const result = document.createElement("pre");
  result.id = "result";
  document.body.append(result);
  const say = (value) => result.textContent += `${{value}}\\n`;
  const table = (name) => document.querySelector(`#table-${{name}} .sortable`);
  const column = (box, name) => [...box.querySelectorAll("th")].find((header) => header.textContent === name);
  const cells = (box, name) => [...box.querySelectorAll("tbody tr")].filter((row) => !row.hidden)
    .map((row) => row.cells[column(box, name).cellIndex].textContent).join(" | ");
{script}
}});
</script>
</body>"""
    copy = page.with_name("copy.html")
    copy.write_text(text.replace("</body>", wrapped))
    result = browse(copy, "--dump-dom", *options)
    assert not console(result)
    return re.search(r'<pre id="result">(.*?)</pre>', result.stdout, re.DOTALL).group(1).strip()


def test_it_opens_from_the_file_system_without_a_message_on_the_console(page):
    result = browse(page, "--dump-dom")
    assert not console(result)
    assert "Ship ste as onnx_int8." in Elements(result.stdout).words()


def test_the_policy_refuses_scripts_and_addresses_that_a_name_could_bring(page):
    """So that a message on the console would be seen, and the policy is in force."""
    copy = page.with_name("attacked.html")
    attack = '<script>document.title = "attacked"</script><img src="https://example.org/x.png">'
    copy.write_text(page.read_text().replace("</main>", f"{attack}</main>"))
    result = browse(copy, "--dump-dom")
    assert len(console(result)) >= 2
    assert "<title>A tiny study</title>" in result.stdout


def test_a_click_sorts_by_a_column_as_numbers_and_again_downwards(page):
    lines = after(
        page,
        """
const box = table("against_baseline");
for (const name of ["difference", "difference", "verdict"]) {
  column(box, name).querySelector("button").click();
  say(`${cells(box, name)} ${column(box, name).getAttribute("aria-sort")}`);
}
say(box.querySelectorAll("th[aria-sort]").length);
column(box, "to tell them apart").querySelector("button").click();
say(`${cells(box, "to tell them apart")}.`);
column(box, "to tell them apart").querySelector("button").click();
say(`${cells(box, "to tell them apart")}.`);
""",
    ).splitlines()
    assert lines == [
        "-0.0200 | +0.0010 | +0.0100 ascending",
        "+0.0100 | +0.0010 | -0.0200 descending",
        "better | not separable | worse ascending",
        "1",
        "1,200 queries |  | .",
        "1,200 queries |  | .",  # empty cells are last in both directions
    ]


def test_the_filter_keeps_rows_that_contain_all_words_and_counts_them(page):
    lines = after(
        page,
        """
const box = table("against_baseline"), input = box.querySelector("input");
for (const words of ["", "worse", "STE float32", "ste nothing"]) {
  input.value = words;
  input.dispatchEvent(new Event("input"));
  say(`${cells(box, "verdict")}; ${box.querySelector("output").textContent}`);
}
""",
    ).splitlines()
    assert lines == [
        "better | worse | not separable; 3 rows",
        "worse; 1 of 3 rows",
        "better; 1 of 3 rows",
        "; 0 of 3 rows",
    ]


def test_a_link_to_a_folded_table_unfolds_it_and_printing_unfolds_all(page):
    script = """
const open = () => document.querySelectorAll("details[open]").length, all = document.querySelectorAll("details").length;
const target = document.querySelector("#table-pareto");
say(target.open);
location.hash = "#table-pareto";
dispatchEvent(new HashChangeEvent("hashchange"));
say(target.open);
const before = open();
dispatchEvent(new Event("beforeprint"));
say(open() === all && before < all);
dispatchEvent(new Event("afterprint"));
say(open() === before);
"""
    assert after(page, script).splitlines() == ["false", "true", "true", "true"]


def test_it_prints(page):
    browse(page, f"--print-to-pdf={page.with_name('page.pdf')}")
    printed = page.with_name("page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type/Page") + printed.count(b"/Type /Page ") > 1


@pytest.mark.parametrize("width", [380, 1400])
def test_only_boxes_scroll_sideways_and_text_is_large_enough(page, width):
    """In a frame, because a window of Chromium is at least 500 pixels wide."""
    frame = page.with_name("frame.html")
    frame.write_text(f'<iframe src="copy.html" width="{width}" height="3000"></iframe>')
    script = """
document.querySelectorAll("details").forEach((part) => part.open = true);
say(innerWidth);
say(document.documentElement.scrollWidth <= innerWidth);
say([...document.querySelectorAll(".plot svg")].every((plot) => plot.closest(".plot").clientWidth <= innerWidth));
const scales = [...document.querySelectorAll(".plot svg")]
  .map((plot) => plot.getBoundingClientRect().width / parseFloat(plot.style.maxWidth));
say(Math.min(...scales) >= 0.79);
say([...document.querySelectorAll("main p, main td, main dd, main li")].every((part) => parseFloat(getComputedStyle(part).fontSize) >= 12));
parent.postMessage(document.querySelector("#result").textContent, "*");
"""
    listener = '<pre id="answer"></pre><script>onmessage = (event) => answer.textContent = event.data;</script>'
    frame.write_text(listener + frame.read_text())
    after(page, script)  # writes copy.html
    result = browse(frame, "--dump-dom", f"--window-size={max(width + 40, 500)},3000")
    answer = re.search(r'<pre id="answer">(.*?)</pre>', result.stdout, re.DOTALL).group(1).split()
    assert answer == [str(width), "true", "true", "true", "true"]


CONTRAST = """
const channel = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => channel(part / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const back = (part) => {
  for (let at = part; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!colour.endsWith(", 0)")) return colour;
  }
};
const contrasts = [...document.querySelectorAll("h1, h2, p, td, th, dt, dd, li, a, summary, code, pre, figcaption, .more")].map((part) => {
  const [a, b] = [luminance(getComputedStyle(part).color), luminance(back(part))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
});
say(getComputedStyle(document.body).backgroundColor);
say(Math.min(...contrasts) >= 4.5);
say(getComputedStyle(document.querySelector(".plot")).backgroundColor);
"""


@pytest.mark.parametrize(
    ("mode", "background"), [(1, "rgb(255, 255, 255)"), (0, "rgb(22, 24, 28)")], ids=["light", "dark"]
)
def test_text_has_enough_contrast_and_plots_a_light_background(page, mode, background):
    """The contrast ratio 4.5 is level AA of WCAG 2.2, https://www.w3.org/TR/WCAG22/#contrast-minimum."""
    lines = after(page, CONTRAST, f"--blink-settings=preferredColorScheme={mode}").splitlines()
    assert lines == [background, "true", "rgb(255, 255, 255)"]
