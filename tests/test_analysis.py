"""The analysis benchmark: its figures against known values, its tables, and small studies from end to end."""

from __future__ import annotations

import json
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import analysis
import clips
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.networks import NetworkConfig
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.training.config import TrainingConfig
from internal_inpaint.training.fill_task import fill_trainer
from results import Results

SIZE = "96x54"


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Two synthetic clips of a camera that pans over noise, 1 and 4 pixels a frame; returns what runs a study."""
    for name, step in (("goat", 2), ("bmx-trees", 8)):
        noise = np.random.default_rng(0).random((108, 192 + 8 * 7, 3)).astype(np.float32)
        ground = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        folder = tmp_path / "shared" / "clips" / name
        for kind in ("frames", "masks"):
            (folder / kind).mkdir(parents=True)
        for index in range(7):
            cv2.imwrite(str(folder / "frames" / f"{index:05d}.png"), ground[:, step * index : step * index + 192])
            matte = np.zeros((108, 192), np.uint8)
            matte[40:70, 20 + 10 * index : 50 + 10 * index] = 255
            cv2.imwrite(str(folder / "masks" / f"{index:05d}.png"), matte)
    monkeypatch.setenv("INTERNAL_INPAINT_SHARED", str(tmp_path / "shared"))
    monkeypatch.setattr(analysis, "prepare", partial(clips.prepare, cache=tmp_path / "cache"))

    def run(study: str, *more: str) -> tuple[int, list[dict]]:
        save = tmp_path / f"{study}.json"
        saving = [] if study == "complexity" else ["--save", str(save)]
        code = analysis.main([study, "--size", SIZE, *saving, *more])
        return code, json.loads(save.read_text()) if save.is_file() else []

    return run


def columns(printed: str) -> dict[str, dict[str, str]]:
    """A Markdown table as rows of cells by column title."""
    lines = [line.strip("|").split("|") for line in printed.splitlines() if line.startswith("|")]
    titles = [cell.strip() for cell in lines[0]]
    return {line[0].strip(): dict(zip(titles, map(str.strip, line), strict=True)) for line in lines[2:]}


class TestFigures:
    def learned(self) -> SimpleNamespace:
        """A flat grey shot with a hole in every frame, and a training on it that has not begun."""
        frames, state = torch.full((6, 72, 96, 3), 0.5), torch.zeros(6, 72, 96, dtype=torch.uint8)
        state[:, 20:40, 30:60] = PixelState.HOLE
        frames[state != PixelState.KNOWN] = 0
        method = ImplicitConfig(NetworkConfig("base", width=0.17))
        config = TrainingConfig(method, batch=2, crop_smallest=(32, 32))
        store = SimpleNamespace(frames=frames.half().numpy(), state=state.numpy())
        return SimpleNamespace(store=store, trainer=fill_trainer(config, frames, state, torch.device("cpu")))

    def test_shown_is_the_error_of_known_pixels_only(self, monkeypatch):
        learned = self.learned()

        def network(masked, mask, prior=None):
            assert not (masked * mask).any()
            return [masked * 0, masked + 0.2 + 50 * mask]  # off by a tenth of the range, and wildly in the hole

        monkeypatch.setattr(learned.trainer, "best_network", lambda: network)
        assert analysis.shown(learned) == pytest.approx(20, abs=0.01)

    def test_remembered_is_the_error_where_known_pixels_were_hidden(self, monkeypatch):
        hidden, learned = [], self.learned()

        def network(masked, mask, prior=None):
            hidden.append(float(mask.sum()))
            return [torch.full_like(masked, 0.7) + 50 * (1 - mask)]

        monkeypatch.setattr(learned.trainer, "best_network", lambda: network)
        assert analysis.remembered(learned) == pytest.approx(20, abs=0.01)
        assert len(hidden) == analysis.REMEMBERED_HOLES
        assert np.mean(hidden) > 20 * 30 * 1.5, "the real hole and a synthetic one"


class TestStudies:
    def test_a_faster_camera_over_the_same_ground_is_more_complex(self, studies, capsys):
        code, _ = studies("complexity", "--clips", "bmx-trees,goat")
        assert code == 0
        rows = columns(capsys.readouterr().out)
        assert list(rows) == ["goat", "bmx-trees"], "simple first"
        assert float(rows["goat"]["motion"]) == pytest.approx(1, abs=0.4)
        assert float(rows["bmx-trees"]["motion"]) == pytest.approx(4, abs=0.8)

    def test_masks_compares_both_kinds_of_hole_saves_and_does_not_repeat(self, studies, capsys):
        arguments = ("masks", "--clips", "goat", "--steps", "1", "--seconds", "")
        code, records = studies(*arguments)
        assert code == 0
        rows = columns(capsys.readouterr().out)
        assert set(rows) == {"object mattes", "random strokes"}
        assert all(cells["steps"] == "1" and 3 < float(cells["goat"]) < 40 for cells in rows.values())
        assert rows["object mattes"]["goat"] != rows["random strokes"]["goat"], "another training"
        assert {record["protocol"] for record in records} == {"object"}
        assert studies(*arguments) == (0, records)
        again = capsys.readouterr()
        assert "[1/" not in again.err
        assert columns(again.out) == rows

    def test_length_takes_the_frames_there_are_and_scores_the_fit(self, studies, capsys):
        code, records = studies("length", "--clips", "goat", "--steps", "1")
        assert code == 0
        rows = columns(capsys.readouterr().out)
        assert list(rows) == ["5 frames", "7 frames"]
        assert float(rows["5 frames"]["hole"]) == float(rows["5 frames"]["hole, first 5 frames"])
        assert all(3 < float(rows[row][f"known, {how}"]) < 40 for row in rows for how in ("shown", "hidden"))
        assert {"psnr_shown", "psnr_remembered", "training_s"} <= set(records[0])

    def test_a_training_that_fails_costs_only_its_own_figures(self, studies, monkeypatch, capsys):
        class Pool:
            """Runs at once, in this process; one network is too much for it."""

            def __init__(self, *arguments): ...
            def __enter__(self):
                return self

            def __exit__(self, *error): ...
            def submit(self, function, trial, shot):
                future = Future()
                if trial.variant == "stacked x0.5":
                    future.set_exception(MemoryError("too large"))
                else:
                    figures = {"psnr_hole": 20.0, "steps_done": 5, "training_s": 1, "step_s": 0.2, "parameters": 0.41}
                    future.set_result(figures)
                return future

        monkeypatch.setattr(analysis, "ProcessPoolExecutor", Pool)
        code, records = studies(
            "capacity", "--clips", "goat,bmx-trees", "--networks", "base x0.5,stacked x0.5", "--frames", "3"
        )
        assert code == 1
        printed = capsys.readouterr()
        assert "stacked x0.5, 60 s: failed, too large" in printed.err
        assert "| base x0.5 | 20.00 | 20.00 | 20.00 | 0.41 | 0.20 | 5 | 1 |" in printed.out
        assert len(records) == 4
        assert {record["frames"] for record in records} == {3}

    def test_the_largest_networks_run_at_an_equal_time_only(self, studies):
        options = analysis._parse_arguments(["capacity", "--clips", "goat", "--size", SIZE])
        budgets: dict[str, list[str]] = {}
        for trial in analysis.planned(options):
            budgets.setdefault(trial.variant, []).append(trial.budget)
        assert budgets["base x0.5"] == ["100 steps", "60 s"]
        assert budgets["coarse-to-fine x1"] == ["60 s"]

    @pytest.mark.parametrize(
        "bad",
        [
            ["capacity", "--networks", "huge"],
            ["length", "--steps", "0"],
            ["masks", "--seconds", "ten"],
            ["masks", "--clips", "cat"],
            [],
        ],
    )
    def test_unknown_names_and_empty_budgets_are_refused(self, bad, capsys):
        with pytest.raises(SystemExit) as ended:
            analysis.main(bad)
        assert ended.value.code == 2


def test_a_record_is_found_by_what_was_asked_not_by_what_came_out(tmp_path):
    trial = analysis.Trial("masks", "object", "goat", "random strokes", SIZE, 7, None, 2.0)
    results = Results(tmp_path / "a.json")
    results.add(trial, {"psnr_hole": 20.0, "steps_done": 6})
    assert Results(tmp_path / "a.json").find(trial)["steps_done"] == 6
    assert trial.config.holes == "strokes"
    assert trial.budget == "2 s"
