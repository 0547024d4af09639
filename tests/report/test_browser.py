"""The page in Chromium: it draws every chart, filters, complains of nothing, loads nothing."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import judged
import pytest

from foldtune.report.page import write_report

_HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">&'{{7*7}}\u2028"
# Chromium's clock leaps to the next timer, or to the end where there is none, though charts are
# being drawn: a timer that is always there keeps it from that.
_PATIENT = "<script>setInterval(() => {}, 20);</script></body>"
# What a reader would do, written where --dump-dom shows it.
_READER = """<script>
const until = (ready) => new Promise((done) => {
  const look = setInterval(() => { if (ready()) { clearInterval(look); done(); } }, 20);
});
const charts = document.querySelectorAll(".chart").length;
until(() => document.querySelectorAll("svg.marks").length === charts).then(async () => {
  const form = document.getElementById("gallery-filters");
  const shown = () => [...document.querySelectorAll("#gallery .item")].map((item) => ({
    label: item.querySelector("b").textContent, name: item.querySelector("small").textContent,
    images: item.querySelectorAll("img").length,
    said: [...item.querySelectorAll("dt")].map((dt) =>
      [dt.textContent.slice(2), dt.nextSibling.textContent]),
  }));
  const choose = (name, value) => {
    form.elements[name].value = value;
    form.dispatchEvent(new Event("change"));
  };
  const told = { wrong: shown() };
  choose("kind", "none"); told.none = shown();
  document.querySelector("#gallery .enlarge").click();
  told.large = document.querySelector("#gallery-large").open;
  document.querySelector("#gallery-large button").click();
  choose("kind", ""); told.all = shown();
  choose("class", "1"); told.one_class = shown();
  choose("class", ""); choose("a", "0"); choose("b", "1"); told.pair = shown();
  choose("right", "a"); told.first_right = shown();
  const saved = {};
  URL.createObjectURL = (blob) => { saved[blob.type] = blob; return "#"; };
  document.querySelectorAll("[data-for=ensembles] button").forEach((button) => button.click());
  await until(() => Object.keys(saved).length === 3);
  told.csv = await saved["text/csv"].text();
  told.svg = (await saved["image/svg+xml"].text()).slice(0, 4);
  told.png = saved["image/png"].size;
  const note = document.createElement("pre");
  note.id = "told";
  note.textContent = JSON.stringify(told);
  document.body.append(note);
});
</script>"""


def _dump(page, folder, script=""):
    """The page as Chromium has it once its scripts have run, and what it complained of."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    copy, profile = folder / "copy.html", folder / "profile"
    # The runtime's text holds the tag too, so the last one is meant.
    copy.write_text((script + _PATIENT).join(page.read_text().rsplit("</body>", 1)))
    quiet = ("background-networking", "component-update", "sync", "gpu")
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", *(f"--disable-{word}" for word in quiet)),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=30000"),
            *("--enable-logging=stderr", "--dump-dom", copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class _Attributes(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names = set()

    def handle_starttag(self, tag, attributes):
        self.names |= {name for name, _ in attributes}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = judged.write_judged(tmp_path_factory.mktemp("judged"))
    judged.write_away(folder)
    return write_report(folder)


@pytest.fixture(scope="module")
def read(page, tmp_path_factory):
    """The page after a reader's clicks, what the clicks found, and complaints."""
    dom, complaints = _dump(page, tmp_path_factory.mktemp("read"), _READER)
    told = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert told, "the clicks came to no end"
    text = told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return dom, json.loads(text), complaints


def test_every_chart_is_drawn_without_complaint(page, read):
    dom, _, complaints = read
    assert dom.count('class="marks"') == page.read_text().count('class="chart"') > 9
    # A request would be refused by the page's policy and said here.
    assert complaints == []


_PRINTER = """<script>
window.requestIdleCallback = () => {};
window.IntersectionObserver = class { observe() {} };
window.addEventListener("load", () => {
  window.dispatchEvent(new Event("beforeprint"));
  setTimeout(() => {
    document.body.dataset.drawn = document.querySelectorAll(".marks").length;
  }, 0);
});
</script><main>"""


def test_what_was_never_in_sight_is_drawn_before_printing(page, tmp_path):
    # With nothing drawn by sight or in idle time, and no task between the event and the count.
    unseen = tmp_path / "unseen.html"
    unseen.write_text(page.read_text().replace("<main>", _PRINTER, 1))
    dom, _ = _dump(unseen, tmp_path)
    drawn = re.search(r'data-drawn="(\d+)"', dom)
    assert drawn
    assert int(drawn[1]) == page.read_text().count('class="chart"')


def test_filters_show_what_was_asked(read):
    told = read[1]
    assert told["all"]
    # It opens with what the winner gets wrong; of that some is wrong by every method.
    assert 0 < len(told["none"]) < len(told["wrong"])
    assert all(item["label"] not in dict(item["said"]) for item in told["none"])
    assert told["large"] is True
    assert all(item["images"] == 1 for item in told["all"])
    assert {item["label"] for item in told["one_class"]} == {"species 1"}
    names = [method[0] for method in judged.METHODS[:2]]

    def class_of(item, name):
        return next(said for said, methods in item["said"] if name in methods.split(", "))

    assert told["pair"]
    for item in told["pair"]:
        assert class_of(item, names[0]) != class_of(item, names[1])
    assert 0 < len(told["first_right"]) < len(told["pair"])
    assert all(class_of(item, names[0]) == item["label"] for item in told["first_right"])


def test_a_chart_downloads_as_svg_png_and_csv(read):
    told = read[1]
    assert told["csv"].startswith("ensemble,rule,gain,low,high,accuracy,passes\r\n")
    assert told["svg"] == "<svg"
    assert told["png"] > 5000


def test_no_hostile_name_runs(tmp_path):
    methods = [(_HOSTILE + str(k), _HOSTILE, 10 + k, True, 0.8) for k in range(2)]
    names = [_HOSTILE + str(k) for k in range(judged.CLASSES)]
    folder = judged.write_judged(tmp_path / "study", methods, names=names)
    file = {str(row): _HOSTILE for row in range(judged.IMAGES)}
    (folder / "names.json").write_text(json.dumps(file))
    judged.write_away(folder, "img src=x onerror=alert(1)")
    page = write_report(folder)
    dom, complaints = _dump(page, tmp_path)
    assert dom.count('class="marks"') == page.read_text().count('class="chart"')
    assert "<title>taken" not in dom
    scan = _Attributes()
    scan.feed(dom)
    assert "src" in scan.names
    assert "onerror" not in scan.names
    assert complaints == []
