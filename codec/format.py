"""The .nic file: bytes to a checked header and tile streams, and back. FORMAT.md describes every byte."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from codec.errors import FormatError

MAGIC = b"\x89NIC\r\n"
VERSION = 1
MAX_SIDE = 0xFFFF
MAX_QUALITY = 10000
"""Quality is stored in hundredths: 0 to 10000."""
MAX_TILE_EXPONENT = 4
_FIELDS = struct.Struct("<6sBB8sHHH")
_CRC = struct.Struct("<I")
HEADER_SIZE = _FIELDS.size + _CRC.size
_GREY = 0x01


@dataclass(frozen=True)
class Header:
    """What a file says before its tiles.

    ``quality`` is in hundredths (0..10000); tiles are squares of ``64 << tile_exponent`` pixels.
    """

    model_id: bytes
    width: int
    height: int
    quality: int
    grey: bool = False
    tile_exponent: int = MAX_TILE_EXPONENT

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise FormatError(f"a picture of {self.width}x{self.height} pixels: sides must be from 1 to {MAX_SIDE}")
        if not 0 <= self.quality <= MAX_QUALITY:
            raise FormatError(f"quality {self.quality / 100:g} is not from 0 to 100")
        if not 0 <= self.tile_exponent <= MAX_TILE_EXPONENT or len(self.model_id) != 8:
            raise FormatError("the header holds a tile size or model id that version 1 does not have")

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return 64 << self.tile_exponent

    @property
    def tiles(self) -> int:
        """How many tiles the picture has."""
        return -(-self.width // self.tile_size) * -(-self.height // self.tile_size)


def _tile_crc(header_crc: int, index: int, stream: bytes) -> int:
    # Seeded with the header and the place, so that tiles cannot be swapped unnoticed.
    return zlib.crc32(stream, zlib.crc32(struct.pack("<II", header_crc, index)))


def write(header: Header, streams: list[bytes]) -> bytes:
    """The bytes of a file; ``streams`` holds one coded stream for each tile, row by row."""
    flags = header.tile_exponent << 4 | (_GREY if header.grey else 0)
    fields = _FIELDS.pack(MAGIC, VERSION, flags, header.model_id, header.width, header.height, header.quality)
    header_crc = zlib.crc32(fields)
    parts = [fields, _CRC.pack(header_crc)]
    for index, stream in enumerate(streams):
        if index + 1 < len(streams):
            parts.append(struct.pack("<I", len(stream)))
        parts += [_CRC.pack(_tile_crc(header_crc, index, stream)), stream]
    return b"".join(parts)


def read_header(data: bytes) -> Header:
    """The checked header of a file's first bytes. Raises FormatError when it is not one."""
    if data[: len(MAGIC)] != MAGIC:
        damaged = data[:4] == MAGIC[:4]
        raise FormatError("the file was damaged by a text-mode transfer" if damaged else "not a .nic file")
    if len(data) < HEADER_SIZE:
        raise FormatError("the file ends inside its header")
    _, version, flags, model_id, width, height, quality = _FIELDS.unpack_from(data)
    if version != VERSION:
        raise FormatError(f"format version {version}; this program reads version {VERSION}")
    if zlib.crc32(data[: _FIELDS.size]) != _CRC.unpack_from(data, _FIELDS.size)[0]:
        raise FormatError("the header is damaged (its checksum does not match)")
    if flags & 0x0E:
        raise FormatError("the file uses a feature that this version does not know")
    return Header(model_id, width, height, quality, bool(flags & _GREY), flags >> 4)


def read(data: bytes) -> tuple[Header, list[bytes]]:
    """The checked header and the tile streams of a file. Raises FormatError for any damage."""
    header = read_header(data)
    header_crc = zlib.crc32(data[: _FIELDS.size])
    # Every tile costs at least its checksum and one byte, all but the last also a length.
    if len(data) < HEADER_SIZE + 9 * header.tiles - 4:
        raise FormatError(f"the file is too short for its {header.tiles} tiles")
    position, streams = HEADER_SIZE, []
    for index in range(header.tiles):
        if index + 1 < header.tiles:
            if len(data) - position < 8:
                raise FormatError(f"the file ends before tile {index}")
            length = struct.unpack_from("<I", data, position)[0]
            position += 4
        else:
            length = len(data) - position - 4
        if length < 0 or length > len(data) - position - 4:
            raise FormatError(f"the file ends inside tile {index}")
        expected = _CRC.unpack_from(data, position)[0]
        stream = data[position + 4 : position + 4 + length]
        if _tile_crc(header_crc, index, stream) != expected:
            raise FormatError(f"tile {index} is damaged (its checksum does not match)")
        streams.append(stream)
        position += 4 + length
    return header, streams
