"""The benchmark harness: its metrics against known values, its baselines, and whole small runs."""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import clips
import contact_sheet
import measuring
import metrics
import quality
from baselines import BASELINES, flow_propagation, homography_propagation, temporal_median
from internal_inpaint.methods.implicit.encoders import VGG_CHANNELS, Vgg19

SHARED = clips.shared_folder()
WEIGHTS = clips.vgg19_weights()
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


def filled_by(fill: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """``fill`` inside the holes, the truth outside."""
    return np.where(holes[..., None], fill, truth)


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
    monkeypatch.setattr(measuring, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


# An engine of the standard library alone: its fill is the truth.
COPYING_ENGINE = """
import pathlib, shutil, sys
asked = dict(zip(sys.argv[2::2], sys.argv[3::2]))
for frame in range(1001, 1005):
    target = pathlib.Path(asked["--output"].replace("####", str(frame)))
    target.parent.mkdir(exist_ok=True)
    shutil.copy(asked["--plate"].replace("####", str(frame)), target)
"""


def copy_plate(asked: dict[str, str], offset: float = 0) -> None:
    """What an engine does whose fill is the truth, or the truth and ``offset``."""
    for frame in range(1001, 1005):
        target = clips.frame_path(asked["--output"], frame)
        target.parent.mkdir(exist_ok=True)
        if offset:
            clips._write(target, clips._read(clips.frame_path(asked["--plate"], frame)) + offset)
        else:
            shutil.copy(clips.frame_path(asked["--plate"], frame), target)


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

    def test_ssim_of_a_small_difference_is_that_of_the_whole_frame(self):
        truth = pan(1, 70, 90)
        result = truth.copy()
        result[0, 3:20, 40:60] = 0.5
        everywhere = result + np.float32(1e-6)  # so small a difference has no index of its own
        assert metrics.ssim(result, truth) == pytest.approx(metrics.ssim(everywhere, truth), abs=1e-5)
        assert metrics.ssim(result, truth) < 0.97

    def test_temporal_error_sees_flicker_and_not_what_moves_with_the_truth(self):
        truth = pan(6) * 0.8 + 0.1
        holes = hole_in(truth)
        assert metrics.temporal_error(truth, truth, holes) == 0
        assert metrics.temporal_error(truth + 0.05, truth, holes) == pytest.approx(0, abs=1e-4)
        sign = np.array([1, -1, 1, -1, 1, -1], np.float32)[:, None, None, None]
        assert metrics.temporal_error(truth + 0.02 * sign, truth, holes) == pytest.approx(255 * 0.04, rel=1e-3)
        assert np.isnan(metrics.temporal_error(truth[:1], truth[:1], holes[:1]))

    def test_sharpness_tells_blur_from_detail_and_both_from_noise(self):
        truth = pan(3)
        holes = hole_in(truth)
        blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in truth])
        noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
        assert metrics.sharpness(truth, truth, holes) == 1
        assert metrics.sharpness(blurred, truth, holes) < 0.6
        assert metrics.sharpness(noisy, truth, holes) > 1.2
        assert metrics.sharpness(filled_by(noisy, truth, ~holes), truth, holes) == 1

    def test_sharpness_does_not_count_the_seam_or_a_flat_frame(self):
        truth = pan(2)
        holes = hole_in(truth)
        offset = filled_by(truth + 0.3, truth, holes)
        assert metrics.sharpness(offset, truth, holes) == pytest.approx(1, abs=1e-5)
        truth[1] = 0.5
        noisy = truth.copy()
        noisy[1, ::2, ::2] += 0.01
        assert metrics.sharpness(noisy, truth, holes) < 1.2
        assert np.isnan(metrics.sharpness(noisy[1:], truth[1:], holes[1:]))
        assert np.isnan(metrics.sharpness(truth, truth, np.zeros_like(holes)))

    def test_seam_error_sees_the_four_pixels_inside_the_edge(self):
        truth = pan(2)
        holes = hole_in(truth)
        assert metrics.seam_error(truth, truth, holes) == 0
        assert metrics.seam_error(truth + 0.1, truth, holes) == pytest.approx(25.5, rel=1e-4)
        for inset, seen in ((3, True), (4, False)):
            deep = filled_by(truth + 0.1, truth, hole_in(truth, 20 + inset, 30 + inset, 16 - 2 * inset))
            assert (metrics.seam_error(deep, truth, holes) > 0) == seen
        outside = filled_by(truth + 0.1, truth, ~holes)
        assert metrics.seam_error(outside, truth, holes) == 0
        assert np.isnan(metrics.seam_error(truth, truth, np.ones_like(holes)))

    def test_the_frames_own_edge_is_no_seam(self):
        truth = pan(1)
        holes = np.zeros(truth.shape[:3], bool)
        holes[:, :, 60:] = True
        at_the_frames_edge = truth.copy()
        at_the_frames_edge[:, :, 70:] += 0.2
        assert metrics.seam_error(at_the_frames_edge, truth, holes) == 0
        assert metrics.seam_step(at_the_frames_edge, truth, holes) == 0

    def test_seam_step_is_a_line_that_the_truth_does_not_have(self):
        flat = np.full((2, 60, 80, 3), 0.5, np.float32)
        holes = hole_in(flat)
        assert metrics.seam_step(filled_by(flat + 0.1, flat, holes), flat, holes) == pytest.approx(25.5, rel=1e-4)
        truth = pan(2)
        assert metrics.seam_step(truth, truth, holes) == 0
        assert metrics.seam_step(BASELINES["telea"](truth, holes), truth, holes) < 0
        wrong_inside = filled_by(truth + 0.3, truth, hole_in(truth, 24, 34, 8))
        assert metrics.seam_step(wrong_inside, truth, holes) == 0
        assert np.isnan(metrics.seam_step(truth, truth, np.zeros_like(holes)))

    def test_perceptual_distance_is_of_the_hole_on_frames_spread_over_the_clip(self):
        generator = torch.Generator().manual_seed(0)
        weights = {}
        for index, (channels_in, channels_out) in VGG_CHANNELS.items():
            filters = torch.randn(channels_out, channels_in, 3, 3, generator=generator)
            weights[f"features.{index}.weight"] = filters * (2 / (9 * channels_in)) ** 0.5
            weights[f"features.{index}.bias"] = torch.zeros(channels_out)
        distance = partial(metrics.perceptual_distance, encoder=Vgg19(weights), frames=3)
        truth = pan(5)
        holes = hole_in(truth)
        holes[0] = False
        assert distance(truth, truth, holes) == 0
        assert 0.01 < distance(1 - truth, truth, holes) < 2
        # The known part of the box is no part of the mean.
        assert distance(filled_by(1 - truth, truth, holes), truth, holes) > 0.5 * distance(1 - truth, truth, holes)
        # Of the frames with a hole, 1 to 4, the first, the last and one between them are looked at.
        spoiled = [
            t for t in range(5) if distance(np.where(np.arange(5)[:, None, None, None] == t, 0, truth), truth, holes)
        ]
        assert len(spoiled) == 3
        assert {1, 4} < set(spoiled)
        far = truth.copy()
        far[:, :, 70:] = 0
        assert distance(far, truth, holes) == 0
        assert np.isnan(distance(truth, truth, np.zeros_like(holes)))

    @pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"there are no VGG-19 weights at {WEIGHTS}")
    def test_perceptual_distance_prefers_a_shifted_texture_to_a_blurred_one(self):
        noise = np.random.default_rng(0).random((1, 96, 96, 3)).astype(np.float32)
        truth = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.6) for frame in noise])
        truth = np.clip((truth - truth.mean()) * 3 + 0.5, 0, 1)
        holes = hole_in(truth, 30, 30, 36)
        shifted = filled_by(np.roll(truth, 1, axis=2), truth, holes)
        blurred = filled_by(cv2.GaussianBlur(truth[0], (0, 0), 3)[None], truth, holes)
        assert metrics.psnr_in_hole(blurred, truth, holes) > metrics.psnr_in_hole(shifted, truth, holes)
        encoder = measuring.perceptual_encoder()
        blur, shift = (metrics.perceptual_distance(r, truth, holes, encoder) for r in (blurred, shifted))
        assert blur > 1.5 * shift > 0


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

    def test_a_homography_restores_what_a_turning_zooming_camera_uncovers(self):
        ground = texture(200, 200)
        truth = []
        for t in range(8):
            camera = cv2.getRotationMatrix2D((100, 100), 2 * t, 1 + 0.02 * t)
            camera[:, 2] += (4 * t - 60, -70)
            truth.append(cv2.warpAffine(ground, camera, (80, 60), flags=cv2.INTER_CUBIC).clip(0, 1))
        truth = np.stack(truth)
        holes = hole_in(truth)
        found = metrics.psnr_in_hole(homography_propagation(truth, holes), truth, holes)
        assert found > 30 > metrics.psnr_in_hole(BASELINES["telea"](truth, holes), truth, holes)

    def test_a_homography_leaves_to_telea_what_no_frame_shows(self):
        truth = pan(4, step=0)
        holes = hole_in(truth)
        np.testing.assert_array_equal(homography_propagation(truth, holes), BASELINES["telea"](truth, holes))

    def test_a_homography_carries_nothing_over_a_cut(self):
        first, second = pan(5), np.stack([texture(60, 80, seed=t + 5) for t in range(3)])
        holes = hole_in(np.concatenate([first, second]))
        cut = homography_propagation(np.concatenate([first, second]), holes)
        np.testing.assert_array_equal(cut[:5], homography_propagation(first, holes[:5]))

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
        assert np.array_equal(shot.truth(), shot.pictures(shot.plate))
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
        assert set(quality.SCORES) <= set(records[0])
        assert "no perceptual distance: the VGG-19 weights" in printed.err
        assert all(np.isnan(record["perceptual"]) for record in records)
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
            copy_plate(dict(zip(command[4::2], command[5::2], strict=True)))
            return SimpleNamespace(returncode=0)

        monkeypatch.setattr(measuring.subprocess, "run", engine)
        assert self.run(tmp_path / "q.json", "draft", "--time", "9s", "--protocol", "fixed", "--threads", "2") == 0
        ((command, threads),) = seen
        text = " ".join(command)
        assert "-m internal_inpaint run --plate" in text
        assert "--frames 1001-1004 --quality draft --time 9s --grow 0 --feather 0" in text
        assert threads == "2"
        assert "| draft 9s | inf |" in capsys.readouterr().out
        assert self.run(tmp_path / "q.json", "draft", "--time", "own", "--protocol", "fixed") == 0
        assert "--time" not in seen[1][0]
        assert "| draft | inf |" in capsys.readouterr().out

    def test_a_preset_that_fails_costs_only_its_own_figures(self, small_clips, tmp_path, monkeypatch, capsys):
        def engine(command, stdout, **options):
            stdout.write("first line\nThe plate is gone.\n")
            return SimpleNamespace(returncode=2)

        monkeypatch.setattr(measuring.subprocess, "run", engine)
        save = tmp_path / "q.json"
        assert self.run(save, "paper,telea", "--protocol", "fixed") == 1
        printed = capsys.readouterr()
        assert "exit code 2: The plate is gone." in printed.err
        assert "| paper 150s | – |" in printed.out
        assert [record["method"] for record in json.loads(save.read_text())] == ["telea"]

    def test_unknown_names_are_refused(self, capsys):
        methods = ("magic", "telea:implicit", "draft:", "telea@HEAD", "standard@no-such-commit")
        for bad in (*(["--methods", name] for name in methods), ["--clips", "cat"], ["--protocol", "removal"]):
            with pytest.raises(SystemExit) as ended:
                quality.main(bad)
            assert ended.value.code == 2
            assert bad[1] in capsys.readouterr().err

    def test_methods_of_training_and_times_are_rows_of_their_own(self, small_clips, tmp_path, monkeypatch, capsys):
        seen = []

        def engine(command, **options):
            """Stands in for the command line: the longer it may train, the better its fill."""
            asked = dict(zip(command[4::2], command[5::2], strict=True))
            seen.append((asked["--quality"], asked["--time"], asked.get("--method")))
            copy_plate(asked, offset=1 / int(asked["--time"][:-1]))
            return SimpleNamespace(returncode=0)

        monkeypatch.setattr(measuring.subprocess, "run", engine)
        chosen = ("draft,draft:implicit", "--time", "10s,100s", "--protocol", "fixed")
        assert self.run(tmp_path / "q.json", *chosen) == 0
        assert set(seen) == {("draft", time, method) for time in ("10s", "100s") for method in ("implicit", None)}
        assert len(seen) == 4
        rows = [line.split("|")[1:3] for line in capsys.readouterr().out.split("###")[1].splitlines()[4:8]]
        psnr = {name.strip(): float(value) for name, value in rows}
        assert list(psnr) == ["draft 10s", "draft 100s", "draft:implicit 10s", "draft:implicit 100s"]
        assert psnr["draft 100s"] == psnr["draft:implicit 100s"] > psnr["draft 10s"] + 10

    def test_an_older_engine_runs_from_its_own_commit(self, small_clips, tmp_path, monkeypatch, capsys):
        project = tmp_path / "project"
        package = project / "core" / "internal_inpaint"
        package.mkdir(parents=True)
        monkeypatch.setattr(measuring, "CHECKOUT", project)
        git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "init", "-q"], check=True)
        (package / "__init__.py").touch()
        for name, broken in (("first", ""), ("second", "raise SystemExit('the newer engine')")):
            (package / "__main__.py").write_text(f"{broken}\n{COPYING_ENGINE}")
            subprocess.run([*git, "add", "."], check=True)
            subprocess.run([*git, "commit", "-q", "-m", name], check=True)

        assert self.run(tmp_path / "q.json", "draft@HEAD~1,draft@HEAD", "--protocol", "fixed") == 1
        (record,) = json.loads((tmp_path / "q.json").read_text())
        hashes = [subprocess.check_output([*git, "rev-parse", f"HEAD{of}"], text=True)[:12] for of in ("~1", "")]
        assert record["method"] == f"draft@{hashes[0]}"
        assert record["psnr_hole"] == float("inf")
        printed = capsys.readouterr()
        assert "failed, exit code 1: the newer engine" in printed.err
        assert f"| draft@{hashes[1]} 150s | – |" in printed.out
        assert sorted(folder.name for folder in (small_clips / "engines").iterdir()) == sorted(hashes)

    def test_figures_that_an_older_file_lacks_are_dashes(self, small_clips, tmp_path, capsys):
        save = tmp_path / "q.json"
        assert self.run(save, "telea,median", "--protocol", "fixed") == 0
        capsys.readouterr()
        records = json.loads(save.read_text())
        kept = ("psnr_frame", "ssim", "temporal_error", "seconds")
        older = [{k: v for k, v in r.items() if k not in quality.SCORES or k in kept} for r in records]
        save.write_text(json.dumps([{**older[0], "psnr_hole": 12.345}, records[1]]))
        assert self.run(save, "telea,median", "--protocol", "fixed") == 0
        printed = capsys.readouterr()
        assert "[1/" not in printed.err
        psnr, sharpness, means = printed.out.split("###")[1:]
        assert "| telea | 12.35 | 12.35 |" in psnr
        assert "| telea | – | – |" in sharpness
        assert "| telea | 12.35 | – | – |" in means
        assert f"| median | {records[1]['sharpness']:.2f} |" in sharpness

    def test_crops_show_the_hole_of_the_middle_frame_pixel_for_pixel(self, small_clips, tmp_path, capsys):
        save = tmp_path / "q.json"
        assert self.run(save, "telea", "--protocol", "object") == 0
        # What was measured before is shown as well, unless its picture is gone.
        more = ("--protocol", "object", "--crops", str(tmp_path / "crops"))
        assert self.run(save, "telea,median", *more) == 0
        (path,) = (tmp_path / "crops").iterdir()
        assert path.name == "object-goat-96x54.png"
        sheet = cv2.imread(str(path))[..., ::-1]
        shot = clips.prepare("goat", "object", SIZE, frames=4, cache=small_clips)
        box = metrics.bounding_box(shot.holes()[1], 24)
        truth = np.round(shot.truth()[1][box] * 255)
        height, width = truth.shape[:2]
        assert sheet.shape == (
            contact_sheet.TITLE_HEIGHT + height + contact_sheet.GAP,
            4 * width + 3 * contact_sheet.GAP,
            3,
        )
        columns = [
            sheet[contact_sheet.TITLE_HEIGHT :][:height, (width + contact_sheet.GAP) * column :][:, :width]
            for column in range(4)
        ]
        np.testing.assert_array_equal(columns[0], truth)
        hole = shot.holes()[1][box]
        for hidden in columns[1:]:
            assert (hidden[hole] != truth[hole]).any(axis=-1).mean() > 0.5
            np.testing.assert_array_equal(hidden[~hole], truth[~hole])

        next((small_clips / "crops").glob("*telea*")).unlink()
        capsys.readouterr()
        assert self.run(save, "telea,median", *more) == 0
        assert "telea: there is no picture of it" in capsys.readouterr().err
        assert cv2.imread(str(path)).shape[1] == 3 * width + 2 * contact_sheet.GAP

    def test_the_size_of_the_clips_is_the_default(self):
        assert quality._parse_arguments([]).size == (854, 480)


def test_contact_sheet_has_a_column_a_version_and_a_row_a_frame(tmp_path):
    frames = pan(9)
    shown = {"hidden": contact_sheet.with_hole(frames, hole_in(frames)), "truth": frames}
    contact_sheet.contact_sheet(shown, tmp_path / "sheet.png", count=3)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    gap, title = contact_sheet.GAP, contact_sheet.TITLE_HEIGHT
    assert sheet.shape == (title + 3 * (60 + gap), 80 + gap + 80, 3)


@pytest.mark.skipif(not (SHARED / "clips").is_dir(), reason="the clips of the shared folder are not here")
def test_baselines_on_a_real_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality, "prepare", partial(clips.prepare, cache=tmp_path))
    monkeypatch.setattr(measuring, "CACHE", tmp_path)
    arguments = ["--clips", "schoolgirls", "--protocol", "object", "--size", "108x60", "--frames", "6"]
    methods = ["--methods", "telea,navier-stokes,median,flow,homography", "--save", str(tmp_path / "q.json")]
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
