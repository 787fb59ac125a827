"""The contact sheet of a run: what it shows of bright and broken pixels, and how much it costs of a large plate."""

import numpy as np
import OpenImageIO as oiio
import pytest
import torch

from internal_inpaint.methods.implicit.config import ImplicitConfig
from internal_inpaint.methods.implicit.method import ImplicitMethod
from internal_inpaint.preview import Preview
from internal_inpaint.rendering.trained_shot import TrainedLevel, TrainedShot
from internal_inpaint.report.contact_sheet import GAP, MOST_WIDTH, Row, write_contact_sheet

SIZES = [(240, 443), (540, 960), (1080, 1920)]
LEVELS = [
    TrainedLevel(ImplicitMethod(ImplicitConfig()), torch.nn.Identity(), np.zeros((1, *size, 3)), np.zeros((1, *size)))
    for size in SIZES
]


def trained(levels):
    return TrainedShot(tuple(levels), None, SIZES[-1])


@pytest.mark.parametrize(("width", "levels"), [(300, 1), (480, 2), (960, 2), (961, 3), (9999, 3)])
def test_of_a_large_plate_no_more_levels_are_rendered_than_can_be_seen(width, levels):
    assert trained(LEVELS).up_to(width).levels == tuple(LEVELS[:levels])


def test_while_a_level_finer_than_the_sheet_is_learned_the_sheet_is_made_once(tmp_path, monkeypatch):
    preview, made = Preview(None, [0], tmp_path / "sheet.png"), []
    monkeypatch.setattr(preview, "renew", lambda shown: made.append(len(shown.levels)))
    for learning in (1, 2, 3, 3, 3):
        preview.renew_if_cheap(lambda learning=learning: trained(LEVELS[:learning]))
    assert made == [1, 2, 2]


def test_a_large_frame_is_reduced_in_light_and_nothing_broken_is_shown(tmp_path):
    plate = np.zeros((8, 2 * MOST_WIDTH, 3), np.float32)
    plate[::2] = 1000  # white, however bright: half of the light where lines alternate
    plate[:, MOST_WIDTH:] = np.nan
    write_contact_sheet([Row(1001, plate, np.zeros(plate.shape[:2]), plate, plate)], tmp_path / "sheet.png")
    sheet = oiio.ImageBuf(str(tmp_path / "sheet.png")).get_pixels(oiio.UINT8)
    assert sheet.shape[1] == 4 * (MOST_WIDTH + GAP)
    shown = sheet[-1, GAP : GAP + MOST_WIDTH]
    assert (shown[: MOST_WIDTH // 2] == 188).all(), "half of the light"
    assert (shown[MOST_WIDTH // 2 :] == 0).all()
