"""The page stands alone, repeats itself byte for byte, and no name in the data can break it."""

import csv
import hashlib
import io
import json
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import fake
import pytest

from foldtune.analysis.leaderboard import leaderboard
from foldtune.errors import InputError
from foldtune.report.page import write_report
from foldtune.study.results.store import Store

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


def _csv_link(page):
    return next(a for _, a in _Page(page.read_text()).tags if "download" in a)


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


def test_it_lands_beside_the_rows(study, page):
    assert page == study / "report.html"
    assert not list(study.rglob("*.tmp"))


def test_the_same_rows_give_the_same_bytes(study, page, tmp_path):
    again = write_report(study, out=tmp_path / "deep" / "again.html", charts=tmp_path / "charts")
    assert again.read_bytes() == page.read_bytes()
    assert len(list((tmp_path / "charts").iterdir())) == 4 * 4


def test_it_says_what_to_install_where_charts_cannot_be_drawn(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(InputError, match=r"pip install 'foldtune\[report\]'"):
        write_report(study, out=tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


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
            assert value.startswith(("data:", "#")) or not value, (tag, name, value[:80])
        assert tag not in ("link", "iframe", "object", "base")


def test_the_browser_is_told_to_refuse_the_network(page):
    policy = next(a["content"] for t, a in _Page(page.read_text()).tags if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_nothing_but_the_runtime_holds_an_address(page):
    ours = r"<script(?: type=\"text/plain\" id=\"runtime\")?>.*?</script>"
    text = re.sub(ours, "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"https?://[^\s\"'<]+", text)
    assert not [address for address in found if not address.startswith(_IDENTIFIERS)]


def test_the_specifications_are_data(page):
    texts = _Page(page.read_text()).texts
    for name in ("accuracy", "training", "tuning"):
        specification = json.loads(texts[f"spec-{name}"])
        assert specification["width"] == "container"
        assert "url" not in json.dumps(specification)


def test_the_leaderboard_downloads_as_csv(study, page):
    link = _csv_link(page)
    rows = list(csv.DictReader(io.StringIO(unquote(link["href"].partition(",")[2]))))
    board = leaderboard(Store(study).rows())
    assert [row["label"] for row in rows] == [entry["label"] for entry in board]
    assert float(rows[0]["test_accuracy"]) == board[0]["test_accuracy"]


def test_hostile_names_stay_text(hostile, page):
    tags = [tag for tag, _ in _Page(hostile.read_text()).tags]
    assert "img" not in tags
    assert tags.count("script") == [t for t, _ in _Page(page.read_text()).tags].count("script")
    assert not any("onerror" in a for _, a in _Page(hostile.read_text()).tags)
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", hostile.read_text())[0]


def test_no_cell_of_the_csv_is_a_formula(hostile):
    link = _csv_link(hostile)
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
