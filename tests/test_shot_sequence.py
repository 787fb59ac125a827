"""Sequences on disk: every way of writing a pattern, gaps, ranges."""

import pytest

from internal_inpaint.errors import BadInput
from internal_inpaint.shot.sequence import (
    compact_frames,
    find_sequence,
    output_path,
    parse_frame_range,
    select_frames,
)


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).touch()
        return tmp_path

    return make


@pytest.mark.parametrize("token", ["####", "%04d", "@@@@", "#", "%d", "@"])
def test_patterns_find_padded_frames_across_a_thousand(folder, token):
    where = folder("a.0998.exr", "a.0999.exr", "a.1000.exr", "b.0998.exr", "a.0998.jpg", ".a.0997.part.exr")
    found = find_sequence(str(where / f"a.{token}.exr"))
    assert found.frames == (998, 999, 1000)
    assert [found.path(frame).name for frame in found.frames] == ["a.0998.exr", "a.0999.exr", "a.1000.exr"]


def test_padding_that_runs_over_keeps_counting(folder):
    found = find_sequence(str(folder("a.9999.exr", "a.10000.exr") / "a.####.exr"))
    assert found.frames == (9999, 10000)
    assert found.path(10000).name == "a.10000.exr"


def test_single_hash_finds_unpadded_frames(folder):
    found = find_sequence(str(folder("b.8.exr", "b.9.exr", "b.10.exr") / "b.#.exr"))
    assert [found.path(frame).name for frame in found.frames] == ["b.8.exr", "b.9.exr", "b.10.exr"]


def test_single_hash_over_two_paddings_is_ambiguous(folder):
    where = folder("a.0001.exr", "a.0002.exr", "a.00001.exr")
    with pytest.raises(BadInput, match="paddings"):
        find_sequence(str(where / "a.#.exr"))


@pytest.mark.parametrize("name", ["sh#12@x 1-5%04d", "ünï"])
def test_folders_may_be_called_anything(tmp_path, name):
    where = tmp_path / name
    where.mkdir()
    for file in ("plâ te(1).0001.exr", "plâ te(1).0002.exr"):
        (where / file).touch()
    for pattern in (where / "plâ te(1).####.exr", where):
        found = find_sequence(str(pattern))
        assert found.frames == (1, 2)
        assert found.path(2).exists()
    assert output_path(str(where / "o.####.exr"), 3) == where / "o.0003.exr"


@pytest.mark.parametrize("name", ["<b>a.####.exr", "a<UDIM>.####.exr"])
def test_no_part_of_a_name_is_lost(tmp_path, name):
    with pytest.raises(BadInput, match="remove < and >"):
        output_path(str(tmp_path / name), 3)


@pytest.mark.parametrize("name", ["a.%04d%04d.exr", "a.#.#.exr"])
def test_two_frame_tokens_in_one_name_are_refused(tmp_path, name):
    with pytest.raises(BadInput, match="is not valid"):
        find_sequence(str(tmp_path / name))


def test_wrong_padding_names_what_is_there(folder):
    with pytest.raises(BadInput, match=r"no matte frames match .*found a\.0001\.exr"):
        find_sequence(str(folder("a.0001.exr") / "a.######.exr"), "matte")


def test_a_folder_is_its_one_sequence(folder):
    found = find_sequence(str(folder("00000.jpg", "00001.jpg", "notes.txt", ".00000.part.jpg")))
    assert found.frames == (0, 1)
    assert found.path(1).name == "00001.jpg"


def test_a_folder_of_several_sequences_is_refused_and_lists_them(folder):
    with pytest.raises(BadInput, match=r"2 sequences .*a\.####\.exr"):
        find_sequence(str(folder("a.0001.exr", "a.0002.exr", "b.0001.exr", "b.0002.exr")))


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(BadInput, match="contains no images"):
        find_sequence(str(tmp_path))
    with pytest.raises(BadInput, match="folder of the plate"):
        find_sequence(str(tmp_path / "gone" / "a.####.exr"))


@pytest.mark.parametrize(
    ("name", "frame", "numbered"),
    [
        ("plate.1001.exr", 1001, True),
        ("plate_0007.exr", 7, True),
        ("00012.png", 12, True),
        ("roto.exr", 1, False),
        ("roto_v002.exr", 1, False),
    ],
)
def test_single_files(folder, name, frame, numbered):
    found = find_sequence(str(folder(name) / name))
    assert (found.frames, found.numbered) == ((frame,), numbered)
    assert found.path(frame).name == name
    assert found.path(frame).exists()


def test_an_unnumbered_file_serves_every_frame(folder):
    found = find_sequence(str(folder("roto.exr") / "roto.exr"), "matte")
    assert found.path(1050).name == "roto.exr"


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001-1004", (1001, 1002, 1003, 1004)),
        ("1001-1003,1020", (1001, 1002, 1003, 1020)),
        ("1001-1008x3", (1001, 1004, 1007)),
        ("5", (5,)),
        ("-2-1", (-2, -1, 0, 1)),
        ("3-1", (1, 2, 3)),
        ("1-3, 2-4", (1, 2, 3, 4)),
    ],
)
def test_frame_ranges(text, frames):
    assert parse_frame_range(text) == frames


@pytest.mark.parametrize("text", ["", "abc", "1-", "1-10:3", "1-10y2", "1-10x0", "1,,2", "1-99999999999", "1.5"])
def test_frame_ranges_that_make_no_sense(text):
    with pytest.raises(BadInput, match="frame range"):
        parse_frame_range(text)


def test_gaps_are_named_compactly(folder):
    where = folder(*(f"a.{frame}.exr" for frame in (1010, 1011, 1015, 1016, 1018)))
    plate = find_sequence(str(where / "a.####.exr"))
    with pytest.raises(BadInput, match=r"has no frames 1012-1014, 1017;"):
        select_frames(plate, None)
    with pytest.raises(BadInput, match=r"has no frames 1009, 1012 of --frames"):
        select_frames(plate, "1009-1012")
    assert select_frames(plate, "1015-1016,1018") == (1015, 1016, 1018)


def test_output_paths(tmp_path):
    assert output_path(str(tmp_path / "c.####.exr"), 7).name == "c.0007.exr"
    assert output_path(str(tmp_path / "c.%06d.exr"), 7).name == "c.000007.exr"
    assert output_path(str(tmp_path / "c.exr"), 7, several=False).name == "c.exr"
    with pytest.raises(BadInput, match="no frame number"):
        output_path(str(tmp_path / "c.exr"), 7)
    with pytest.raises(BadInput, match="is a folder"):
        output_path(str(tmp_path), 7)


def test_compact_frames():
    assert compact_frames([1020, 1012, 1013, 1014]) == "1012-1014, 1020"
