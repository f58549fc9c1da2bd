"""The .nic file: bytes to a checked header, metadata and tiles, and back. ``FORMAT.md`` describes every byte."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import IO

from codec.entropy.constants import MAX_HUNDREDTHS
from codec.errors import ArgumentError, FormatError

MAGIC = b"\x89NIC\r\n"
VERSION = 1
MAX_SIDE = 0xFFFF
MAX_TILE_EXPONENT = 4
MAX_CHUNK = 1 << 26
"""Largest size of one kind of metadata in bytes."""
MAX_POST_FILTER = 0xFF
"""Largest size of a packed post-filter in bytes."""
CHUNKS = {1: "icc", 2: "exif", 3: "xmp"}
"""The kinds of metadata, by their number in a file."""
_FIELDS = struct.Struct("<6sBB8sHHH")
_CRC = struct.Struct("<I")
_CHUNK = struct.Struct("<BI")
_GREY, _ALPHA, _METADATA, _POST_FILTER = 0x01, 0x02, 0x04, 0x08
_MIN_TILE = 5
"""A tile is at least its checksum and its method."""


@dataclass(frozen=True)
class Header:
    """What a file says before its tiles.

    Attributes:
        model_id: the first 8 bytes of the model file's SHA-256.
        width, height: of the picture in pixels, from 1 to 65535.
        hundredths: the quality, 0 to 10000.
        tile_exponent: tiles are squares of ``64 << tile_exponent`` pixels.
        post_filter: what ``codec.container.post_filter`` packs; empty for none.

    Raises:
        FormatError: for a value out of range.
    """

    model_id: bytes
    width: int
    height: int
    hundredths: int
    grey: bool = False
    alpha: bool = False
    tile_exponent: int = MAX_TILE_EXPONENT
    post_filter: bytes = b""

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise FormatError(f"a picture of {self.width}x{self.height} pixels: sides must be from 1 to {MAX_SIDE}")
        if not 0 <= self.hundredths <= MAX_HUNDREDTHS:
            raise FormatError(f"quality {self.hundredths / 100:g} is not from 0 to 100")
        if not 0 <= self.tile_exponent <= MAX_TILE_EXPONENT or len(self.model_id) != 8:
            raise FormatError("the header holds a tile size or model id that version 1 does not have")
        if len(self.post_filter) > MAX_POST_FILTER:
            raise FormatError(f"a post-filter of over {MAX_POST_FILTER} bytes")

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return 64 << self.tile_exponent

    @property
    def tiles(self) -> int:
        """Number of tiles in the picture."""
        return -(-self.width // self.tile_size) * -(-self.height // self.tile_size)


def _crc(header_crc: int, index: int, content: bytes) -> int:
    # Starts from header and index, so that tiles cannot be swapped unnoticed.
    return zlib.crc32(content, zlib.crc32(struct.pack("<II", header_crc, index)))


def write(header: Header, tiles: list[bytes], metadata: dict[str, bytes] | None = None) -> bytes:
    """The bytes of a file.

    Args:
        tiles: the coded content of each tile, row by row.
        metadata: the values of ``CHUNKS`` to bytes.

    Raises:
        ArgumentError: for metadata of over 64 MiB.
    """
    chunks = [(kind, metadata[name]) for kind, name in CHUNKS.items() if metadata and metadata.get(name)]
    if any(len(content) > MAX_CHUNK for _, content in chunks):
        raise ArgumentError(f"metadata of over {MAX_CHUNK >> 20} MiB")
    flags = header.tile_exponent << 4 | _GREY * header.grey | _ALPHA * header.alpha | _METADATA * bool(chunks)
    flags |= _POST_FILTER * bool(header.post_filter)
    fields = _FIELDS.pack(MAGIC, VERSION, flags, header.model_id, header.width, header.height, header.hundredths)
    table = b"".join(_CHUNK.pack(kind, len(content)) for kind, content in chunks)
    lengths = struct.pack(f"<{len(tiles) - 1}I", *map(len, tiles[:-1]))
    post_filter = bytes([len(header.post_filter)]) + header.post_filter if header.post_filter else b""
    head = fields + (bytes([len(chunks)]) + table if chunks else b"") + lengths + post_filter
    crc = zlib.crc32(head)
    parts = [head, _CRC.pack(crc)]
    for index, content in enumerate([content for _, content in chunks] + tiles):
        parts += [_CRC.pack(_crc(crc, index, content)), content]
    return b"".join(parts)


@dataclass
class Reader:
    """A file's checked header, and access to its metadata and tiles, each read and checked when it is asked for.

    Args:
        file: open for reading in binary mode, seekable.
        salvage: accept a file that is shorter than its header says.

    Raises:
        FormatError: when the header is damaged, or (unless ``salvage``) the file is shorter than the header says.
    """

    file: IO[bytes]
    salvage: bool = False
    header: Header = field(init=False)
    bytes_read: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._size = self.file.seek(0, io.SEEK_END)
        self.file.seek(0)
        fields = self._take(min(_FIELDS.size, self._size))
        if fields[: len(MAGIC)] != MAGIC:
            is_changed_text = fields[:4] == MAGIC[:4]
            raise FormatError("the file was damaged by a text-mode transfer" if is_changed_text else "not a .nic file")
        if len(fields) < _FIELDS.size:
            raise FormatError("the file ends inside its header")
        _, version, flags, model_id, width, height, hundredths = _FIELDS.unpack(fields)
        if version != VERSION:
            raise FormatError(f"format version {version}; this program reads version {VERSION}")
        self.header = Header(model_id, width, height, hundredths, bool(flags & _GREY), bool(flags & _ALPHA), flags >> 4)
        self._read_rest(fields, bool(flags & _METADATA), bool(flags & _POST_FILTER))

    def _read_rest(self, head: bytes, has_metadata: bool, has_post_filter: bool) -> None:
        kinds: list[int] = []
        lengths: list[int] = []
        if has_metadata:
            head += self._take(1)
            head += self._take(head[-1] * _CHUNK.size)
            for kind, length in _CHUNK.iter_unpack(head[_FIELDS.size + 1 :]):
                kinds.append(kind)
                lengths.append(length)
        tiles = self.header.tiles
        if self._size < len(head) + 4 * tiles:
            raise FormatError(f"the file is too short for its {tiles} tiles")
        index = self._take(4 * (tiles - 1))
        lengths += struct.unpack(f"<{tiles - 1}I", index)
        head += index
        if has_post_filter:
            head += self._take(1)
            post_filter = self._take(head[-1])
            head += post_filter
            self.header = dataclasses.replace(self.header, post_filter=post_filter)
        self._crc = zlib.crc32(head)
        if _CRC.unpack(self._take(4))[0] != self._crc:
            raise FormatError("the header is damaged (its checksum does not match)")
        if len(set(kinds)) != len(kinds) or not set(kinds) <= set(CHUNKS):
            raise FormatError("the file holds metadata that this version does not know")
        if has_post_filter and not self.header.post_filter:
            raise FormatError("the file holds a post-filter of no bytes")
        self._starts = [self.file.tell()]
        for length in lengths:
            self._starts.append(self._starts[-1] + 4 + length)
        self._starts.append(max(self._size, self._starts[-1]))
        self._chunks = {CHUNKS[kind]: index for index, kind in enumerate(kinds)}
        if self._starts[-2] + _MIN_TILE > self._size and not self.salvage:
            raise FormatError("the file is cut short")

    def _take(self, count: int) -> bytes:
        content = self.file.read(count)
        self.bytes_read += len(content)
        if len(content) != count:
            raise FormatError("the file ends inside its header")
        return content

    def _part(self, index: int, name: str) -> bytes:
        start, end = self._starts[index], self._starts[index + 1]
        if end > self._size or end - start < 4:
            raise FormatError(f"{name} is cut short")
        self.file.seek(start)
        content = self._take(end - start)
        if _crc(self._crc, index, content[4:]) != _CRC.unpack_from(content)[0]:
            raise FormatError(f"{name} is damaged (its checksum does not match)")
        return content[4:]

    def metadata(self) -> dict[str, bytes]:
        """The metadata by the names in ``CHUNKS``. Raises FormatError for damage; salvage leaves damaged kinds out."""
        metadata = {}
        for name, index in self._chunks.items():
            try:
                metadata[name] = self._part(index, f"the {name} metadata")
            except FormatError:
                if not self.salvage:
                    raise
        return metadata

    def tile(self, index: int) -> bytes:
        """A tile's packed content, at least one byte (see ``tile``). Raises FormatError for damage."""
        content = self._part(len(self._chunks) + index, f"tile {index}")
        if not content:
            raise FormatError(f"tile {index} is empty")
        return content


def reader(data: bytes) -> Reader:
    """A reader of a file in memory."""
    return Reader(io.BytesIO(data))
