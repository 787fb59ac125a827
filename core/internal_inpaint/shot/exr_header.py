"""Copies the attributes of an EXR file byte for byte.

OpenImageIO keeps only the attributes that it can translate. It drops empty strings, doubles, the preview and unknown
types, loses the channels' pLinear hint, and adds attributes such as `capDate` and `ResolutionUnit`. The output must
keep all of the plate's attributes. So the writer lets OpenImageIO write the pixels, and then replaces the new file's
attributes with the plate's, except those that describe the storage (windows, channels, compression, tiles, chunks).

Layout of an EXR file: magic number, version and flags; one header per part (attributes as name, type, size, value; an
empty name ends a header, and in a multi-part file an empty header ends the list); the absolute offset of every chunk;
the chunks.
"""

from __future__ import annotations

import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = 20000630
_MULTI_PART = 0x1000
_LONG_NAMES = 0x400
# These describe how the new file is stored.
_STORAGE = frozenset({"compression", "dataWindow", "displayWindow", "lineOrder", "tiles", "type", "chunkCount"})
# An attribute that belongs to one lossy compression, gone with it.
_LOSSY_ONLY = frozenset({"dwaCompressionLevel"})


@dataclass(frozen=True)
class Attribute:
    """One attribute of a header: its type name and its value as bytes."""

    type: str
    value: bytes


Header = dict[str, Attribute]


def read_attributes(path: Path) -> list[Header]:
    """The attributes of every part of an EXR file, in file order."""
    with path.open("rb") as file:
        return _read_headers(file)[1]


def restore_attributes(written: Path, plate: Path) -> None:
    """Replaces the attributes of `written` with those of `plate`; both must have the same parts in the same order.

    Attributes that the plate does not have are dropped; channels that it does not have stay. Raises ValueError if the
    files do not match, OSError if writing fails.
    """
    plate_flags, plate_headers = _headers_of(plate)
    with written.open("rb") as source:
        flags, headers = _read_headers(source)
        if len(headers) != len(plate_headers):
            raise ValueError("the written file has other parts than the plate")
        merged = [_merge(new, old) for new, old in zip(headers, plate_headers, strict=True)]
        table_start = source.tell()
        offsets = _read_offsets(source, table_start, written.stat().st_size)
        head = _pack_headers(flags | (plate_flags & _LONG_NAMES), merged)
        shift = len(head) - table_start
        restored = written.with_name(f"{written.name}.head")
        try:
            with restored.open("wb") as target:
                target.write(head)
                target.write(struct.pack(f"<{len(offsets)}Q", *(offset + shift for offset in offsets)))
                shutil.copyfileobj(source, target, 1 << 20)
            os.replace(restored, written)
        except BaseException:
            restored.unlink(missing_ok=True)
            raise


def _headers_of(path: Path) -> tuple[int, list[Header]]:
    with path.open("rb") as file:
        return _read_headers(file)


def _read_headers(file: BinaryIO) -> tuple[int, list[Header]]:
    """Version and flags, and every header; the file is left at the start of the offset tables."""
    magic, version = struct.unpack("<II", file.read(8))
    if magic != _MAGIC:
        raise ValueError("not an EXR file")
    headers: list[Header] = []
    while header := _read_header(file):
        headers.append(header)
        if not version & _MULTI_PART:
            break
    return version, headers


def _read_header(file: BinaryIO) -> Header:
    header: Header = {}
    while name := _read_name(file):
        kind = _read_name(file)
        (size,) = struct.unpack("<i", file.read(4))
        header[name] = Attribute(kind, file.read(size))
    return header


def _read_name(file: BinaryIO) -> str:
    name = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte:
            raise ValueError("the header ends early")
        name += byte
    # Latin-1 keeps every byte as it is, whatever encoding the writer used.
    return name.decode("latin-1")


def _read_offsets(file: BinaryIO, start: int, file_size: int) -> list[int]:
    """All chunk offsets. The tables end where the first chunk begins.

    Raises OSError if they are not those of a whole file: where the disk is full just before its end, OpenEXR's last
    write can fail without a word.
    """
    offsets: list[int] = []
    first_chunk = file_size
    while start + 8 * len(offsets) < first_chunk:
        entry = file.read(8)
        offset = struct.unpack("<Q", entry)[0] if len(entry) == 8 else 0
        if not start < offset < file_size:
            raise OSError("the disk may be full")
        offsets.append(offset)
        first_chunk = min(first_chunk, offset)
    return offsets


def _merge(new: Header, plate: Header) -> Header:
    """The plate's attributes in the plate's order, with the new file's storage."""
    same_compression = new.get("compression") == plate.get("compression")
    merged: Header = {}
    for name, attribute in plate.items():
        if name == "channels":
            merged[name] = _merge_channels(new[name], attribute)
        elif name in _STORAGE:
            # The new file may omit an optional `type` or `chunkCount` that the plate has.
            if name in new or name == "type" or (name == "chunkCount" and same_compression):
                merged[name] = new.get(name, attribute)
        elif same_compression or name not in _LOSSY_ONLY:
            merged[name] = attribute
    return merged | {name: new[name] for name in new if name in _STORAGE and name not in merged}


def _merge_channels(new: Attribute, plate: Attribute) -> Attribute:
    """The new file's channel list, with the plate's flags for the channels it had."""
    entries = _channel_entries(new.value) | _channel_entries(plate.value)
    return Attribute("chlist", b"".join(name + entries[name] for name in sorted(entries)) + b"\0")


def _channel_entries(value: bytes) -> dict[bytes, bytes]:
    """Channel name with its terminating zero, mapped to the 16 bytes of type, flags and sampling that follow."""
    entries = {}
    position = 0
    while value[position : position + 1] not in (b"\0", b""):
        end = value.index(b"\0", position) + 1
        entries[value[position:end]] = value[end : end + 16]
        position = end + 16
    return entries


def _pack_headers(flags: int, headers: list[Header]) -> bytes:
    packed = [struct.pack("<II", _MAGIC, flags)]
    for header in headers:
        for name, attribute in header.items():
            packed += [name.encode("latin-1"), b"\0", attribute.type.encode("latin-1"), b"\0"]
            packed += [struct.pack("<i", len(attribute.value)), attribute.value]
        packed.append(b"\0")
    if flags & _MULTI_PART:
        packed.append(b"\0")
    return b"".join(packed)
