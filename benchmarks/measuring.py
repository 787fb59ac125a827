"""One method on one clip: runs it as a user would, and scores what comes out against the truth.

A method is a baseline (``telea``), a preset of the command line (``standard``), the same with another method of
training (``standard:implicit``), or either as an older version of the engine did it (``standard@COMMIT``).
"""

from __future__ import annotations

import functools
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

import torch

import metrics
from baselines import BASELINES
from clips import CACHE, CHECKOUT, Shot, vgg19_weights
from contact_sheet import contact_sheet, middle_with_hole, save_crop, with_hole
from internal_inpaint.methods.implicit.encoders import Vgg19
from internal_inpaint.vgg19 import load_vgg19

OWN = "own"  # a time: the preset's own length
PRESETS = ("draft", "standard", "final", "paper")
ENGINE = re.compile(rf"(?P<preset>{'|'.join(PRESETS)})(:(?P<method>[\w-]+))?(@(?P<commit>[\w./^~-]+))?")
_extracting = Lock()


@dataclass(frozen=True)
class Measurement:
    """One method on one clip; two equal ones need to be made only once.

    ``time`` (``OWN``: the preset's own) and ``threads`` are empty for baselines, which take the time they take.
    """

    protocol: str
    clip: str
    method: str
    size: str
    frames: int
    time: str | None
    threads: int | None

    @property
    def label(self) -> str:
        """A name that can be a folder, on any system."""
        parts = "-".join(str(part) for part in asdict(self).values() if part is not None)
        return re.sub(r"[^\w.-]", "-", parts)

    @property
    def row(self) -> str:
        """The method as tables and pictures name it: ``telea``, ``standard 30s``."""
        return self.method if self.time in (None, OWN) else f"{self.method} {self.time}"

    @property
    def crop(self) -> Path:
        """Where the picture of the hole is kept, for sheets that show several methods."""
        return CACHE / "crops" / f"{self.label}.png"


def parse_method(text: str) -> str:
    """The name that a method is measured under: a commit becomes its hash, as a branch moves on.

    Raises:
        ValueError: there is no such method or no such commit.
    """
    if text in BASELINES:
        return text
    found = ENGINE.fullmatch(text)
    if found is None:
        known = ", ".join((*PRESETS, *BASELINES))
        raise ValueError(f"{text} is no method; there are {known}, and PRESET:METHOD, PRESET@COMMIT for presets")
    if found["commit"] is None:
        return text
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "--verify", "--quiet", f"{found['commit']}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ValueError(f"{text}: there is no commit {found['commit']} in {CHECKOUT}")
    return f"{text.partition('@')[0]}@{done.stdout.strip()[:12]}"


def measure(wanted: Measurement, shot: Shot, sheets: Path | None) -> dict[str, float]:
    """Fill the holes of ``shot`` with one method and score it against the truth."""
    truth, holes = shot.truth(), shot.holes()
    started = time.monotonic()
    if wanted.method in BASELINES:
        result = BASELINES[wanted.method](truth, holes)
        seconds = time.monotonic() - started
    else:
        pattern = _run_engine(wanted, shot)
        seconds = time.monotonic() - started
        result = shot.pictures(pattern)
    if sheets:
        columns = {"plate and hole": with_hole(truth, holes), wanted.row: result, "truth": truth}
        contact_sheet(columns, sheets / f"{wanted.label}.png")
    middle = middle_with_hole(holes)
    if middle is not None:
        save_crop(result[middle], holes[middle], wanted.crop)
    encoder = perceptual_encoder()
    distance = float("nan") if encoder is None else metrics.perceptual_distance(result, truth, holes, encoder)
    return {
        "psnr_hole": round(metrics.psnr_in_hole(result, truth, holes), 3),
        "sharpness": round(metrics.sharpness(result, truth, holes), 4),
        "perceptual": round(distance, 5),
        "temporal_error": round(metrics.temporal_error(result, truth, holes), 3),
        "seam_error": round(metrics.seam_error(result, truth, holes), 3),
        "seam_step": round(metrics.seam_step(result, truth, holes), 3),
        "psnr_frame": round(metrics.psnr(result, truth), 3),
        "ssim": round(metrics.ssim(result, truth), 5),
        "seconds": round(seconds, 1),
    }


def perceptual_encoder() -> Vgg19 | None:
    """VGG-19 for the perceptual distance; None where its weights are not."""
    path = vgg19_weights()
    return _encoder(path) if path.is_file() else None


@functools.cache
def _encoder(path: Path) -> Vgg19:
    return load_vgg19(path, torch.device("cpu"))


def engine_of(commit: str) -> Path:
    """The folder with the project as it was at ``commit``, extracted into the cache once."""
    folder = CACHE / "engines" / commit
    with _extracting:
        if not folder.is_dir():
            command = ["git", "-C", str(CHECKOUT), "archive", "--format=tar", commit]
            archive = subprocess.run(command, check=True, capture_output=True).stdout
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=commit, suffix=".part", dir=folder.parent))
            with tarfile.open(fileobj=io.BytesIO(archive)) as files:
                files.extractall(partial, filter="data")
            partial.rename(folder)
    return folder


def _run_engine(wanted: Measurement, shot: Shot) -> str:
    """Run a preset from an empty job folder; returns the pattern of its output."""
    engine = ENGINE.fullmatch(wanted.method)
    folder = CACHE / "runs" / wanted.label
    # A job folder left by an interrupted benchmark would be resumed, with more time than it is due.
    shutil.rmtree(folder, ignore_errors=True)
    output = folder / "result" / "result.####.exr"
    options = {
        "plate": shot.plate,
        "matte": shot.matte,
        "output": output,
        "frames": f"{shot.frames[0]}-{shot.frames[-1]}",
        "quality": engine["preset"],
        # Left out unless asked for: older versions of the engine do not know the option.
        "method": engine["method"],
        "time": None if wanted.time == OWN else wanted.time,
        "grow": 0,
        "feather": 0,
        "colorspace": "scene_linear",
        "device": "cpu",
        "work": folder / "job",
        "seed": 0,
        "progress": "plain",
    }
    command = [sys.executable, "-m", "internal_inpaint", "run"]
    command += [str(part) for name, value in options.items() if value is not None for part in (f"--{name}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(wanted.threads)}
    if engine["commit"]:
        root = engine_of(engine["commit"])
        environment["PYTHONPATH"] = os.pathsep.join((str(root / "core"), str(root / "plugin")))
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    with log.open("w") as stream:
        stream.write(shlex.join(command) + "\n")
        stream.flush()
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment).returncode
    if code != 0:
        last = log.read_text().strip().splitlines()[-1]
        raise RuntimeError(f"exit code {code}: {last} (all of it in {log})")
    return str(output)
