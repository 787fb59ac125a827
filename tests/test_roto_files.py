"""Mattes as files: what an artist gets to look at and gives back."""

import numpy as np
import OpenImageIO as oiio
import pytest
from shot_files import shared_exr, write_matte, write_plate

from internal_inpaint.errors import BadInput
from internal_inpaint.roto import MatteWriter
from internal_inpaint.shot import ShotSettings, open_shot


def test_written_mattes_are_read_back_as_the_shots_mattes(tmp_path):
    for frame in (1001, 1002):
        write_plate(tmp_path / f"plate.{frame}.exr", seed=frame)
        write_matte(tmp_path / f"roto.{frame}.exr")
    plate = str(tmp_path / "plate.####.exr")
    shot = open_shot(ShotSettings(plate, str(tmp_path / "roto.####.exr")))
    writer = MatteWriter(shot, str(tmp_path / "auto.####.exr"))
    rng, written = np.random.default_rng(0), {}
    for frame in shot.frames:
        written[frame] = rng.integers(0, 65, (shot.canvas.height, shot.canvas.width)).astype(np.float32) / 64
        assert writer.write(frame, {"": written[frame]}) == tmp_path / f"auto.{frame}.exr"
    again = open_shot(ShotSettings(plate, str(tmp_path / "auto.####.exr")))
    for index, frame in enumerate(shot.frames):
        np.testing.assert_array_equal(again.load_matte(index), written[frame])
    spec = oiio.ImageInput.open(str(tmp_path / "auto.1001.exr")).spec()
    assert (spec.channelnames, str(spec.format), spec["compression"]) == (("A",), "half", "zip")
    assert not list(tmp_path.glob(".*"))


def test_windows_are_the_plates(tmp_path):
    display, data = (0, 0, 40, 30), (-4, 3, 30, 20)
    write_plate(tmp_path / "plate.exr", data[3], data[2], display=display, origin=data[:2])
    write_matte(tmp_path / "roto.exr", display[3], display[2])
    plate = str(tmp_path / "plate.exr")
    shot = open_shot(ShotSettings(plate, str(tmp_path / "roto.exr")))
    matte = np.zeros((shot.canvas.height, shot.canvas.width), np.float32)
    matte[5:9, 7:20] = 0.5
    MatteWriter(shot, str(tmp_path / "auto.exr")).write(shot.frames[0], {"": matte})
    spec = oiio.ImageInput.open(str(tmp_path / "auto.exr")).spec()
    assert (spec.x, spec.y, spec.width, spec.height) == data
    assert (spec.full_x, spec.full_y, spec.full_width, spec.full_height) == display
    np.testing.assert_array_equal(open_shot(ShotSettings(plate, str(tmp_path / "auto.exr"))).load_matte(0), matte)


def test_every_view_gets_its_own_matte(tmp_path):
    plate = str(shared_exr("multiview/Fog.exr"))
    shot = open_shot(ShotSettings(plate, matte_channel="Y"))
    assert len(shot.views) > 1
    shape = shot.canvas.height, shot.canvas.width
    mattes = {view: np.full(shape, (n + 1) / 4, np.float32) for n, view in enumerate(shot.views)}
    path = MatteWriter(shot, str(tmp_path / "auto.exr")).write(shot.frames[0], mattes)
    again = open_shot(ShotSettings(plate, str(path)))
    assert again.warnings == shot.warnings
    for picture in again.pictures:
        np.testing.assert_array_equal(again.load_matte(picture.index), mattes[picture.view])


@pytest.mark.parametrize("output", ["roto.####.exr", "plate.####.exr", "auto.####.png", "auto"])
def test_what_cannot_be_written_is_refused(tmp_path, output):
    for frame in (1001, 1002):
        write_plate(tmp_path / f"plate.{frame}.exr")
        write_matte(tmp_path / f"roto.{frame}.exr")
    shot = open_shot(ShotSettings(str(tmp_path / "plate.####.exr"), str(tmp_path / "roto.####.exr")))
    with pytest.raises(BadInput, match="--output"):
        MatteWriter(shot, str(tmp_path / output))
