"""Values to greys: what pictures with more than 8 bits per sample and rasters of measurements are shown as."""

from array import array
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageMath
from PIL.Image import Resampling

_SAMPLED = 100_000  # values from which the percentiles are computed


def computed(formula: Callable[[dict[str, Any]], Any], **pictures: Image.Image) -> Image.Image:
    result: Image.Image = ImageMath.lambda_eval(formula, **pictures)
    return result


def shown(bands: list[Image.Image], valid: Image.Image, size: tuple[int, int], *, is_stretched: bool) -> Image.Image:
    """Combine the bands into a picture of the final size; pixels without valid data are transparent."""
    weights = valid.resize(size, Resampling.BOX)
    gaps = computed(lambda it: 255 * (1 - it["v"]), v=valid).convert("L")
    shades = []
    for band in bands:
        band.paste(0.0, mask=gaps)
        sums = band.resize(size, Resampling.BOX)
        means = computed(lambda it: it["s"] / it["max"](it["w"], 1e-6), s=sums, w=weights)
        low, high = _percentiles(means, weights) if is_stretched else (0.0, 255.0)
        shades.append(greys(means, low, high))
    if weights.getextrema()[0] == 1:
        return shades[0] if len(shades) == 1 else Image.merge("RGB", shades)
    alpha = greys(weights, 0.0, 1e-6)
    return Image.merge("LA" if len(shades) == 1 else "RGBA", [*shades, alpha])


def stretched(deep: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale a complete picture of mode F and stretch it to greys between its percentiles."""
    return shown([deep.resize(size, Resampling.BOX)], Image.new("F", size, 1.0), size, is_stretched=True)


def greys(values: Image.Image, low: float, high: float) -> Image.Image:
    """Convert finite values of mode F to mode L: black up to `low`, white from `high` on."""
    step = 255 / (high - low) if high > low else 0.0
    return values.point(lambda value: value * step + (0.5 - low * step)).convert("L")


def _percentiles(values: Image.Image, weights: Image.Image) -> tuple[float, float]:
    """The 2nd and 98th percentiles of a sample of the values, as in QGIS."""
    every = 1 + values.width * values.height // _SAMPLED
    pairs = zip(_floats(values)[::every], _floats(weights)[::every], strict=True)
    ordered = sorted(value for value, weight in pairs if weight) or [0.0]
    cut = len(ordered) // 50
    return ordered[cut], ordered[-1 - cut]


def _floats(picture: Image.Image) -> "array[float]":
    return array("f", picture.tobytes())
