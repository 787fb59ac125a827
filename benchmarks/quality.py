"""How good the fill is, against a known truth: our presets and what one could use without training.

    python benchmarks/quality.py --clips all --protocol fixed,object --time 30s,5m --jobs 2 \\
        --methods standard,standard:implicit,standard@v0.1,telea,flow,homography --crops crops --save quality.json

Presets run as a user would run them, through the command line, with ``--threads`` threads each;
``:METHOD`` after a preset passes ``--method METHOD``, and ``@COMMIT`` runs the engine of that commit.
Baselines run in this process. Every figure is saved as soon as it is known, and a measurement that is
already in the file is not repeated: an interrupted benchmark goes on where it was. (A preset without a
commit is whatever the engine was when it was measured: ``--redo`` measures it again.)

The clips are judged at 854x480, which all but ``schoolgirls`` have; that one is enlarged from 432x240,
so its truth is soft. `benchmarks/metrics.py` says what each figure means; the perceptual distance looks at ten
frames of a clip, and at nothing (a dash) where the weights of VGG-19 are missing.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

from baselines import BASELINES
from clips import CACHE, Shot, frame_path, parse_clips, parse_size, prepare, read_display, vgg19_weights
from contact_sheet import crop_sheet, middle_with_hole
from measuring import PRESETS, Measurement, measure, parse_method
from results import Results, collect, table

SCORES = {
    "psnr_hole": "PSNR hole (dB)",
    "sharpness": "sharpness",
    "perceptual": "perceptual distance",
    "temporal_error": "temporal error",
    "seam_error": "seam error",
    "seam_step": "seam step",
    "psnr_frame": "PSNR frame (dB)",
    "ssim": "SSIM frame",
    "seconds": "seconds",
}
BY_CLIP = {"psnr_hole": "PSNR in the hole, dB", "sharpness": "sharpness in the hole, share of the truth's"}
DIGITS = {SCORES["perceptual"]: 4, SCORES["ssim"]: 4, SCORES["seconds"]: 1}


def report(results: Results, wanted: list[Measurement]) -> str:
    """Markdown tables of ``wanted``: a protocol's hole PSNR and sharpness by clip, then the means of every figure."""
    parts = []
    for protocol in dict.fromkeys(m.protocol for m in wanted):
        chosen = [m for m in wanted if m.protocol == protocol]
        clips = list(dict.fromkeys(m.clip for m in chosen))
        rows: dict[str, dict[str, dict]] = {m.row: {} for m in chosen}
        for m in chosen:
            # A record may be older than some of the figures, and a figure may not exist for a clip.
            found = results.find(m) or {}
            rows[m.row][m.clip] = {key: found[key] for key in SCORES if not np.isnan(found.get(key, np.nan))}
        means = {row: _means(by_clip) for row, by_clip in rows.items()}
        for key, title in BY_CLIP.items():
            values = {
                row: {clip: scores[key] for clip, scores in by_clip.items() if key in scores}
                | ({"mean": means[row][key]} if key in means[row] else {})
                for row, by_clip in rows.items()
            }
            parts += [f"### {protocol}: {title}\n", table(values, [*clips, "mean"], "method", {}) + "\n"]
        titled = {row: {SCORES[key]: value for key, value in mean.items()} for row, mean in means.items() if mean}
        parts += [f"### {protocol}: means over {len(clips)} clips\n"]
        parts += [table(titled, SCORES.values(), "method", DIGITS) + "\n"]
    return "\n".join(parts)


def _means(by_clip: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means of the figures that every clip has: one over some of them could not be compared with the others."""
    scores = list(by_clip.values())
    return {key: float(np.mean([s[key] for s in scores])) for key in SCORES if all(key in s for s in scores)}


def write_crops(wanted: list[Measurement], shots: dict[Measurement, Shot], folder: Path) -> None:
    """One picture a clip: the hole in its middle frame, at full resolution, truth first, as each method filled it."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for m in wanted:
        groups.setdefault((m.protocol, m.clip), []).append(m)
    for (protocol, clip), group in groups.items():
        shot = shots[group[0]]
        holes = shot.holes()
        middle = middle_with_hole(holes)
        if middle is None:
            continue
        for m in group:
            if not m.crop.is_file():
                print(f"{protocol} {clip} {m.row}: there is no picture of it; --redo makes one", file=sys.stderr)
        frame = read_display(frame_path(shot.plate, shot.frames[middle]))
        crops = {m.row: m.crop for m in group if m.crop.is_file()}
        crop_sheet(frame, holes[middle], crops, folder / f"{protocol}-{clip}-{group[0].size}.png")


def _parse_methods(text: str) -> list[str]:
    try:
        return [parse_method(method) for method in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parse_protocols(text: str) -> list[str]:
    protocols = text.split(",")
    if not set(protocols) <= {"fixed", "object"}:
        raise argparse.ArgumentTypeError(f"{text}: only fixed and object have a truth to measure against")
    return protocols


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the quality of the fill against a known truth.")
    parser.add_argument("--clips", type=parse_clips, default="all", help="all, or names separated by commas")
    parser.add_argument("--protocol", type=_parse_protocols, default="fixed,object")
    parser.add_argument("--size", type=parse_size, default="854x480", metavar="WIDTHxHEIGHT")
    parser.add_argument(
        "--time", default="150s", metavar="TIME[,TIME]", help="time budgets of each preset run; own: the preset's"
    )
    parser.add_argument(
        "--methods",
        type=_parse_methods,
        default=",".join((*PRESETS, *BASELINES)),
        help=f"separated by commas: {', '.join(BASELINES)}, or PRESET[:METHOD][@COMMIT]",
    )
    parser.add_argument("--frames", type=int, help="use only this many frames of each clip")
    parser.add_argument("--jobs", type=int, default=1, help="how many measurements at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each measurement")
    parser.add_argument("--save", type=Path, default=CACHE / "quality.json", metavar="JSON")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="also save a picture of every result")
    parser.add_argument("--crops", type=Path, metavar="FOLDER", help="also save a picture of every clip's hole")
    parser.add_argument("--redo", type=_parse_methods, default=[], help="methods to measure again")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, print the tables; 0, or 1 if any measurement failed."""
    options = _parse_arguments(arguments)
    cv2.setNumThreads(options.threads)
    torch.set_num_threads(options.threads)
    if not vgg19_weights().is_file():
        print(f"no perceptual distance: the VGG-19 weights {vgg19_weights()} are missing", file=sys.stderr)
    results, wanted, shots = Results(options.save), [], {}
    size = "x".join(str(side) for side in options.size)
    for protocol in options.protocol:
        for clip in options.clips:
            shot = prepare(clip, protocol, options.size, options.frames)
            for method in options.methods:
                baseline = method in BASELINES
                for budget in (None,) if baseline else options.time.split(","):
                    threads = None if baseline else options.threads
                    wanted.append(Measurement(protocol, clip, method, size, len(shot.frames), budget, threads))
                    shots[wanted[-1]] = shot

    missing = [m for m in wanted if m.method in options.redo or results.find(m) is None]
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(measure, m, shots[m], options.sheets): m for m in missing}
        failed = collect(running, results, lambda m: f"{m.protocol} {m.clip} {m.row}")
    print(report(results, wanted))
    if options.crops:
        write_crops(wanted, shots, options.crops)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
