"""The repository, its command line as a user calls it, and what that leaves behind."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import OpenImageIO as oiio

ROOT = Path(__file__).resolve().parents[1]


def internal_inpaint(*arguments, env=None, cwd=None):
    """Run the command line in this process: one of its own takes seconds to load PyTorch (``start``)."""
    from internal_inpaint.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, env or {}),
        contextlib.chdir(cwd or os.getcwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


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
