"""Pictures and files for the image tests, which phones and ordinary programs do not produce; and how they arrive."""

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, PngImagePlugin

from gischat.errors import Uncompliant
from tests.support.pictures import as_base64, encoded, opened
from worker.images import fit

MAX_PIXELS = 64_000_000
UNREADABLE = "The image file is damaged, incomplete or of a kind that cannot be read here."
DAMAGED = "The image file is damaged or incomplete."
TOO_LONG = "This picture takes too long to open here: save it as an ordinary JPEG, or make it smaller, and send that."

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# The primaries of Display P3 adapted to D50, the white of ICC profiles (SMPTE EG 432-1).
_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}


def fitted(file: bytes, max_size: int = 800, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture that is published when a client sends the file."""
    return opened(fit(as_base64(file), max_size=max_size, max_pixels=max_pixels))


def reason(file: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """The reason why the file is refused."""
    with pytest.raises(Uncompliant) as refusal:
        fit(as_base64(file), max_size=800, max_pixels=max_pixels)
    return refusal.value.reason


@cache
def photo(width: int, height: int) -> Image.Image:
    """Smooth light, grass at every scale, and a sensor's noise: about 4 MB at 12 megapixels and quality 90."""
    size = (width, height)
    light = Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize(size),
            Image.radial_gradient("L").resize(size),
            Image.linear_gradient("L").rotate(90).resize(size),
        ],
    )
    grass = Image.effect_noise((width // 4, height // 4), 40).resize(size, Image.Resampling.BICUBIC)
    hills = Image.effect_noise((width // 64 + 1, height // 64 + 1), 60).resize(size, Image.Resampling.BICUBIC)
    scene = ImageChops.overlay(ImageChops.overlay(light, hills.convert("RGB")), grass.convert("RGB"))
    noise = Image.effect_noise(size, 7)
    noises = [ImageChops.offset(noise, shift, shift) for shift in (0, 31, 77)]
    return ImageChops.add(scene, Image.merge("RGB", noises), 1, -128)


@cache
def drawing(width: int, height: int) -> Image.Image:
    """A map sketch: lines and areas in five flat colours."""
    sketch = Image.new("RGB", (width, height), (242, 239, 233))
    draw = ImageDraw.Draw(sketch)
    draw.rectangle((width // 8, height // 8, width // 2, height // 2), fill=(170, 211, 223))
    draw.polygon([(width // 2, 0), (width - 1, height // 2), (width // 3, height - 1)], fill=(200, 230, 180))
    draw.line([(0, height - 1), (width // 3, height // 4), (width - 1, 0)], fill=(200, 60, 60), width=3)
    draw.line([(0, 0), (width - 1, height - 1)], fill=(20, 20, 20))
    return sketch


def display_p3() -> bytes:
    """The ICC profile of phones' pictures: sRGB's, with the primaries of Display P3 in their place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    for index in range(count):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if name in _P3:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in _P3[name]))
    return bytes(profile)


def png_text(word: str) -> PngImagePlugin.PngInfo:
    """A PNG with the word in each kind of text chunk."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", word)
    text.add_text("Author", word, zip=True)
    text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{word}</x:xmpmeta>")
    return text


def jpeg_with_segments(picture: Image.Image, word: str, **options: Any) -> bytes:
    """A JPEG with the word in a comment, in XMP, and in IPTC as Photoshop writes it."""
    file = encoded(picture, "JPEG", comment=word, xmp=f"<x:xmpmeta>{word}</x:xmpmeta>".encode(), **options)
    iptc = b"\x1c\x02\x78" + struct.pack(">H", len(word)) + word.encode()
    resource = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    return file[:2] + b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource + file[2:]


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return PNG_SIGNATURE + b"".join(png_chunk(name, data) for name, data in chunks)


def ihdr(width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: int = 0) -> tuple[bytes, bytes]:
    """A PNG's header, for `png_of_chunks`."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def png_chunks(file: bytes) -> list[bytes]:
    """The names of a PNG's chunks, in order."""
    names, at = [], len(PNG_SIGNATURE)
    while at < len(file):
        size, name = struct.unpack_from(">I4s", file, at)
        names.append(name)
        at += 12 + size
    return names


def jpeg_segments(file: bytes) -> list[int]:
    """The markers of a JPEG's segments up to its first scan."""
    markers, at = [], 2
    while not markers or markers[-1] != 0xDA:
        marker, size = struct.unpack_from(">xBH", file, at)
        markers.append(marker)
        at += 2 + size
    return markers


def jpeg_of_size(file: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its frame header: the scans remain, nearly empty."""
    at = min(place for place in (file.find(b"\xff\xc0\0"), file.find(b"\xff\xc2\0")) if place > 0)
    return file[: at + 5] + struct.pack(">HH", height, width) + file[at + 9 :]


def jpeg_scans(file: bytes) -> list[bytes]:
    """A progressive JPEG's scans, each with the tables before it."""
    starts = [found.start() for found in re.finditer(rb"\xff\xda", file)]
    after = [
        found.start()
        for start in starts
        for found in [re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(file, start + 2)]
        if found
    ]
    begins = [file.rfind(b"\xff\xc4", 0, starts[0]), *after[:-1]]
    return [file[begin:end] for begin, end in zip(begins, after, strict=True)]


def jpeg_of_many_scans(width: int, height: int, scans: int) -> bytes:
    """A small progressive JPEG of one colour whose last scan is repeated; decoders walk over the picture for each."""
    file = encoded(Image.new("RGB", (width, height), (90, 120, 60)), "JPEG", progressive=True)
    last = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + last * scans + file[-2:]


def webp_bomb(width: int, height: int) -> bytes:
    """Animated WebP in a hundred bytes: a frame of 16 × 16 on a canvas of this size (RFC 9649 §2.7)."""
    frame = encoded(Image.new("RGB", (16, 16)), "WEBP")[12:]
    canvas = _uint24(width - 1) + _uint24(height - 1)
    chunks = (
        _riff_chunk(b"VP8X", bytes([2, 0, 0, 0]) + canvas)
        + _riff_chunk(b"ANIM", bytes(6))
        + _riff_chunk(b"ANMF", bytes(6) + _uint24(15) + _uint24(15) + _uint24(100) + bytes(1) + frame)
    )
    return _riff_chunk(b"RIFF", b"WEBP" + chunks)


def tiff_of_tags(*tags: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF with one directory of (tag, type, count, value), and nothing else."""
    directory = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4)


def grey_tiff(width: int, length: int, **others: tuple[int, int, int, int]) -> bytes:
    """… of a grey picture in one strip, before its pixels; `others` replace its tags by name, or add to them."""
    tags = {
        "width": (256, 4, 1, width),
        "length": (257, 4, 1, length),
        "bits": (258, 3, 1, 8),
        "compression": (259, 3, 1, 1),
        "photometric": (262, 3, 1, 1),
        "strip_offsets": (273, 4, 1, 8),
        "samples": (277, 3, 1, 1),
        "rows_per_strip": (278, 4, 1, length),
        "strip_sizes": (279, 4, 1, width * length),
    }
    return tiff_of_tags(*(tags | others).values())


@dataclass(frozen=True)
class Raster:
    """A GeoTIFF as GDAL writes it. `code` is a sample's format character of `struct`; predictor 2 needs integers."""

    code: str
    bands: int = 1
    order: str = "<"
    is_planar: bool = False
    tile: int = 0  # pixels of its side, a multiple of 16; 0: strips of five rows
    is_packed: bool = False
    predictor: int = 1
    photometric: int = 1
    extra: tuple[int, ...] = ()
    nodata: str = ""
    orientation: int = 0

    def file(self, width: int, height: int, value: Callable[[int, int, int], float]) -> bytes:
        """The file, with the value of each band, x and y. Deflate if packed (TIFF 6.0 and its Technote of 2002)."""
        across, down = (self.tile, self.tile) if self.tile else (width, 5)
        blocks = [
            self._block(range(left, left + across), range(top, top + down), bands, value)
            for bands in ([[band] for band in range(self.bands)] if self.is_planar else [list(range(self.bands))])
            for top in range(0, height, down)
            for left in range(0, width, across)
        ]
        tags: dict[int, tuple[str, Sequence[int]]] = {
            256: ("I", [width]),
            257: ("I", [height]),
            258: ("H", [8 * struct.calcsize(self.code)] * self.bands),
            259: ("H", [8 if self.is_packed else 1]),
            262: ("H", [self.photometric]),
            274: ("H", [self.orientation] if self.orientation else []),
            277: ("H", [self.bands]),
            284: ("H", [2 if self.is_planar else 1]),
            317: ("H", [self.predictor]),
            338: ("H", self.extra),
            339: ("H", [1 if self.code.isupper() else 3 if self.code in "efd" else 2] * self.bands),
            42113: ("s", (self.nodata and self.nodata + "\0").encode()),
        }
        if self.tile:
            tags |= {322: ("I", [across]), 323: ("I", [down])}
        else:
            tags[278] = ("I", [down])
        return self._assembled(tags, blocks, *((324, 325) if self.tile else (273, 279)))

    def _block(self, columns: range, rows: range, bands: list[int], value: Callable[[int, int, int], float]) -> bytes:
        packed = []
        for y in rows:
            samples = [value(band, x, y) for x in columns for band in bands]
            if self.predictor == 2:
                whole = 1 << 8 * struct.calcsize(self.code)
                before = [0] * len(bands) + samples[: -len(bands)]
                samples = [int(one - other) % whole for one, other in zip(samples, before, strict=True)]
            code = self.code.upper() if self.predictor == 2 else self.code
            packed.append(struct.pack(f"{self.order}{len(samples)}{code}", *samples))
        return zlib.compress(b"".join(packed)) if self.is_packed else b"".join(packed)

    def _assembled(self, tags: dict[int, tuple[str, Any]], blocks: list[bytes], offsets: int, sizes: int) -> bytes:
        body, starts = b"", []
        for block in blocks:
            starts.append(8 + len(body))
            body += block + bytes(len(block) % 2)
        tags |= {offsets: ("I", starts), sizes: ("I", [len(block) for block in blocks])}
        tags = {tag: (code, content) for tag, (code, content) in sorted(tags.items()) if content}
        at = 8 + len(body)
        entries, values = b"", b""
        for tag, (code, content) in tags.items():
            data = content if code == "s" else struct.pack(f"{self.order}{len(content)}{code}", *content)
            head = struct.pack(self.order + "HHI", tag, {"s": 2, "H": 3, "I": 4}[code], len(content))
            if len(data) > 4:
                place = at + 2 + 12 * len(tags) + 4 + len(values)
                values += data + bytes(len(data) % 2)
                data = struct.pack(self.order + "I", place)
            entries += head + data.ljust(4, b"\0")
        header = (b"II*\0" if self.order == "<" else b"MM\0*") + struct.pack(self.order + "I", at)
        return header + body + struct.pack(self.order + "H", len(tags)) + entries + bytes(4) + values


def _uint24(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _riff_chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
