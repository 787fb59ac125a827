"""What no frame shows: pieces of the surroundings, put together once in a key frame and carried to the others."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from exact_motion import moving_hole, panning

from internal_inpaint.errors import OutOfResources
from internal_inpaint.motion.field import FUTURE, PAST
from internal_inpaint.pixel_state import PixelState
from internal_inpaint.rendering.copy_source import CopySource
from internal_inpaint.rendering.copying import ShotCopies
from internal_inpaint.rendering.exemplar import exemplar_fill
from internal_inpaint.rendering.texture import KEYS, KeyFrame, Texture, camera_between, low_frequencies, make_keys
from internal_inpaint.rendering.texture_file import read_keys, write_keys
from internal_inpaint.resample import push_pull, reduce_area, reduce_max

LARGE, SIZE = (270, 480), (90, 160)


def stripes(size, period=12, seed=0):
    """Slanted stripes with fine noise: structure that must go on, and detail that must be there."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = np.sign(np.sin(2 * np.pi * (x + 0.5 * y) / period))
    noise = np.random.default_rng(seed).normal(0, 0.1, size)
    return np.repeat((0.5 * waves + noise)[..., None], 3, axis=2).astype(np.float32)


def with_hole(picture, rows, columns):
    missing = np.zeros(picture.shape[:2], bool)
    missing[rows, columns] = True
    return push_pull(picture, ~missing), missing


class TestExemplar:
    @pytest.mark.parametrize(("size", "period"), [((120, 200), 12), (LARGE, 27), ((540, 960), 54), ((540, 960), 5)])
    def test_structure_goes_on_with_its_detail(self, size, period):
        """Also structure that is too fine for the reduced picture in which pieces are searched."""
        scale = size[0] / 120
        truth = stripes(size, period)
        rows, columns = slice(int(40 * scale), int(80 * scale)), slice(int(70 * scale), int(120 * scale))
        smooth, missing = with_hole(truth, rows, columns)
        made = exemplar_fill(smooth, missing, ~missing)
        np.testing.assert_array_equal(made[~missing], truth[~missing])

        def detail(picture):
            return (picture - cv2.GaussianBlur(picture, (0, 0), 1.5))[rows, columns]

        assert detail(smooth).std() < 0.2 * detail(truth).std()
        assert detail(made).std() == pytest.approx(detail(truth).std(), rel=0.25)
        wrong = {name: np.abs(p - truth)[rows, columns].mean() for name, p in (("smooth", smooth), ("made", made))}
        assert wrong["made"] < 0.6 * wrong["smooth"], "the stripes meet"

    def test_pieces_come_from_where_they_may(self):
        truth = stripes(LARGE)
        truth[:, 200:, 2] += 0.1  # marks what is known, but must not be repeated
        smooth, missing = with_hole(truth, slice(80, 160), slice(300, 380))
        allowed = ~missing
        allowed[:, 200:] = False
        made = exemplar_fill(smooth, missing, allowed)
        inner = slice(90, 150), slice(310, 370)
        assert np.abs(made[..., 2] - made[..., 0])[inner].max() < 0.01
        free = exemplar_fill(smooth, missing, ~missing)
        assert np.abs(free[..., 2] - free[..., 0])[inner].mean() > 0.05

    @pytest.mark.parametrize("size", [(1, 1), (2, 7), (16, 16), (50, 400)])
    @pytest.mark.parametrize("all_missing", [False, True])
    def test_where_there_is_nothing_to_take_the_picture_stays(self, size, all_missing):
        picture = stripes(size)
        missing = np.zeros(size, bool)
        missing[size[0] // 3 :] = True
        missing |= all_missing
        np.testing.assert_array_equal(exemplar_fill(picture, missing, np.zeros(size, bool)), picture)
        made = exemplar_fill(picture, missing, ~missing)
        assert np.isfinite(made).all()
        np.testing.assert_array_equal(made[~missing], picture[~missing])

    def test_holes_at_the_edge_and_over_most_of_the_picture(self):
        for rows, columns in (
            (slice(0, 60), slice(0, 90)),
            (slice(200, 270), slice(400, 480)),
            (slice(30, 270), slice(60, 480)),
        ):
            smooth, missing = with_hole(stripes(LARGE), rows, columns)
            made = exemplar_fill(smooth, missing, ~missing)
            filled = (made != smooth).any(axis=2)
            assert filled[missing].mean() > 0.95


def unseen_shot(count=9, pan=(4.0, 0.0), hole=(30, 50, 60, 100)):
    """Behind a camera that pans slowly, a hole that moves with the background: no frame ever shows it."""
    wide = stripes((LARGE[0], LARGE[1] + 200))
    pictures = np.stack([wide[:, 100 - round(index * pan[0]) :][:, : LARGE[1]] for index in range(count)])
    top, bottom, left, right = (3 * side for side in hole)
    state = moving_hole(count, tuple(round(p) for p in pan), LARGE, (top, left), (bottom - top, right - left))
    store = np.stack([push_pull(p, s == 0) for p, s in zip(pictures, state, strict=True)])
    small = np.stack([reduce_area(picture, SIZE) for picture in store])
    level = CopySource(small, np.stack([reduce_max(s, SIZE) for s in state]), panning(count, (pan[0] / 3, 0.0), SIZE))
    return ShotCopies(level, CopySource(store, state, panning(count, pan, LARGE)), 0.5), pictures


def undecided(index, planes):
    return np.zeros((*planes["weights"].shape[1:], 9), np.float32)


@pytest.fixture(scope="module")
def shot():
    copies, truth = unseen_shot()
    keys = copies.key_frames()
    return copies, copies.textured(keys), keys, truth


class TestTexture:
    def test_one_frame_is_the_key_and_every_frame_has_its_detail(self, shot):
        copies, textured, keys, truth = shot
        assert len(keys) == 1
        for index in (0, 4, 8):
            soft, sharp = copies.fill(undecided, index), textured.fill(undecided, index)
            inner = cv2.erode(sharp.hidden.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            clean = truth[index][sharp.box]

            def detail(picture, where=inner):
                return (picture - cv2.GaussianBlur(picture, (0, 0), 1.5))[where].std()

            assert detail(soft.picture) < 0.2 * detail(clean)
            assert 0.6 * detail(clean) < detail(sharp.picture) < 1.2 * detail(clean)
            assert sharp.texture[inner].min() > 0.9
            np.testing.assert_array_equal(sharp.picture[~sharp.hidden], soft.picture[~soft.hidden])

    def test_the_detail_sticks_to_the_background(self, shot):
        _, textured, _, _ = shot
        one, other = (textured.fill(undecided, index) for index in (2, 7))
        # The hole moves by whole pixels with the background, and its box with it.
        inner = slice(12, -12), slice(12, -12)
        assert np.abs(one.picture[inner] - other.picture[inner]).mean() < 0.03
        assert one.picture[inner].std() > 0.3

    def test_the_light_is_the_frames_own(self, shot):
        copies, textured, keys, _ = shot
        brighter = copies.plate.frames.copy()
        brighter[6] += 0.2
        small = copies.level.frames.copy()
        small[6] += 0.2
        lit = replace(
            textured,
            level=CopySource(small, copies.level.state, copies.level.motion),
            plate=CopySource(brighter, copies.plate.state, copies.plate.motion),
        )
        before, after = textured.fill(undecided, 6), lit.fill(undecided, 6)
        inner = cv2.erode(before.hidden.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert (after.picture - before.picture)[inner].mean() == pytest.approx(0.2, abs=0.02)
        assert len(keys) == 1

    def test_small_previews_have_it_too(self, shot):
        _, textured, _, _ = shot
        small = textured.at_level()
        filled = small.fill(undecided, 5)
        assert filled.texture[filled.hidden].mean() > 0.8
        assert small.texture.keys[0].picture.shape == (*SIZE, 3)

    def test_what_is_seen_gets_none(self):
        state = moving_hole(8, (42, 6), LARGE, (90, 40), (60, 60))
        wide = stripes(LARGE)
        frames = np.broadcast_to(wide, (8, *LARGE, 3))
        small = np.broadcast_to(reduce_area(wide, SIZE), (8, *SIZE, 3))
        level = CopySource(small, np.stack([reduce_max(s, SIZE) for s in state]), panning(8, (0, 0), SIZE))
        copies = ShotCopies(level, CopySource(frames, state, panning(8, (0, 0), LARGE)), 0.5)
        assert copies.key_frames() == []
        assert copies.textured([]) is copies

    def test_a_network_that_finds_a_copy_is_heard(self, shot):
        """Its word counts where the motion found too little, and the other way round."""
        _, textured, _, _ = shot
        index = 4
        filled = textured.fill(undecided, index)
        sure = replace(
            filled, weights=np.concatenate([np.ones_like(filled.weights[..., :1]), 0 * filled.weights[..., 1:]], 2)
        )
        found = replace(filled.candidates.found, frame=np.zeros_like(filled.candidates.found.frame))
        sure = replace(sure, candidates=replace(filled.candidates, found=found))
        assert not textured._textured(sure).texture.any()


class TestKeys:
    """Of motions alone: which frames are chosen."""

    def chosen(self, motion, count, views, unseen):
        made = []

        def seen(index):
            made.append(index)
            picture = np.zeros((*motion.size, 3), np.float32)
            return type("Seen", (), {"picture": picture, "unseen": picture[..., 0] > 0, "sure": picture[..., 0] == 0})

        keys = make_keys(motion, count, views, unseen, seen)
        assert [key.index for key in keys] == made
        return made

    @staticmethod
    def block(side, left=10):
        rows, columns = np.mgrid[20 : 20 + side, left : left + side]
        return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)

    def test_the_frame_that_lacks_most(self):
        assert self.chosen(panning(9, (0, 0)), 9, 1, lambda index: self.block(10 if index == 5 else 8)) == [5]

    def test_nothing_for_a_few_pixels(self):
        assert self.chosen(panning(9, (0, 0)), 9, 1, lambda index: self.block(1)) == []

    def test_further_ones_for_what_lies_outside_the_first(self):
        assert len(self.chosen(panning(12, (30.0, 0)), 12, 1, lambda index: self.block(10))) == KEYS

    def test_each_side_of_a_cut_and_each_view_has_its_own(self):
        motion = panning(10, (0, 0))
        motion.linked[4, FUTURE] = motion.linked[5, PAST] = False
        one, two = self.chosen(motion, 10, 1, lambda index: self.block(10))
        assert one <= 4 < two
        left, right = self.chosen(panning(10, (0, 0), views=2), 10, 2, lambda index: self.block(10))
        assert (left % 2, right % 2) == (0, 1)

    def test_the_way_from_picture_to_picture(self):
        motion = panning(10, (3.0, -1.0))
        np.testing.assert_allclose(camera_between(motion, 2, 7)[:2, 2], (15, -5), atol=1e-6)
        np.testing.assert_allclose(camera_between(motion, 7, 2)[:2, 2], (-15, 5), atol=1e-6)
        motion.linked[4, FUTURE] = motion.linked[5, PAST] = False
        assert camera_between(motion, 2, 7) is None
        assert camera_between(motion, 7, 2) is None
        stereo = panning(10, (3.0, -1.0), views=2)
        np.testing.assert_allclose(camera_between(stereo, 1, 7)[:2, 2], (9, -3), atol=1e-6)
        assert camera_between(stereo, 1, 6) is None
        assert camera_between(stereo, 6, 1) is None


def test_low_frequencies_of_a_part_are_those_of_the_whole():
    picture = cv2.GaussianBlur(stripes(LARGE), (0, 0), 30)
    picture += np.linspace(0, 1, LARGE[1], dtype=np.float32)[:, None]
    whole = low_frequencies(picture, LARGE[0])
    part = low_frequencies(picture[60:200, 100:400], LARGE[0])
    assert np.abs(part - whole[60:200, 100:400])[40:-40, 40:-40].max() < 0.02
    assert np.abs(low_frequencies(stripes(LARGE), LARGE[0])).max() < 0.1


class TestFile:
    @pytest.fixture
    def files(self, tmp_path):
        return tmp_path / "texture.npy", tmp_path / "texture.json"

    def keys(self):
        rng = np.random.default_rng(0)
        return [KeyFrame(index, rng.normal(0, 0.2, (6, 8, 3)).astype(np.float16)) for index in (3, 17)]

    def test_what_was_written_comes_back(self, files):
        write_keys(*files, "one", self.keys())
        for mine, theirs in zip(self.keys(), read_keys(*files, "one", (6, 8)), strict=True):
            assert mine.index == theirs.index
            np.testing.assert_array_equal(mine.picture, theirs.picture)
        assert not list(files[0].parent.glob(".*"))

    def test_a_shot_that_needs_none_is_remembered_as_such(self, files):
        write_keys(*files, "one", self.keys())
        write_keys(*files, "two", [])
        assert read_keys(*files, "two", (6, 8)) == []
        assert read_keys(*files, "one", (6, 8)) is None
        assert not files[0].exists()

    @pytest.mark.parametrize(
        "damage",
        [
            lambda detail, about: detail.unlink(),
            lambda detail, about: detail.write_bytes(detail.read_bytes()[:-2]),
            lambda detail, about: detail.write_bytes(detail.read_bytes()[:-2] + b"\0\0"),
            lambda detail, about: about.write_text("{"),
            lambda detail, about: about.write_text("[]"),
            lambda detail, about: about.write_text(about.read_text().replace("17", '"x"')),
            lambda detail, about: about.unlink(),
        ],
    )
    def test_what_is_damaged_is_made_anew(self, files, damage):
        write_keys(*files, "one", self.keys())
        damage(*files)
        assert read_keys(*files, "one", (6, 8)) is None

    def test_of_another_shot_or_size_it_is_none(self, files):
        write_keys(*files, "one", self.keys())
        assert read_keys(*files, "two", (6, 8)) is None
        assert read_keys(*files, "one", (8, 6)) is None

    def test_a_full_disk_is_one_sentence(self, files, monkeypatch):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full)
        with pytest.raises(OutOfResources, match=r"texture\.npy"):
            write_keys(*files, "one", self.keys())
        assert read_keys(*files, "one", (6, 8)) is None


def test_where_no_key_frame_reaches_there_is_no_detail():
    motion = panning(6, (30.0, 0))
    picture = np.zeros((*motion.size, 3), np.float16)
    picture[::2, ::2] = 0.4  # of mean 0.1
    texture = Texture([KeyFrame(0, picture)], motion)
    found, low, there = texture.detail(1, np.float32([[4, 4], [70, 4], [71, 5]]))
    assert there.tolist() == [False, True, True]
    np.testing.assert_allclose(low, [[0] * 3, [0.1] * 3, [0.1] * 3], atol=0.02)
    np.testing.assert_allclose(found, [[0] * 3, [0.3] * 3, [-0.1] * 3], atol=0.02)
    nearest = Texture([KeyFrame(0, picture), KeyFrame(2, 0.5 * picture)], motion)
    found, _, there = nearest.detail(3, np.float32([[70, 4]]))
    assert there.all()
    np.testing.assert_allclose(found, 0.15, atol=0.01)


def test_of_something_else_there_is_no_detail(shot):
    """Foam that is there in the key frame only: its detail on dark water would have the wrong colours."""
    copies, textured, keys, _ = shot
    darker = [KeyFrame(key.index, (key.picture - 0.8).astype(np.float16)) for key in keys]
    other = Texture(darker, copies.plate.motion)
    soft, none = copies.fill(undecided, 4), replace(textured, texture=other).fill(undecided, 4)
    assert not none.texture.any()
    np.testing.assert_array_equal(none.picture, soft.picture)
    np.testing.assert_array_equal(none.copied, soft.copied)


def test_a_hole_that_only_the_reduced_picture_has_needs_no_texture():
    copies, _ = unseen_shot(count=4)
    state = np.zeros_like(copies.plate.state)
    plate = CopySource(copies.plate.frames, state, copies.plate.motion)
    (key,) = replace(copies, plate=plate).key_frames()
    assert np.isfinite(key.picture).all()


def test_unknown_pixels_outside_the_data_window_are_no_source():
    copies, _ = unseen_shot()
    state = copies.plate.state.copy()
    state[:, :, 400:] = PixelState.OUTSIDE
    seen = replace(copies, plate=CopySource(copies.plate.frames, state, copies.plate.motion))._seen(0)
    assert not seen.sure[:, 400:].any()
    assert not seen.unseen[:, 400:].any()
    assert seen.unseen.any()
    assert not (seen.sure & seen.unseen).any()
