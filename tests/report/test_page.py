"""The page stands alone, repeats itself byte for byte, and no name in the data can break it."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import fake
import pytest

from foldtune.analysis.ranking import leaderboard
from foldtune.errors import InputError
from foldtune.report.page import write_report
from foldtune.study.store import Store

# Names of XML vocabularies and of a file format: written in the runtime, never fetched.
_IDENTIFIERS = ("http://www.w3.org/", "https://vega.github.io/schema/")
_HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">&'{{7*7}}\u2028\udc80"


class _Page(HTMLParser):
    """Every tag with its attributes, and the text of every element with an id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._id = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._id = dict(attributes).get("id")

    def handle_data(self, data):
        if self._id:
            self.texts[self._id] = self.texts.get(self._id, "") + data


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return fake.write_study(tmp_path_factory.mktemp("study") / "textures")


@pytest.fixture(scope="module")
def page(study):
    return write_report(study)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    methods = [(_HOSTILE, _HOSTILE, 10, True, 0.8), ("=1+1", "=1+1", 1000, False, 0.7)]
    rows = [{**row, "data": _HOSTILE} for row in fake.rows(methods)]
    return write_report(fake.write_study(tmp_path_factory.mktemp("hostile"), rows))


def test_it_lands_beside_the_rows_with_its_figures(study, page):
    assert page == study / "report.html"
    names = sorted(path.name for path in (study / "figures").iterdir())
    assert names == ["accuracy.svg", "training.svg", "tuning.svg"]
    assert all(path.read_text().startswith("<svg") for path in (study / "figures").iterdir())
    assert not list(study.rglob("*.tmp"))


def test_the_same_rows_give_the_same_bytes(study, page, tmp_path):
    again = write_report(study, out=tmp_path / "deep" / "again.html")
    assert again.read_bytes() == page.read_bytes()
    assert (tmp_path / "deep" / "figures" / "tuning.svg").exists()


def test_it_names_the_winner_and_its_interval(study, page):
    best = next(entry for entry in leaderboard(Store(study).rows()) if entry["winner"])
    text = page.read_text()
    assert f"{best['label']} is chosen" in text
    assert f"{100 * best['low']:.1f} to {100 * best['high']:.1f}" in text
    assert hashlib.sha256((study / "rows.jsonl").read_bytes()).hexdigest()[:16] in text


def test_no_attribute_reaches_the_network(page):
    for tag, attributes in _Page(page.read_text()).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or ""
            assert value.startswith("data:") or not value, (tag, name, value[:80])
        assert tag not in ("link", "iframe", "object", "base")


def test_the_browser_is_told_to_refuse_the_network(page):
    policy = next(a["content"] for t, a in _Page(page.read_text()).tags if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_nothing_but_the_runtime_holds_an_address(page):
    text = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"https?://[^\s\"'<]+", text)
    assert not [address for address in found if not address.startswith(_IDENTIFIERS)]


def test_the_specifications_are_data(page):
    texts = _Page(page.read_text()).texts
    for name in ("accuracy", "training", "tuning"):
        specification = json.loads(texts[f"spec-{name}"])
        assert specification["width"] == "container"
        assert "url" not in json.dumps(specification)


def test_the_leaderboard_downloads_as_csv(study, page):
    link = next(a for t, a in _Page(page.read_text()).tags if t == "a")
    rows = list(csv.DictReader(io.StringIO(unquote(link["href"].partition(",")[2]))))
    board = leaderboard(Store(study).rows())
    assert [row["label"] for row in rows] == [entry["label"] for entry in board]
    assert float(rows[0]["test_accuracy"]) == board[0]["test_accuracy"]


def test_hostile_names_stay_text(hostile, page):
    tags = [tag for tag, _ in _Page(hostile.read_text()).tags]
    assert tags.count("img") == 3  # the still figures, for readers without scripts
    assert tags.count("script") == [t for t, _ in _Page(page.read_text()).tags].count("script")
    assert not any("onerror" in a for _, a in _Page(hostile.read_text()).tags)
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", hostile.read_text())[0]


def test_hostile_names_stay_text_in_the_still_figures(hostile):
    for tag, attributes in _Page(hostile.read_text()).tags:
        if tag == "img":
            svg = base64.b64decode(attributes["src"].partition(",")[2]).decode()
            assert "<img" not in svg
            assert "<script" not in svg


def test_no_cell_of_the_csv_is_a_formula(hostile):
    link = next(a for t, a in _Page(hostile.read_text()).tags if t == "a")
    cells = csv.reader(io.StringIO(unquote(link["href"].partition(",")[2])))
    assert not [cell for row in cells for cell in row if cell.startswith("=")]


def test_a_study_in_which_nothing_finished_still_has_a_page(tmp_path):
    rows = [row for row in fake.rows(fake.METHODS[:2], trials=2) if row["stage"] == "trial"]
    lost = {"verdict": "diverged: loss is nan at step 3", "val_accuracy": None, "curve": []}
    text = write_report(fake.write_study(tmp_path, [{**row, **lost} for row in rows])).read_text()
    assert "no method is chosen" in text
    assert "4 runs diverged" in text


def test_only_the_required_keys_are_needed(tmp_path):
    row = {
        "run": "a1",
        "stage": "trial",
        "label": "SSF",
        "method": "SSF()",
        "trainable": 3,
        "verdict": "finished",
        "val_accuracy": 0.5,
    }
    with Store(tmp_path) as store:
        store.add(row)
    assert "SSF is chosen" in write_report(tmp_path).read_text()


def test_an_empty_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        write_report(tmp_path)


def test_twelve_methods_and_three_seeds_stay_small(tmp_path):
    methods = [(f"M{i}", f"M{i}()", 1000 * i, True, 0.6 + i / 50) for i in range(12)]
    path = write_report(fake.write_study(tmp_path, list(fake.rows(methods, seeds=3, epochs=50))))
    assert path.stat().st_size < 3_000_000


def _dump(path, profile):
    """The page as Chromium has it once its scripts have run."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    quiet = ("background-networking", "component-update", "sync", "gpu")
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", *(f"--disable-{word}" for word in quiet)),
            *(
                f"--user-data-dir={profile}",
                "--virtual-time-budget=8000",
                "--enable-logging=stderr",
            ),
            *("--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_chromium_draws_every_chart(page, tmp_path):
    dom, complaints = _dump(page, tmp_path)
    drawn = re.findall(r'<svg[^>]*class="marks"', dom)
    assert len(drawn) == 3
    # A request would be refused by the page's policy and said here.
    assert complaints == []


def test_chromium_runs_no_hostile_name(hostile, tmp_path):
    dom, _ = _dump(hostile, tmp_path)
    assert len(re.findall(r'<svg[^>]*class="marks"', dom)) == 3
    assert "<title>taken" not in dom
