"""Payloads: photos as from phones, layers as from QGIS."""

import base64
import io
import json
import math
import random

from PIL import Image

PHOTO_SIZE = (4000, 3000)
LAYER_FEATURES, LAYER_VERTICES = 500, 200


def photo() -> bytes:
    """An `image` with a photo of 12 megapixels: about 3 MB of JPEG with natural detail at all scales."""
    luminance, *tints = (_detail(seed) for seed in range(4))
    picture = Image.merge("RGB", [Image.blend(luminance, tint, 0.2) for tint in tints])
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return b'{"type":"image","author":"jane_doe","image_data":"' + base64.b64encode(buffer.getvalue()) + b'"}'


def _detail(seed: int) -> Image.Image:
    """Grey noise with strong coarse and weak fine structures."""
    noise = random.Random(seed)
    picture = Image.new("L", PHOTO_SIZE, 128)
    for octave in range(10):
        size = (8 * 2**octave, 6 * 2**octave)
        grain = Image.frombytes("L", size, noise.randbytes(size[0] * size[1])).resize(PHOTO_SIZE)
        picture = Image.blend(picture, grain, 0.8 * 0.78**octave)
    return picture


def layer() -> bytes:
    """A `geojson` of 5 MB: 500 polygons, 100 000 vertices with all digits of a double."""
    place = random.Random(0)
    features = [_feature(number, place.uniform(-5, 9), place.uniform(42, 51)) for number in range(LAYER_FEATURES)]
    document = {
        "type": "geojson",
        "author": "jane_doe",
        "layer_name": "parcels",
        "crs_wkt": 'GEOGCRS["WGS 84"]',
        "crs_authid": "EPSG:4326",
        "geojson": {"type": "FeatureCollection", "features": features},
    }
    return json.dumps(document).encode()


def _feature(number: int, x: float, y: float) -> dict[str, object]:
    angles = [2 * math.pi * turn / (LAYER_VERTICES - 1) for turn in range(LAYER_VERTICES)]
    ring = [[x + math.cos(angle) / 100, y + math.sin(angle) / 100, 212.5] for angle in angles]
    ring[-1] = ring[0]
    return {
        "type": "Feature",
        "id": number,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": f"parcel {number}", "surface": 1234.5, "owner": None, "notes": "surveyed in spring"},
    }
