"""The repository, its command line as a user calls it, and what that leaves behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import OpenImageIO as oiio

ROOT = Path(__file__).resolve().parents[1]


def internal_inpaint(*arguments, **options):
    """Run the command line in a process of its own and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "internal_inpaint", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ, **options.pop("env", {})),
        **options,
    )


def shot_options(sample, output, work):
    return ["--plate", sample.plate, "--matte", sample.matte, "--output", output, "--work", work]


def frame(pattern, number):
    return Path(str(pattern).replace("####", f"{number:04d}"))


def pixels(path, kind="half"):
    image = oiio.ImageInput.open(str(path))
    read = image.read_image(0, 0, 0, image.spec().nchannels, kind)
    spec = image.spec()
    image.close()
    return read, spec


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "internal_inpaint", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended too soon: {process.communicate()}"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def status(work):
    try:
        return json.loads((Path(work) / "status.json").read_text())
    except FileNotFoundError:
        return {}
