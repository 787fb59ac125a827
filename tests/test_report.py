"""report.html: whole, escaped, self-contained, and working in a real browser."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pytest
from browser import Browser, find_browser

from internal_inpaint.durations import duration
from internal_inpaint.errors import BadInput
from internal_inpaint.report.charts import ticks
from internal_inpaint.report.page import (
    MOST_BYTES,
    Exhibit,
    FrameFigures,
    Level,
    ReportData,
    chosen_frames,
    confident_share,
    page,
    write_report,
)
from internal_inpaint.report.pictures import confidence_overlay, photograph
from internal_inpaint.report.text import frame_ranges, percent

VOID_TAGS = {"meta", "link", "img", "input", "br"}
NASTY = """</title></script><script>document.title = 'owned'</script>"""
NASTY += """<img src=x onerror="alert('1')"> & "quotes" \udcff\x00"""
# What a person sees of it: the same text, a replacement character for what cannot be printed.
SHOWN = NASTY.replace("\udcff", "\N{REPLACEMENT CHARACTER}").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def exhibit(frame=1001, height=90, width=160, **options):
    """A plate that is red, a result that is green, a matte in the middle."""
    matte = np.zeros((height, width), np.float32)
    matte[height // 3 : -height // 3, width // 3 : -width // 3] = 1
    plate = np.tile(np.float32([0.8, 0.02, 0.02]), (height, width, 1))
    result = np.tile(np.float32([0.02, 0.8, 0.02]), (height, width, 1))
    confidence = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return Exhibit(frame, plate, result, matte, confidence, **options)


def data(**changes):
    frames = [FrameFigures(1001 + i, 0.05, 0.2 if 3 <= i < 6 else 0.8, 0.1 if 3 <= i < 6 else 0.9) for i in range(9)]
    history = [[step, 3.0 * step, 1 / step, 15.0 + step / 4] for step in range(1, 20)]
    whole = ReportData(
        title="clean.####.exr",
        frames=frames,
        exhibits=[exhibit(1001), exhibit(1009)],
        output="/shots/a/clean.####.exr",
        folder="/shots/a/clean.inpaint",
        quality="standard",
        psnr=28.25,
        levels=[Level("main", history)],
        timings={"read": 3.0, "train": 600.0, "write": 21.0},
        settings={"plate": "/shots/a/plate.####.exr", "vgg19": None, "fill_layer": False},
        versions={"internal-inpaint": "0.1.0"},
        warnings=["frame 1004 is missing"],
        finished="2026-01-02 03:04 UTC",
    )
    return replace(whole, **changes)


class Outline(HTMLParser):
    """Checks that tags nest, and collects what there is."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(text)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def test_the_page_is_well_formed_and_says_what_a_supervisor_asks():
    outline = Outline(page(data()))
    words = outline.words
    for said in (
        "frames 9",
        "fill that agrees with other frames 63 %",
        "28.2 dB",
        "standard",
        "10 min 24 s",
        "/shots/a/clean.####.exr",
        "Frames with low confidence (mean below 0.5): 1004-1006. Check these first: 1004 (0.20), 1005 (0.20)",
        "1006 (0.20).",
        "frame 1004 is missing",
        "The fill agrees with what other frames show in 63 % of its area. Check the rest.",
        "vgg19 -",
        "fill_layer no",
        "2026-01-02 03:04 UTC",
    ):
        assert said in words, f"{said!r} not in {words}"
    assert outline.tags.count("figure") == 2
    assert outline.tags.count("svg") == 3


def test_what_is_copied_invented_and_doubtful_is_said_at_the_top_and_of_every_frame():
    frames = [FrameFigures(1001, 0.1, 0.8, 0.9, copied=0.9), FrameFigures(1002, 0.3, 0.4, 0.5, copied=0.5)]
    frames.append(FrameFigures(1003, 0.0))
    text = page(data(frames=frames))
    said = "60 % of the fill is copied from other frames, 40 % is invented."
    assert f"{said} 40 % of it is doubtful (confidence below 0.5)." in Outline(text).words
    assert "copied, invented 60 %, 40 %" in Outline(text).words
    assert "1001: matte 10.0 %, confidence 0.80, copied 90 %" in text
    bars = re.findall(r'<rect class="bar( copied)?" x="([\d.]+)"[^>]*height="([\d.]+)"', text)
    heights = {(x, bool(kind)): float(height) for kind, x, height in bars}
    assert len(bars) == 5, "a frame without a hole has nothing copied"
    for x, copied in zip(sorted({x for _, x, _ in bars}, key=float), (0.9, 0.5), strict=False):
        assert heights[x, True] == pytest.approx(copied * heights[x, False], abs=0.1)
    plain = page(data())
    assert "copied" not in Outline(plain).words
    assert 'class="bar copied"' not in plain


def test_nothing_is_loaded_from_anywhere():
    text = page(data(output="http://example.com/x", warnings=["see https://example.com"]))
    outline = Outline(text)
    for name, value in outline.attributes:
        if name in ("src", "href", "data", "poster", "srcset", "action"):
            assert value.startswith("data:"), (name, value[:80])
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in text


def test_everything_from_outside_is_escaped():
    history = [[1, 1.0, 0.5, 20.0], [2, 2.0, 0.4, 21.0]]
    nasty = data(
        title=f"{NASTY} title",
        output=f"{NASTY} output",
        folder=f"{NASTY} folder",
        quality=f"{NASTY} quality",
        warnings=[f"{NASTY} warning"],
        settings={f"{NASTY} setting": f"{NASTY} value"},
        versions={f"{NASTY} library": f"{NASTY} version"},
        timings={f"{NASTY} timing": 1.0},
        finished=f"{NASTY} finished",
        levels=[Level(f"{NASTY} coarse", history), Level(f"{NASTY} fine", history[:1])],
        frames=[FrameFigures(1001, 0.1, 0.2, 0.2, f"{NASTY} left")],
        exhibits=[exhibit(view=f"{NASTY} right")],
    )
    outline = Outline(page(nasty))
    plain = Outline(page(data(frames=nasty.frames[:1], exhibits=nasty.exhibits[:1])))
    assert outline.tags.count("script") == 1
    assert outline.tags.count("img") == plain.tags.count("img") == 4
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    for place in (
        *("title", "output", "folder", "quality", "warning", "setting", "value", "library", "version", "timing"),
        *("finished", "coarse", "fine", "left", "right"),
    ):
        assert f"{SHOWN} {place}" in outline.words


def test_a_file_name_with_html_characters_is_shown_as_it_is():
    name = "/shots/<b>&/clean.####.exr"
    text = page(data(output=name, settings={"plate": name}))
    assert text.count("/shots/&lt;b&gt;&amp;/clean.####.exr") == 2
    assert "<b>" not in text
    assert Outline(text).words.count(name) == 2


def test_levels_follow_each_other_in_time():
    history = [[1, 5.0, 0.5, 20.0], [2, 10.0, 0.4, 21.0]]
    text = page(data(levels=[Level("coarse", history), Level("fine", history)], exhibits=[]))
    loss = text[text.index("Training loss") :]
    places = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', loss)]
    assert len(places) == 4
    assert places == sorted(places)
    assert places[3] - places[0] == pytest.approx(3 * (places[1] - places[0]), abs=0.3)
    assert "coarse" in loss
    assert "fine" in loss
    assert "training time (s)" in loss


def test_a_long_training_is_plotted_in_minutes():
    text = page(data(levels=[Level("main", [[1, 600.0, 0.5, 20.0], [9, 5400.0, 0.4, 21.0]])], exhibits=[]))
    loss = text[text.index("Training loss") :]
    assert "training time (min)" in loss
    assert ">90</text>" in loss or ">80</text>" in loss


def test_a_run_that_measured_nothing_still_has_a_page(tmp_path):
    bare = ReportData("x", [])
    assert "nothing was filled" in Outline(page(bare)).words
    unmeasured = data(
        frames=[FrameFigures(1, 0.1), FrameFigures(2, 0.0)],
        exhibits=[replace(exhibit(), confidence=None)],
        psnr=float("nan"),
        levels=[Level("main", [[1, 2.0, float("nan"), None], [], [2, None, 1, 1]])],
        timings={},
    )
    outline = Outline(page(unmeasured))
    assert "Confidence was not measured." in outline.words
    assert "not measured" in outline.words
    assert ("value", "confidence") not in outline.attributes
    write_report(unmeasured, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_it_appears_whole_or_not_at_all(tmp_path):
    write_report(data(), tmp_path / "report.html")
    first = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert first.endswith("</html>\n")
    write_report(data(title="another"), tmp_path / "report.html")
    assert "another" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match=r"the report .*report\.html cannot be written"):
        write_report(data(), tmp_path / "none" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_large_noisy_pictures_and_long_shots_keep_the_page_small(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.random((1080, 1920, 3), np.float32)
    noise[:4, :4] = (np.nan, np.inf, -np.inf)
    matte = rng.random((1080, 1920), np.float32)
    many = [Exhibit(frame, noise, noise[::-1], matte, matte) for frame in range(3)]
    frames = [FrameFigures(frame, 0.1, 0.5, 0.5) for frame in range(2000)]
    write_report(data(exhibits=many, frames=frames), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(text) <= MOST_BYTES
    assert "nan" not in re.sub(r"data:image/[^\"]*", "", text).lower()


def decoded(uri):
    codes = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return cv2.imdecode(codes, cv2.IMREAD_UNCHANGED)


def test_pictures_are_reduced_and_shown_as_srgb():
    picture = decoded(photograph(np.full((100, 400, 3), (0.2158, 1.0, 0.0), np.float32), 200, 95))
    assert picture.shape == (50, 200, 3)
    assert np.abs(picture[25, 100].astype(int) - (0, 255, 128)).max() <= 3  # OpenCV's order: blue first


def test_the_overlay_is_clear_outside_the_matte_and_tells_invented_from_shown():
    item = exhibit()
    overlay = decoded(confidence_overlay(item.confidence, item.matte, 960)).astype(int)
    assert (overlay[item.matte == 0, 3] == 0).all()
    inside = overlay[45, 55:105]
    assert inside[0, 3] > inside[-1, 3] > 0
    assert inside[0, :3].sum() < inside[-1, :3].sum()


def test_the_frames_to_look_at_are_the_most_doubtful_and_spread():
    frames = [FrameFigures(1001 + i, 0.0 if i < 5 else 0.1, 0.9, 1.0) for i in range(30)]
    frames[12] = replace(frames[12], coverage=0.2, confidence=0.1)
    chosen = chosen_frames(frames)
    assert 12 in chosen
    assert len(chosen) == 4
    assert chosen == sorted(set(chosen))
    assert 29 in chosen
    assert min(b - a for a, b in pairwise(chosen)) >= 5
    assert min(chosen) >= 5
    assert chosen_frames(frames[:5]) == []
    assert chosen_frames(frames[4:7]) == [1, 2]


def test_words_and_numbers():
    assert frame_ranges([3, 1, 2, 7, 7]) == "1-3, 7"
    assert frame_ranges([]) == ""
    assert [duration(s) for s in (0.04, 9.96, 61, 3599.8, 7260, float("inf"))] == [
        "0 s",
        "10 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 h 1 min",
        "unknown",
    ]
    assert [percent(s) for s in (0, 0.0001, 0.004, 0.5, 0.999, 1)] == [
        "0 %",
        "0.1 %",
        "0.4 %",
        "50 %",
        "99 %",
        "100 %",
    ]
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert confident_share([FrameFigures(1, 0.3, 0.5, 1.0), FrameFigures(2, 0.1, 0.5, 0.0)]) == pytest.approx(0.75)


def test_the_page_works_in_a_real_browser(tmp_path):
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium on this machine: the page was not opened in a browser")
    write_report(data(title=NASTY, warnings=[NASTY]), tmp_path / "report.html")
    with Browser(path, tmp_path / "profile") as browser:
        browser.open(tmp_path / "report.html")
        loaded = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
        assert browser.value(loaded)
        x, y, width, _ = browser.centre(".compare")
        assert colours(browser, tmp_path, x - width / 4, x + width / 4, y) == ["red", "green"]
        browser.drag((x, y), (x - 0.4 * width, y))
        assert browser.value("getComputedStyle(document.querySelector('.plate')).clipPath") != "none"
        assert colours(browser, tmp_path, x - 0.45 * width, x - width / 4, y) == ["red", "green"]
        for _ in range(200):
            browser.key("ArrowRight", 39)
        assert colours(browser, tmp_path, x - width / 4, x + 0.45 * width, y) == ["red", "red"]
        assert browser.value("document.querySelectorAll('.compare input')[1].value") == "50"
        for kind in ("matte", "confidence"):
            visible = f"getComputedStyle(document.querySelector('.overlay.{kind}')).visibility"
            assert browser.value(visible) == "hidden"
            browser.click(browser.centre(f".tools input[value={kind}]")[:2])
            assert browser.value(visible) == "visible"
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        assert browser.value("document.title").endswith("Internal Inpaint")
        assert browser.value("document.title") != "owned"
        browser.send("Emulation.setEmulatedMedia", media="print")
        plate, result = (browser.centre(f".compare .{name}") for name in ("plate", "result"))
        assert plate[0] + plate[2] / 2 <= result[0] - result[2] / 2 + 1  # side by side on paper, whole
        assert browser.value("getComputedStyle(document.querySelector('.plate')).clipPath") == "none"
        assert browser.requests == []
        assert browser.complaints == []


def colours(browser, folder, *places):
    """What is at two places of a row of the window: the last number is y."""
    *columns, y = places
    browser.screenshot(folder / "shot.png")
    picture = cv2.imread(str(folder / "shot.png"))
    found = [picture[round(y) - 60, round(x)].argmax() for x in columns]
    return [("blue", "green", "red")[channel] for channel in found]
