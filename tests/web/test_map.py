"""The map beside the talk: what people share lies on it where PROJ says, and can be asked, copied, saved and shared."""

import io
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from pyproj import CRS, Transformer
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import Join
from tests.support.client import Client
from tests.support.contract import words
from tests.support.layers import GeoJson, feature, geometry, layer, point
from tests.support.pictures import phone_photo
from tests.web.axe import Audit
from tests.web.conftest import Browse
from tests.web.page import CSS, LOST_LINE, Page

MERCATOR = Transformer.from_crs(4326, 3857, always_xy=True)
CHOSEN = (0xE8, 0x59, 0x0C)  # the colour of what is marked: --map-chosen
READBACK = ("willReadFrequently",)  # OpenLayers tries which way of reading is faster, and the browser gives advice
WIDTH = "return document.documentElement.scrollWidth"

# A CRS, a longitude and a latitude within its area of use; tests/worker/test_places.py has many more
ANYWHERE = [
    ("EPSG:27700", -5.5, 50.1),  # British National Grid
    ("EPSG:3031", 166.67, -77.85),  # Antarctic, polar
    ("EPSG:3832", -179.2, -8.5),  # beyond the antimeridian
]


def placed(crs: str, lon: float, lat: float) -> GeoJson:
    """A position as QGIS sends it."""
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    return {"type": "position", "crs_wkt": CRS(crs).to_wkt(), "crs_authid": crs, "x": x, "y": y}


def parks() -> GeoJson:
    """A layer in Lambert-93, of a square and a point in it that knows less of itself."""
    x, y = Transformer.from_crs(4326, 2154, always_xy=True).transform(2.3522, 48.8566)
    ring = [[x - 900, y - 900], [x + 900, y - 900], [x + 900, y + 900], [x - 900, y + 900], [x - 900, y - 900]]
    square = feature(geometry("Polygon", [ring]), properties={"name": "Île", "area": 324.5, "note": None, "id": 7})
    of_fountain = {"name": "Fountain <b>", "area": None, "note": "dry", "id": 8}
    fountain = feature(point(x + 450, y + 450), properties=of_fountain)
    described = {"layer_name": "Parks", "crs_wkt": CRS(2154).to_wkt(), "crs_authid": "EPSG:2154", "style": "<qgis/>"}
    return {"type": "geojson", "geojson": layer([square, fountain]), **described}


class Map:
    """The map on a page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.expected_errors += READBACK
        self._extent = ""

    @property
    def canvas(self) -> WebElement:
        return self.page.find(".map-canvas")

    def until_drawn(self) -> None:
        self.page.wait(lambda: self.canvas.get_attribute("data-extent"), "the map to be drawn")

    def until_there(self) -> None:
        """Wait until it has come to where it goes, and shows what is marked."""

        def has_come() -> bool:
            extent, before = self.canvas.get_attribute("data-extent") or "", self._extent
            self._extent = extent
            return bool(extent) and extent == before and self.marked() is not None

        self.page.wait(has_come, "the map to come to rest")

    def pixel(self, lon: float, lat: float) -> tuple[float, float]:
        """Where PROJ says that a place is, in pixels of the map."""
        west, south, east, north = map(float, str(self.canvas.get_attribute("data-extent")).split())
        (left, bottom), (right, top) = MERCATOR.transform(west, south), MERCATOR.transform(east, north)
        if east > 180:
            right += 2 * MERCATOR.transform(180, 0)[0]
        x, y = MERCATOR.transform(lon, lat)
        if x < left:
            x += 2 * MERCATOR.transform(180, 0)[0]
        size = self.canvas.size
        return (x - left) / (right - left) * size["width"], (top - y) / (top - bottom) * size["height"]

    def marked(self) -> tuple[float, float] | None:
        """The middle of what is marked, in pixels of the map, as it is drawn."""
        picture = Image.open(io.BytesIO(self.canvas.screenshot_as_png)).convert("RGB")
        off = ImageChops.difference(picture, Image.new("RGB", picture.size, CHOSEN)).split()
        farthest = ImageChops.lighter(ImageChops.lighter(off[0], off[1]), off[2])
        found = farthest.point(lambda value: 255 if value < 40 else 0).getbbox()
        return ((found[0] + found[2]) / 2, (found[1] + found[3]) / 2) if found else None

    def click(self, lon: float, lat: float) -> None:
        x, y = self.pixel(lon, lat)
        size = self.canvas.size
        offset = round(x - size["width"] / 2), round(y - size["height"] / 2)
        ActionChains(self.page.browser).move_to_element_with_offset(self.canvas, *offset).click().perform()

    def told(self) -> dict[str, str]:
        """The attributes in the table."""
        rows = self.page.find(".map-details").find_elements(CSS, "tr")
        cells = [[row.find_element(CSS, tag).text for tag in ("th", "td")] for row in rows]
        return dict(cells)

    def until_titled(self, words: str) -> None:
        self.page.until_shown(words, within=".map-details")


async def share(page: Page, client: Client, **message: Any) -> None:
    """Let somebody else share something; wait until the page shows where it is."""
    before = len(page.all(".thumbnail"))
    await client.send(author="john", **message)
    page.wait(lambda: len(page.all(".thumbnail")) > before, "a small map in the message")


async def test_what_is_shared_lies_where_proj_says(browse: Browse, join: Join, channel: str) -> None:
    john, page = await join(channel, nickname="john"), browse()
    page.resize(1200, 500)  # each picture of the map costs by its size
    page.join(channel, "jane")
    chart = Map(page)

    async def show(title: str, **message: Any) -> None:
        await share(page, john, **message)
        page.all(".thumbnail")[-1].click()
        chart.until_titled(title)

    # Positions, an extent, and an area of use
    for crs, lon, lat in ANYWHERE:
        await show("john", **placed(crs, lon, lat))
        chart.until_there()
        assert math.dist(chart.marked() or (0, 0), chart.pixel(lon, lat)) <= 1, crs
        page.find(".map-details header .plain").click()
    grid = Transformer.from_crs(4326, 27700, always_xy=True)
    (xmin, ymin), (xmax, ymax) = grid.transform(-5.0, 50.2), grid.transform(-3.5, 51.0)
    sides = {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}
    await show("Extent", type="bbox", crs_wkt=CRS(27700).to_wkt(), crs_authid="EPSG:27700", **sides)
    chart.until_there()
    # In the middle, as far as the sides bend
    assert math.dist(chart.marked() or (0, 0), chart.pixel(-4.25, 50.6)) < 20
    await show("EPSG:2056", type="crs", crs_wkt=CRS(2056).to_wkt(), crs_authid="EPSG:2056")
    chart.until_there()
    assert math.dist(chart.marked() or (0, 0), chart.pixel(8.2, 46.8)) < 20

    # In a layer a click finds the thing, and the point before the square in which it lies
    await show("Parks", **parks())
    assert chart.told() == {"Features": "2", "CRS": "EPSG:2154"}
    page.find(".map-details header .plain").click()
    to_wgs84 = Transformer.from_crs(2154, 4326, always_xy=True)
    x, y = Transformer.from_crs(4326, 2154, always_xy=True).transform(2.3522, 48.8566)
    page.wait(lambda: len(page.all(".map-details:not([hidden])")) == 0, "the card to close")
    chart.click(*to_wgs84.transform(x - 450, y - 450))
    chart.until_titled("Île")
    assert chart.told() == {"name": "Île", "area": "324.5", "note": "NULL", "id": "7"}
    # Under the pointer, in WGS 84 and in the layer's own CRS
    page.wait(lambda: "EPSG:2154" in page.find(".map-pointer").text, "its own coordinates")
    metres = page.find(".map-pointer").text.split("EPSG:2154 ")[1].split(", ")
    assert [float(part) for part in metres] == pytest.approx([x - 450, y - 450], abs=20)
    chart.click(*to_wgs84.transform(x + 450, y + 450))
    chart.until_titled("1 of 2")
    assert chart.told() == {"name": "Fountain <b>", "area": "NULL", "note": "dry", "id": "8"}
    chart.until_there()
    assert math.dist(chart.marked() or (0, 0), chart.pixel(*to_wgs84.transform(x + 450, y + 450))) <= 1


async def test_what_is_shared_goes_on_into_other_programs(
    browse: Browse, join: Join, audit: Audit, channel: str
) -> None:
    john, page = await join(channel, nickname="john"), browse()
    page.join(channel, "jane")
    await share(page, john, **parks())
    page.all(".thumbnail")[0].click()
    chart = Map(page)
    chart.until_titled("Parks")
    for name in ("geojson", "gpkg", "Parks.qml"):
        next(made for made in page.all(".map-details .download") if made.text.endswith(name)).click()
        page.wait((page.downloads / f"Parks.{name.rpartition('.')[2]}").exists, f"{name} to be saved")
    page.wait(lambda: json.loads((page.downloads / "Parks.geojson").read_text())["features"], "the layer")
    assert (page.downloads / "Parks.gpkg").read_bytes().startswith(b"SQLite format 3")
    # Copied: what the clipboard gets
    page.find(".map-tools .wide").click()
    page.find(".map-list summary").click()
    page.wait(lambda: [item for item in page.all(".map-list details .map-item") if "Fountain" in item.text], "features")
    page.all(".map-list details .map-item")[1].click()
    chart.until_titled("Fountain")
    audit(page, "what is on the map, and what was chosen")
    page.run("globalThis.copied = []; navigator.clipboard.writeText = async (words) => copied.push(words);")
    for choice in page.all(".map-details .choices")[1].find_elements(CSS, "button"):
        choice.click()
    copied = page.wait(lambda: len(found := page.run("return copied")) == 4 and found, "four forms to be copied")
    position, uri, text, made = copied
    lon, lat = position.split(", ")
    assert (uri, text) == (f"geo:{lat},{lon}", f"POINT ({lon} {lat})")
    assert json.loads(made)["properties"]["name"] == "Fountain <b>"
    page.until_shown("GeoJSON is copied", within=".map-details")


# Maps, one of which is told to go to a place, and one to zoom: whether they have, before any time has passed.
MOVES = """
const done = arguments[0];
const colours = ["land", "coast", "border", "grid", "label", "halo", "chosen"].map((name) => [name, "#888"]);
import("/web/built/map.js").then(({ WorldMap }) => {
  const handlers = { onPick() {}, onPointer() {}, onMove() {} };
  const moves = [
    (map) => map.show([{ type: "Point", coordinates: [2.35, 48.86] }]),
    (map) => map.zoomBy(1),
  ];
  const now = Date.now();
  Date.now = () => now;
  done(moves.map((move) => {
    const box = document.createElement("div");
    box.style.width = box.style.height = "300px";
    document.body.append(box);
    const map = new WorldMap(box, { look: { ...Object.fromEntries(colours), isDark: false }, handlers });
    const before = String(map.extent());
    move(map);
    return String(map.extent()) !== before;
  }));
}, (error) => done(String(error)));
"""


async def test_the_list_is_the_map_for_the_keyboard(browse: Browse, join: Join, audit: Audit, channel: str) -> None:
    john, page = await join(channel, nickname="john"), browse()
    page.join(channel, "jane")
    chart = Map(page)
    page.find("#map-toggle").click()
    chart.until_drawn()
    page.find(".map-empty")
    audit(page, "an empty map")
    # What comes while the map is open is on it
    await share(page, john, **placed("EPSG:2154", 2.3522, 48.8566))
    await share(page, john, **placed("EPSG:32723", -43.2105, -22.9519))
    page.find(".map-tools .wide").send_keys(Keys.ENTER)
    page.wait(lambda: len(page.all(".map-list .map-item")) == 2, "two things on the list")
    page.all(".map-list .map-item")[1].send_keys(Keys.ENTER)
    chart.until_titled("EPSG:2154")
    chart.until_there()
    # Switched off, it is not found any more
    page.find(".map-canvas").send_keys(Keys.ESCAPE)
    page.find(".map-tools .wide").send_keys(Keys.ENTER)
    page.wait(lambda: len(page.all(".map-list input")) == 2, "the list again")
    page.all(".map-list input")[1].send_keys(Keys.SPACE)
    page.all(".map-list .map-item")[0].send_keys(Keys.ENTER)
    chart.until_titled("EPSG:32723")
    page.find(".map-canvas").send_keys(Keys.ESCAPE)
    page.find(".map-canvas").send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.all("#map:not([hidden])"), "the map to close")
    assert page.run("return document.activeElement.id") == "map-toggle"

    # It flies, unless less motion is wanted
    for motion, is_at_once in (("reduce", True), ("no-preference", False)):
        page.prefer_motion(motion)
        assert page.browser.execute_async_script(MOVES) == [is_at_once] * 2, motion


async def test_on_a_phone_the_talk_fits_and_the_map_lies_over_it(
    browse: Browse, join: Join, audit: Audit, channel: str
) -> None:
    john, page = await join(channel, nickname="john"), browse()
    page.resize(360, 640)
    page.join(channel, "jane")
    page.say("x" * 200)
    page.until_shown("x" * 200)
    assert not page.all("#people")[0].is_displayed()
    page.find("#people-toggle").click()
    page.until_people("jane (you)", "john")
    assert page.run(WIDTH) == 360
    send = page.find("#send").rect
    assert send["x"] + send["width"] <= 360
    assert send["y"] + send["height"] <= 640
    page.find("#people-toggle").click()

    # The map leads back to the message
    page.resize(390, 844)
    await share(page, john, **placed("EPSG:2056", 7.4386, 46.9511))
    page.all(".thumbnail")[0].click()
    chart = Map(page)
    chart.until_titled("EPSG:2056")
    chart.until_there()
    assert chart.canvas.size["width"] == 390
    page.all(".map-details .choices button")[1].click()
    page.wait(lambda: not page.all("#map:not([hidden])"), "the map to close")
    assert page.all(".message")[-1] == page.browser.switch_to.active_element

    # What it says of its connection fits, too
    page.expected_errors += (LOST_LINE, "net::ERR_INTERNET_DISCONNECTED")
    page.lose_network()
    page.until_shown("Not connected. Trying again", within="#connection")
    status = page.find("#connection")
    assert page.run("return arguments[0].scrollWidth <= arguments[0].clientWidth", status)
    assert status.rect["height"] < 30
    assert page.run(WIDTH) == 390
    page.find("#people-toggle").click()
    page.find("#people")
    audit(page, "people on a phone, and connection lost")


# Sharing from the page


def offer(page: Page, words: str) -> None:
    """Choose something on the sheet of what can be shared."""
    page.find("#share").click()
    next(made for made in page.all("dialog[open] .offers button") if words in made.text).click()


def agree(page: Page) -> None:
    page.find("dialog[open] .choices button").click()


async def test_people_share_places_and_where_they_are_while_they_want_to_be_seen(
    browse: Browse, join: Join, audit: Audit, channel: str
) -> None:
    # Given a browser that knows where it is
    john, page = await join(channel, nickname="john", query="?types=live_position"), browse()
    page.be_at(48.858370123, 2.294481, accuracy=11.4)
    page.join(channel, "jane")

    page.find("#share").click()
    page.find("dialog[open] .offers")
    audit(page, "what may be shared")
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)

    # My position, rounded
    offer(page, "My position")
    page.until_shown("± 12 m", within="dialog[open]")
    agree(page)
    said = await john.until(type="position")
    assert (said["x"], said["y"], said["crs_authid"]) == (2.294481, 48.8583701, "EPSG:4326")
    assert CRS(said["crs_wkt"]) == CRS(4326)
    # The extent, as soon as there is a map
    offer(page, "extent in view")
    page.until_shown("Move the map", within="#notice")
    chart = Map(page)
    chart.until_drawn()
    offer(page, "extent in view")
    page.find("dialog[open] dl")
    shown = [float(side) for side in str(chart.canvas.get_attribute("data-extent")).split()]
    agree(page)
    extent = await john.until(type="bbox")
    assert [extent[side] for side in ("xmin", "ymin", "xmax", "ymax")] == pytest.approx(shown, abs=1e-6)
    # A point that is clicked
    offer(page, "point on the map")
    page.until_shown("Click the place", within=".map-hint")
    chart.click(2.2945, 48.8584)
    page.find("dialog[open] dl")
    agree(page)
    clicked = await john.until(type="position")
    assert math.dist(chart.pixel(clicked["x"], clicked["y"]), chart.pixel(2.2945, 48.8584)) < 1.5

    # Where I am, live
    def choose(words: str) -> None:
        next(made for made in page.all("dialog[open] .offers button") if made.text == words).click()

    offer(page, "Where I am, live")
    page.until_shown("15 minutes", within="dialog[open]")
    choose("15 minutes")
    seen = await john.until(type="live_position", author="jane")
    assert (seen["x"], seen["y"], seen["accuracy"]) == (2.294481, 48.8583701, 12)
    assert 0 < seen["until"] - seen["timestamp"] <= 15 * 60
    page.until_shown("You share where you are until", within="#live")
    # Another one moves, and is drawn and listed
    now = int(time.time())
    for x in (-4.5, -4.25):
        moved = {"x": x, "y": 50.5, "accuracy": 900, "timestamp": now, "until": now + 60}
        await john.send(type="live_position", author="john", **moved)

    def drawn() -> list[str]:
        return [one.rpartition(",")[0] for one in str(chart.canvas.get_attribute("data-live")).split()]

    page.wait(lambda: sorted(drawn()) == ["jane,2.294481,48.8583701", "john,-4.25,50.5"], "both on the map")
    page.find(".map-tools .wide").click()
    page.until_shown("john\n± 900 m, until", within=".map-list")
    # One stops, the other's tab is closed
    await john.leave()
    page.wait(lambda: drawn() == ["jane,2.294481,48.8583701"], "john to be gone")
    page.find("#live-stop").click()
    page.wait(lambda: drawn() == [], "jane to be gone")
    jim = await join(channel, nickname="jim", query="?types=live_position")
    offer(page, "Where I am, live")
    choose("8 hours")
    seen = await jim.until(type="live_position", author="jane")
    page.forget()
    while seen["until"] > seen["timestamp"]:
        seen = await jim.until(type="live_position", author="jane")


OTHER_FILES = [
    ("parks.gpkg", b"SQLite format 3\0", "Share it from QGIS"),
    ("parks.zip", b"PK\3\4", "Share it from QGIS"),
    ("parks.geojson", b"{", "cannot be read as JSON"),
    ("parks.json", b'{"type": "Topology"}', "no FeatureCollection"),
]


async def test_files_are_shared_with_their_place(browse: Browse, join: Join, channel: str, tmp_path: Path) -> None:
    john, page = await join(channel, nickname="john"), browse()
    page.join(channel, "jane")

    # A GeoJSON file in its own CRS; others are refused
    member = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}
    file = tmp_path / "Parcs d'Île.geojson"
    file.write_text(json.dumps({**parks()["geojson"], "crs": member}))
    page.all("dialog input[type=file]")[0].send_keys(str(file))
    page.until_shown("Features\n2", within="dialog[open]")
    agree(page)
    said = await john.until(type="geojson")
    assert (said["layer_name"], said["crs_authid"]) == ("Parcs d'Île", "EPSG:2154")
    assert CRS(said["crs_wkt"]) == CRS(2154)  # which the page does not know, and QGIS needs
    assert len(said["geojson"]["features"]) == 2
    page.wait(lambda: page.all(".thumbnail"), "a small map in the message")
    for name, content, hint in OTHER_FILES:
        (tmp_path / name).write_bytes(content)
        page.all("dialog input[type=file]")[0].send_keys(str(tmp_path / name))
        page.until_shown(hint, within="dialog[open]")
        page.find("dialog[open] button").click()
        page.wait(lambda: not page.all("dialog[open]"), "the hint to close")

    # A photograph tells where it was taken, if one wants
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(phone_photo(40, 30, orientation=1, description="a well"))
    page.pick(photo)
    page.find("#attachment-place input").click()
    page.find("#send").click()
    await john.until(type="image")
    said = await john.until(type="position")
    assert (said["x"], said["y"]) == (2.3508333, 48.8566667)
    page.pick(photo)
    page.find("#send").click()
    await john.until(type="image")
    page.say(marker := words())
    await john.until(type="text", text=marker)
    assert not [message for message in john.unread if message["type"] == "position"]
