"""Exported models: the same fill as the renderer's, in files that old readers read; refused in one sentence."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch
from running import ROOT, frame, pixels, shot_options

from internal_inpaint import checkpoints
from internal_inpaint.cli import main
from internal_inpaint.errors import BadInput
from internal_inpaint.export import torchscript
from internal_inpaint.export.model import ExportedShot, ShotModel
from internal_inpaint.export.onnx_file import network_as_onnx, shot_as_onnx
from internal_inpaint.export.onnx_runtime import OnnxNetwork, on_onnxruntime, providers
from internal_inpaint.export.portable import PortableNetwork
from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.networks import InpaintNetwork, NetworkConfig, initialise
from internal_inpaint.methods.registry import method_of
from internal_inpaint.rendering.frames import Renderer
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.shot import WorkingSpace
from internal_inpaint.shot.colour import curve
from internal_inpaint.shot.shot import PictureData
from internal_inpaint.shot.store import reduced_pictures

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
SIZES = ((96, 128), (97, 131), (70, 45), (3, 200), (1, 1))
CLOSE = 1e-4  # of the working range


def network(kind="base", extra_planes=0, refines=False, seed=0):
    """A small network with weights that matter."""
    torch.manual_seed(seed)
    made = InpaintNetwork(NetworkConfig(kind, 0.25, extra_planes, refines)).eval()
    initialise(made, "preserving")
    for parameter in made.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return made


def on_onnx(content):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


# What the presets train: the first level, finer levels that add to the coarser picture, and those of `paper`,
# which see it and do not add to it.
NETWORKS = [
    ("base", 0, False),
    ("stacked", 0, False),
    ("coarse-to-fine", 0, False),
    ("base", 3, True),
    ("stacked", 3, True),
    ("coarse-to-fine", 3, False),
]


@pytest.mark.parametrize(("kind", "extra_planes", "refines"), NETWORKS)
def test_a_network_is_the_same_in_every_form_and_size(kind, extra_planes, refines):
    net = network(kind, extra_planes, refines)
    portable, on_runtime = PortableNetwork(net), OnnxNetwork(net, "cpu")
    session = on_onnx(network_as_onnx(net))
    # The renderer leaves twice the context round a hole for a network of two stages.
    assert (on_runtime.second is None) == (net.second is None)
    for height, width in SIZES:
        planes = torch.randn(2, 4 + extra_planes, height, width)
        planes[:, 3] = (planes[:, 3] > 0).float()
        masked, mask, extra = planes[:, :3], planes[:, 3:4], planes[:, 4:] if extra_planes else None
        with torch.no_grad():
            truth = net(masked, mask, extra)[-1]
            assert truth.std() > 0.01
            assert (portable(planes) - truth).abs().max() < CLOSE
        assert (on_runtime(masked, mask, extra)[-1] - truth).abs().max() < CLOSE
        assert np.abs(session.run(["fill"], {"planes": planes.numpy()})[0] - truth.numpy()).max() < CLOSE


def exported(canvas, sizes, paper=False):
    """A shot's networks, as `standard` trains them or as `paper` does."""
    finer = ("coarse-to-fine", 3, False) if paper else ("base", 3, True)
    kinds = [("coarse-to-fine", 0, False)] + [finer] * (len(sizes) - 1)
    networks = tuple(network(*kind, seed=number) for number, kind in enumerate(kinds))
    return ExportedShot(networks, sizes, canvas, WorkingSpace(-0.1, 0.8))


def plate_and_matte(height, width, seed=0):
    """A plate with highlights, negative and broken pixels, and a soft matte."""
    random = np.random.default_rng(seed)
    plate = np.exp2(random.uniform(-6, 6, (height, width, 3))).astype(np.float32)
    plate[random.random((height, width)) < 0.05] *= -0.1
    plate[height // 7, width // 5] = np.nan, 1.0, 1.0
    plate[height // 7, width // 4] = np.inf
    alpha = np.zeros((height, width), np.float32)
    alpha[height // 3 : height // 2, width // 4 : width // 2] = 1
    alpha[height // 2, width // 4 : width // 2] = 0.25
    # A single broken pixel under the matte: what was hole at the plate's size is hole at a coarser one.
    alpha[height // 6, width // 6] = 1
    plate[height // 6, width // 6] = np.nan
    return plate, alpha


def rendered(shot, plate, alpha, runtime="torch"):
    """What the engine's renderer makes of one picture, in float32: the fill, scene-linear."""
    broken = ~np.isfinite(plate).all(axis=2)
    outside = np.zeros_like(broken)
    data = PictureData(plate, alpha, (alpha > 0) | broken, outside, broken)
    levels = []
    for net, size in zip(shot.networks, shot.sizes, strict=True):
        with np.errstate(all="ignore"):
            values, state = reduced_pictures(data, [size])[0]
        frames = np.where(state[..., None] == 0, shot.space.from_curve(values), np.float32(0))
        levels.append(TrainedLevel(method_of(ImplicitConfig(net.config)), net, frames[None], state[None]))
    trained = TrainedShot(levels, shot.space, shot.canvas)
    if runtime == "onnx":
        trained = on_onnxruntime(trained, "cpu")
    with np.errstate(all="ignore"):
        return Renderer(trained).render(0, plate, alpha)[1]


@pytest.mark.parametrize("paper", [False, True])
def test_the_renderer_gives_the_same_fill_with_onnxruntime_on_every_level(paper):
    shot = exported((150, 201), ((75, 101), (150, 201)), paper)
    plate, alpha = plate_and_matte(150, 201)
    there = alpha > 0
    fills = (rendered(shot, plate, alpha, runtime)[there] for runtime in ("torch", "onnx"))
    truth, fill = (curve(fill) * shot.space.scale for fill in fills)
    assert truth.std() > 0.02
    assert np.abs(fill - truth).max() < CLOSE


@pytest.mark.parametrize(
    ("canvas", "sizes", "paper"),
    [
        ((90, 131), ((90, 131),), False),
        ((90, 131), ((71, 103),), False),
        ((150, 201), ((75, 101), (150, 201)), False),
        ((150, 201), ((75, 101), (140, 190)), True),
    ],
)
def test_a_model_of_a_shot_fills_as_the_renderer_does(canvas, sizes, paper):
    shot = exported(canvas, sizes, paper)
    plate, alpha = plate_and_matte(*canvas)
    there = alpha > 0
    truth = curve(rendered(shot, plate, alpha)[there]) * shot.space.scale
    fed = torch.from_numpy(np.concatenate([plate, alpha[..., None]], 2)).permute(2, 0, 1)[None].contiguous()
    with torch.no_grad():
        model = ShotModel(shot)
        scripted = model(fed)[0].permute(1, 2, 0).numpy()
        # Half precision as hosts offer it: weights and pictures alike.
        half = model.half()(fed.half())
    assert half.dtype == torch.float16
    halved = curve(half[0].permute(1, 2, 0).float().numpy()[there]) * shot.space.scale
    shot = exported(canvas, sizes, paper)
    onnx = on_onnx(shot_as_onnx(shot)).run(["fill"], {"plate": fed[:, :3].numpy(), "matte": fed[:, 3:].numpy()})[0]
    assert truth.std() > 0.1
    for fill in (scripted, onnx[0].transpose(1, 2, 0)):
        assert fill.shape == plate.shape
        assert np.isfinite(fill).all()
        assert np.abs(curve(fill[there]) * shot.space.scale - truth).max() < CLOSE
    assert np.abs(halved - truth).mean() < 0.01


def test_a_torchscript_file_needs_pytorch_alone_and_takes_any_size(tmp_path):
    """In a process that has never heard of Internal Inpaint, as in a host."""
    shot = exported((150, 201), ((75, 101), (150, 201)))
    (tmp_path / "model.pt").write_bytes(torchscript.as_torchscript(ShotModel(shot), {"about.json": "{}"}))
    pictures = {}
    for height, width in ((150, 201), (81, 43), (9, 300)):
        plate, alpha = plate_and_matte(height, width)
        pictures[f"p{height}"] = np.concatenate([plate, alpha[..., None]], 2).transpose(2, 0, 1)[None]
    np.savez(tmp_path / "in.npz", **pictures)
    code = (
        "import sys, numpy as np, torch\n"
        "model = torch.jit.load('model.pt')\n"
        "given = np.load('in.npz')\n"
        "np.savez('out.npz', **{n: model(torch.from_numpy(given[n])).detach().numpy() for n in given})\n"
        "assert 'internal_inpaint' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    with torch.no_grad():
        for name, given in pictures.items():
            truth = ShotModel(shot)(torch.from_numpy(given)).numpy()
            found = np.load(tmp_path / "out.npz")[name]
            assert found.shape == (1, 3, *given.shape[2:])
            assert np.abs(curve(found) - curve(truth)).max() * shot.space.scale < CLOSE


def test_a_torchscript_file_is_one_that_the_oldest_reader_reads(tmp_path):
    """What PyTorch 1.6.0 was seen to trip over in files of a newer one."""
    shot = exported((90, 131), ((71, 103),))
    path = tmp_path / "model.pt"
    path.write_bytes(torchscript.as_torchscript(ShotModel(shot), {}))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        code = "\n".join(archive.read(name).decode() for name in names if name.endswith(".py"))
        assert [archive.read(name) for name in names if name.endswith("/version")] == [b"3\n"]
    assert "forward" in code
    assert "NoneType" not in code
    assert not [name for name in names if name.endswith(".debug_pkl")]
    assert torchscript.as_torchscript(ShotModel(shot), {}) == path.read_bytes()


class Newer(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp2(x)


class Sliced(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.size(0) > 1:
            x = torch.tanh(x)[:, :3]
        return x


class Summed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sum(x, None, True)  # an operator that they know, with what they do not take


class Divided(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 3


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Newer(), "aten::exp2"),
        (Sliced(), "aten::slice.Tensor"),
        (Divided(), "aten::div."),
        (Summed(), "sum.dim_IntList("),
    ],
)
def test_an_operator_that_old_readers_do_not_know_or_know_otherwise_is_refused(model, named):
    with pytest.raises(BadInput, match=re.escape(named)):
        torchscript.as_torchscript(model, {})


def test_torch_jit_is_in_one_file_only():
    places = [
        path for path in (ROOT / "core").rglob("*.py") if "torch.jit" in path.read_text().replace("``torch.jit``", "")
    ]
    assert [path.name for path in places] == ["torchscript.py"]


@pytest.fixture(scope="module", autouse=True)
def in_float32():
    """Also where the CPU has bfloat16: onnxruntime computes in float32, and is compared with nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERNAL_INPAINT_PRECISION", "float32")
        yield


@pytest.fixture(scope="module")
def learned(sample, tmp_path_factory):
    """A job that has learned for two steps and rendered: its folder and output pattern."""
    folder = tmp_path_factory.mktemp("learned")
    work, output = folder / "job", folder / "clean.####.exr"
    options = ("--quality", "draft", "--steps", "2", "--device", "cpu", "--progress", "plain", "--method", "implicit")
    assert main(["run", *map(str, shot_options(sample, output, work)), *options]) == 0
    return work, output


@pytest.fixture(scope="module")
def model(learned, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    assert main(["export", str(learned[0]), "--format", "onnx", "--output", str(path)]) == 0
    return path


def test_rendering_with_onnxruntime_gives_the_same_frames(sample, learned, tmp_path, capsys):
    work, output = learned
    before = {number: pixels(frame(output, number), "float")[0] for number in sample.frames}
    assert main(["render", str(work), "--runtime", "onnx"]) == 0
    changed = False
    for number in sample.frames:
        after, _ = pixels(frame(output, number), "float")
        plate, _ = pixels(frame(sample.plate, number), "float")
        matte, _ = pixels(frame(sample.matte, number), "float")
        far = np.ones(matte.shape[:2], bool)
        rows, columns = np.nonzero(matte[..., 0])
        far[max(0, rows.min() - 12) : rows.max() + 13, max(0, columns.min() - 12) : columns.max() + 13] = False
        assert after[far].tobytes() == plate[far].tobytes()
        np.testing.assert_allclose(after, before[number], rtol=2e-3, atol=2e-4, equal_nan=True)
        changed |= not np.array_equal(after, before[number], equal_nan=True)
    # The ledger tells the runtimes apart: these were written anew, and once.
    written = [frame(output, number).stat().st_mtime_ns for number in sample.frames]
    time.sleep(0.01)
    assert main(["render", str(work), "--runtime", "onnx"]) == 0
    assert [frame(output, number).stat().st_mtime_ns for number in sample.frames] == written
    assert main(["render", str(work)]) == 0
    assert all(
        frame(output, number).stat().st_mtime_ns > before
        for number, before in zip(sample.frames, written, strict=True)
    )


def test_without_onnxruntime_it_says_what_to_install(learned, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["render", str(learned[0]), "--runtime", "onnx"]) == 2
    assert "pip install 'internal-inpaint[onnx]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", str(learned[0]), "--format", "onnx", "--output", str(learned[0] / "x.onnx")]) == 2
    assert "onnx is not installed" in capsys.readouterr().err


def test_cuda_is_taken_where_onnxruntime_has_it(monkeypatch):
    assert providers("auto") == ["CPUExecutionProvider"]
    with pytest.raises(BadInput, match="onnxruntime-gpu"):
        providers("cuda:1")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert providers("cpu") == ["CPUExecutionProvider"]
    assert [p if isinstance(p, str) else p[0] for p in providers("auto")] == ort.get_available_providers()
    assert providers("cuda:1")[0] == ("CUDAExecutionProvider", {"device_id": 1})


def test_both_formats_are_written_and_an_earlier_export_is_replaced(learned, model, tmp_path, capsys):
    path = tmp_path / "model.pt"
    for kind in ("torchscript", "onnx", "torchscript"):
        assert main(["export", str(learned[0]), "--format", kind, "--output", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"{path}: " in said
    assert "176x112" in said
    with zipfile.ZipFile(path) as archive:
        (about,) = (
            json.loads(archive.read(name))
            for name in archive.namelist()
            if name.endswith("/extra/internal_inpaint.json")
        )
    assert about["channels_in"] == ["red", "green", "blue", "matte"]
    assert [item.name for item in tmp_path.iterdir()] == ["model.pt"]
    inputs = on_onnx(model.read_bytes()).get_inputs()
    assert [(value.name, value.shape) for value in inputs] == [
        ("plate", ["batch", 3, "height", "width"]),
        ("matte", ["batch", 1, "height", "width"]),
    ]


def test_a_checkpoint_that_a_run_replaces_while_it_is_read_is_no_damaged_one(learned, tmp_path, monkeypatch, capsys):
    work = tmp_path / "job"
    shutil.copytree(learned[0], work)
    (level,) = (work / "checkpoints").iterdir()
    (newest,) = level.iterdir()
    read = checkpoints.load_best

    def replaced(place, *rest):
        if newest.exists():
            newest.rename(level / "step-0000000003.000")
        return read(place, *rest)

    monkeypatch.setattr(checkpoints, "load_best", replaced)
    done = main(["export", str(work), "--format", "onnx", "--output", str(tmp_path / "model.onnx")])
    assert done == 0, capsys.readouterr().err


def test_what_cannot_be_exported_is_refused_in_one_sentence(learned, sample, tmp_path, capsys):
    work, _ = learned
    foreign = tmp_path / "mine.pt"
    foreign.write_bytes(b"mine")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("a/b", "c")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "job.json").write_text((work / "job.json").read_text())
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "job.json").write_text((work / "job.json").read_text())
    (gone / "checkpoints").symlink_to(work / "checkpoints")
    plate = frame(sample.plate, sample.frames[0])
    for folder, kind, target, said in (
        (work, "coreml", tmp_path / "m", "invalid choice"),
        (work, "onnx", tmp_path, "is a folder"),
        (work, "onnx", tmp_path / "no" / "m.onnx", "does not exist"),
        (work, "onnx", foreign, "not an earlier export"),
        (work, "torchscript", tmp_path / "mine.zip", "not an earlier export"),
        (work, "torchscript", plate, "not an earlier export"),
        (work, "torchscript", " ", "--output is empty"),
        (empty, "onnx", tmp_path / "m", "no checkpoint"),
        (gone, "onnx", tmp_path / "m", "creates it again"),
        (tmp_path / "nothing", "onnx", tmp_path / "m", "does not exist"),
    ):
        assert main(["export", str(folder), "--format", kind, "--output", str(target)]) == 2, said
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert said in lines[0]
    assert foreign.read_bytes() == b"mine"
    assert not (tmp_path / "m").exists()


def test_the_script_in_the_docs_does_what_it_says(learned, model, sample, tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.S)
    number = sample.frames[0]
    here = tmp_path
    (here / "model.onnx").write_bytes(model.read_bytes())
    (here / "plate.1001.exr").write_bytes(frame(sample.plate, number).read_bytes())
    matte, _ = pixels(frame(sample.matte, number), "float")
    # As the run grows and feathers it: any matte above 0 in a few pixels will do here.
    (here / "matte.1001.exr").write_bytes(frame(sample.matte, number).read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=here, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    clean, spec = pixels(here / "clean.1001.exr", "float")
    plate, before = pixels(here / "plate.1001.exr", "float")
    assert spec.channelnames == before.channelnames
    hole = matte[..., 0] > 0 if matte.shape[:2] == plate.shape[:2] else None
    assert hole is not None
    assert clean[~hole].tobytes() == plate[~hole].tobytes()
    assert (clean[hole][:, :3] != plate[hole][:, :3]).mean() > 0.9
    assert np.isfinite(clean[hole]).all()
