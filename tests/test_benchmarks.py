"""The benchmark harness: its metrics against known values, its baselines, and whole small runs."""

from __future__ import annotations

import ast
import importlib
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import clips
import contact_sheet
import metrics
import quality
from baselines import BASELINES, flow_propagation, temporal_median

SHARED = clips.shared_folder()
SIZE = (96, 54)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture [H, W, 3], 0..1."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return (blurred - blurred.min()) / (blurred.max() - blurred.min())


def pan(count: int, height: int = 60, width: int = 80, step: int = 3) -> np.ndarray:
    """Frames [N, H, W, 3] of a camera moving over a texture by ``step`` whole pixels a frame."""
    ground = texture(height, width + step * count)
    return np.stack([ground[:, step * t : step * t + width] for t in range(count)])


def hole_in(frames: np.ndarray, top: int = 20, left: int = 30, side: int = 16) -> np.ndarray:
    holes = np.zeros(frames.shape[:3], bool)
    holes[:, top : top + side, left : left + side] = True
    return holes


@pytest.fixture
def small_clips(tmp_path, monkeypatch) -> Path:
    """A shared folder with two synthetic clips of different length; returns the cache to use."""
    for name, count in (("goat", 7), ("bmx-trees", 3)):
        for kind in ("frames", "masks"):
            (tmp_path / "shared" / "clips" / name / kind).mkdir(parents=True)
        for index, frame in enumerate(pan(count, 108, 192)):
            folder = tmp_path / "shared" / "clips" / name
            cv2.imwrite(str(folder / "frames" / f"{index:05d}.png"), np.round(frame * 255).astype(np.uint8))
            matte = np.zeros((108, 192), np.uint8)
            matte[40:70, 20 + 30 * index : 60 + 30 * index] = 255
            cv2.imwrite(str(folder / "masks" / f"{index:05d}.png"), matte)
    monkeypatch.setenv("INTERNAL_INPAINT_SHARED", str(tmp_path / "shared"))
    monkeypatch.setattr(quality, "prepare", partial(clips.prepare, cache=tmp_path / "cache"))
    monkeypatch.setattr(quality, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


class TestMetrics:
    def test_psnr_of_a_constant_offset(self):
        truth = np.full((2, 20, 20, 3), 0.5, np.float32)
        assert metrics.psnr(truth + 0.1, truth) == pytest.approx(20, abs=1e-3)
        assert metrics.psnr(truth, truth) == float("inf")

    def test_psnr_in_the_hole_pools_its_pixels_and_ignores_the_rest(self):
        truth = np.full((2, 20, 20, 3), 0.5, np.float32)
        holes = np.zeros(truth.shape[:3], bool)
        holes[0, :10, :10] = True
        holes[1, :10, :20] = True
        result = truth.copy()
        result[~holes] = 0
        assert metrics.psnr_in_hole(result, truth, holes) == float("inf")
        result[1, :10, :20] += 0.1
        assert metrics.psnr_in_hole(result, truth, holes) == pytest.approx(-10 * np.log10(0.01 * 2 / 3), abs=1e-3)
        assert np.isnan(metrics.psnr_in_hole(result, truth, np.zeros_like(holes)))

    def test_ssim_of_identical_brighter_and_unrelated_pictures(self):
        truth = texture(40, 50)[None]
        assert metrics.ssim(truth, truth) == pytest.approx(1)
        flat = np.full((1, 40, 40, 3), 0.5)
        expected = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
        assert metrics.ssim(flat + 0.1, flat) == pytest.approx(expected)
        assert metrics.ssim(texture(40, 50, seed=1)[None], truth) < 0.3

    def test_temporal_error_sees_flicker_and_not_what_moves_with_the_truth(self):
        truth = pan(6) * 0.8 + 0.1
        holes = hole_in(truth)
        assert metrics.temporal_error(truth, truth, holes) == 0
        assert metrics.temporal_error(truth + 0.05, truth, holes) == pytest.approx(0, abs=1e-4)
        sign = np.array([1, -1, 1, -1, 1, -1], np.float32)[:, None, None, None]
        assert metrics.temporal_error(truth + 0.02 * sign, truth, holes) == pytest.approx(255 * 0.04, rel=1e-3)
        assert np.isnan(metrics.temporal_error(truth[:1], truth[:1], holes[:1]))


class TestBaselines:
    @pytest.mark.parametrize("name", list(BASELINES))
    def test_fills_the_hole_from_known_pixels_only_and_leaves_the_rest(self, name):
        truth = pan(6)
        holes = hole_in(truth)
        filled = BASELINES[name](truth, holes)
        np.testing.assert_array_equal(filled[~holes], truth[~holes])
        spoiled = np.where(holes[..., None], np.float32(1), truth)
        np.testing.assert_array_equal(BASELINES[name](spoiled, holes), filled)
        assert np.isfinite(filled).all()
        assert metrics.psnr_in_hole(filled, truth, holes) > 10

    def test_the_median_restores_a_still_background(self):
        truth = np.repeat(texture(60, 80)[None], 5, axis=0)
        holes = np.zeros(truth.shape[:3], bool)
        for t in range(5):
            holes[t, 20:40, 12 * t : 12 * t + 20] = True
        np.testing.assert_allclose(temporal_median(truth, holes), truth, atol=1e-6)

    def test_flow_restores_what_the_pan_uncovers(self):
        truth = pan(12)
        holes = hole_in(truth)
        flow = metrics.psnr_in_hole(flow_propagation(truth, holes), truth, holes)
        telea = metrics.psnr_in_hole(BASELINES["telea"](truth, holes), truth, holes)
        assert flow > telea + 3

    def test_a_frame_that_is_all_hole_does_not_stop_them(self):
        truth = pan(4)
        holes = hole_in(truth)
        holes[2] = True
        for fill in BASELINES.values():
            assert np.isfinite(fill(truth, holes)).all()


class TestClips:
    def test_a_clip_becomes_a_half_float_shot_numbered_from_1001(self, small_clips):
        shot = clips.prepare("goat", "fixed", SIZE, frames=5, cache=small_clips)
        assert shot.frames == (1001, 1002, 1003, 1004, 1005)
        assert shot.truth().shape == (5, SIZE[1], SIZE[0], 3)
        source = cv2.imread(str(clips.shared_folder() / "clips/goat/frames/00000.png"))[..., ::-1] / 255
        smaller = cv2.resize(source, SIZE, interpolation=cv2.INTER_AREA)
        assert np.abs(shot.truth()[0] - smaller).max() < 0.02
        holes = shot.holes()
        assert holes.mean() == pytest.approx(1 / 16, rel=0.05)
        rows = np.flatnonzero(holes[0].any(axis=1))
        assert abs(rows[0] - (SIZE[1] - 1 - rows[-1])) <= 1

    def test_mattes_of_a_shorter_clip_go_forth_and_back(self, small_clips):
        holes = clips.prepare("goat", "object", SIZE, cache=small_clips).holes()
        left = [np.flatnonzero(hole.any(axis=0))[0] for hole in holes]
        assert left == [10, 25, 40, 25, 10, 25, 40]

    def test_the_clips_own_mattes_for_removal_and_nothing_written_twice(self, small_clips):
        shot = clips.prepare("goat", "removal", SIZE, cache=small_clips)
        first = clips.frame_path(shot.plate, 1001)
        before = first.stat().st_mtime_ns
        assert clips.prepare("goat", "fixed", SIZE, cache=small_clips).plate == shot.plate
        assert first.stat().st_mtime_ns == before
        assert not list(small_clips.rglob("*.part"))

    def test_a_missing_clip_is_named(self, small_clips):
        with pytest.raises(FileNotFoundError, match="kite-surf"):
            clips.prepare("kite-surf", "fixed", SIZE, cache=small_clips)


class TestQuality:
    def run(self, save: Path, methods: str, *more: str) -> int:
        size = f"{SIZE[0]}x{SIZE[1]}"
        return quality.main(
            [
                "--clips",
                "goat",
                "--size",
                size,
                "--methods",
                methods,
                "--frames",
                "4",
                "--save",
                str(save),
                *more,
            ]
        )

    def test_baselines_are_measured_tabled_saved_and_not_repeated(self, small_clips, tmp_path, capsys):
        save = tmp_path / "quality.json"
        assert self.run(save, "telea,flow", "--sheets", str(tmp_path / "sheets")) == 0
        printed = capsys.readouterr()
        assert "| telea | " in printed.out
        assert "### object: means over 1 clips" in printed.out
        records = json.loads(save.read_text())
        assert len(records) == 4
        assert {"psnr_hole", "psnr_frame", "ssim", "temporal_error", "seconds"} <= set(records[0])
        assert len(list((tmp_path / "sheets").glob("*.png"))) == 4

        assert self.run(save, "telea,flow") == 0
        assert "[1/" not in capsys.readouterr().err
        assert self.run(save, "telea,flow", "--redo", "flow") == 0
        assert "[2/2]" in capsys.readouterr().err
        assert len(json.loads(save.read_text())) == 4

    def test_presets_run_as_a_user_would(self, small_clips, tmp_path, monkeypatch, capsys):
        seen = []

        def engine(command, **options):
            """Stands in for the command line: its fill is the truth."""
            seen.append((command, options["env"]["OMP_NUM_THREADS"]))
            asked = dict(zip(command[4::2], command[5::2], strict=True))
            for frame in range(1001, 1005):
                target = clips.frame_path(asked["--output"], frame)
                target.parent.mkdir(exist_ok=True)
                shutil.copy(clips.frame_path(asked["--plate"], frame), target)
            return SimpleNamespace(returncode=0)

        monkeypatch.setattr(quality.subprocess, "run", engine)
        assert self.run(tmp_path / "q.json", "draft", "--time", "9s", "--protocol", "fixed", "--threads", "2") == 0
        ((command, threads),) = seen
        text = " ".join(command)
        assert "-m internal_inpaint run --plate" in text
        assert "--frames 1001-1004 --quality draft --time 9s --grow 0 --feather 0" in text
        assert threads == "2"
        assert "| draft | inf |" in capsys.readouterr().out

    def test_a_preset_that_fails_costs_only_its_own_figures(self, small_clips, tmp_path, monkeypatch, capsys):
        def engine(command, stdout, **options):
            stdout.write("first line\nThe plate is gone.\n")
            return SimpleNamespace(returncode=2)

        monkeypatch.setattr(quality.subprocess, "run", engine)
        save = tmp_path / "q.json"
        assert self.run(save, "paper,telea", "--protocol", "fixed") == 1
        printed = capsys.readouterr()
        assert "exit code 2: The plate is gone." in printed.err
        assert "| paper | – |" in printed.out
        assert [record["method"] for record in json.loads(save.read_text())] == ["telea"]

    def test_unknown_names_are_refused(self, capsys):
        for bad in (["--methods", "magic"], ["--clips", "cat"], ["--protocol", "removal"]):
            with pytest.raises(SystemExit) as ended:
                quality.main(bad)
            assert ended.value.code == 2


def test_contact_sheet_has_a_column_a_version_and_a_row_a_frame(tmp_path):
    frames = pan(9)
    shown = {"plate and hole": contact_sheet.with_hole(frames, hole_in(frames)), "truth": frames}
    contact_sheet.contact_sheet(shown, tmp_path / "sheet.png", count=3)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    gap, title = contact_sheet.GAP, contact_sheet.TITLE_HEIGHT
    assert sheet.shape == (title + 3 * (60 + gap), 80 + gap + 80, 3)


@pytest.mark.skipif(not (SHARED / "clips").is_dir(), reason="the clips of the shared folder are not here")
def test_baselines_on_a_real_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality, "prepare", partial(clips.prepare, cache=tmp_path))
    arguments = ["--clips", "schoolgirls", "--protocol", "object", "--size", "108x60", "--frames", "6"]
    methods = ["--methods", "telea,navier-stokes,median,flow", "--save", str(tmp_path / "q.json")]
    assert quality.main([*arguments, *methods]) == 0
    for record in json.loads((tmp_path / "q.json").read_text()):
        assert 8 < record["psnr_hole"] < record["psnr_frame"]
        assert 0.5 < record["ssim"] < 1


FOLDER = Path(clips.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    """Most benchmarks run for minutes: without this, a renamed function shows only when somebody measures again."""
    ours = {"internal_inpaint", *(each.stem for each in FOLDER.glob("*.py"))}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ours:
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            for name in missing:
                importlib.import_module(f"{node.module}.{name}")
