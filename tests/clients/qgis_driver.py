"""Runs in QGIS (`qgis --code`): uses the QChat plugin as a person does, and reports what it saw.

It runs in QGIS' own Python and GUI thread. It replaces nothing of the plugin except the dialog for picking a file. It
exchanges JSON lines with `check_qgis.py` over two pipes: it reports what it saw, and requests actions of another user.
"""

import faulthandler
import json
import os
import select
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qgis.utils
from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsJsonExporter,
    QgsPoint,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.gui import QgsLayerTreeView, QgsMapCanvas
from qgis.PyQt.QtCore import QCoreApplication, QTimer
from qgis.PyQt.QtGui import QColor, QImage
from qgis.PyQt.QtWidgets import QApplication, QDialog, QFileDialog, QMessageBox, QTextEdit, QTreeWidgetItem

# read, write (pipes), plugin, url, channels, nickname, directory
TASK: dict[str, Any] = json.loads(os.environ["CHECK_QGIS"])
PATIENCE = 20.0  # seconds until something must be shown
STUCK_SECONDS = 300.0  # then QGIS' log shows where it hangs
BUSY_SECONDS = 30.0  # a processing run that blocks the GUI thread
MARKER = "---"  # the plugin's entry for no channel
MESSAGE_COLUMN = 2

iface = qgis.utils.iface


class Failed(Exception):
    """Something does not work for a user; the text says what."""


class Vital(Failed):
    """A failure after which no further step can be tried."""


# --- the other process ---


class Outside:
    """Communicates with `check_qgis.py`; meanwhile QGIS handles its events."""

    def __init__(self) -> None:
        self._rest = b""

    def tell(self, **line: Any) -> None:
        os.write(TASK["write"], json.dumps(line).encode() + b"\n")

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Let the other user do something; return the result."""
        self.tell(ask=verb, arguments=arguments)
        reply = until(self._line, f"the answer to {verb}", patience=2 * PATIENCE)
        if "error" in reply:
            raise Failed(reply["error"])
        return reply["done"]

    def _line(self) -> dict[str, Any] | None:
        if select.select([TASK["read"]], [], [], 0)[0]:
            self._rest += os.read(TASK["read"], 1 << 20)
        line, newline, rest = self._rest.partition(b"\n")
        if not newline:
            return None
        self._rest = rest
        return json.loads(line)


outside = Outside()


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Let QGIS handle its events until the condition holds, and return its value.

    Raises:
        Failed: the condition did not hold in time; names what QGIS' message bar showed.
    """
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            shown = "; ".join(bar[-3:]) or "nothing"
            raise Failed(f"{what} did not come within {patience:.0f} s; QGIS' message bar showed: {shown}")
        QCoreApplication.processEvents()
        time.sleep(0.01)
    return found


# --- what QGIS shows ---

bar: list[str] = []  # what the message bar has shown
boxes: list[str] = []  # the texts of message boxes; each is answered with Yes or OK
errors: list[str] = []  # dialogs that no step expects: QGIS shows one for an exception in a plugin


def note_bar(_item: Any) -> None:
    item = iface.messageBar().currentItem()
    if item is not None:
        bar.append(f"{item.title()}: {item.text()}".strip(": "))


def answer_box() -> None:
    box = QApplication.activeModalWidget()
    if isinstance(box, QMessageBox):
        boxes.append(box.text())
        for choice in (QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.Ok):
            if box.button(choice):
                box.button(choice).click()
                return
    elif isinstance(box, QDialog):  # no step expects it; waiting for its end would take for ever
        errors.append(" ".join(browser.toPlainText() for browser in box.findChildren(QTextEdit)) or box.windowTitle())
        box.reject()


def box_after(press: Callable[[], Any], what: str) -> str:
    """Press a button; return the text of the message box that opens."""
    before = len(boxes)
    press()
    until(lambda: len(boxes) > before, what)
    return boxes[-1]


@contextmanager
def picked_files(*files: str) -> Iterator[None]:
    """Answer the next file dialog with these files."""
    original = QFileDialog.getOpenFileNames
    QFileDialog.getOpenFileNames = staticmethod(lambda *_, **__: (list(files), ""))
    try:
        yield
    finally:
        QFileDialog.getOpenFileNames = original


# --- the plugin ---


def start_plugin() -> Any:
    """Load the plugin as QGIS does and open its dock.

    QGIS itself refuses a plugin that requires a newer QGIS, although most of such a plugin works.
    """
    directory = Path(TASK["plugin"])
    sys.path.insert(0, str(directory.parent))
    qgis.utils.updateAvailablePlugins()
    from processing.core.Processing import Processing

    Processing.initialize()  # the plugin writes models and scripts to Processing's directories
    name = directory.name
    if not (qgis.utils.loadPlugin(name) and qgis.utils.startPlugin(name)):
        raise Vital(f"QGIS cannot load the plugin in {directory}")
    return qgis.utils.plugins[name]


def configure(**values: Any) -> None:
    """Store the plugin's settings as its page in QGIS' options does."""
    options = sys.modules[f"{Path(TASK['plugin']).name}.toolbelt"].PlgOptionsManager
    for key, value in values.items():
        options.set_value_from_key(key, value)


class Dock:
    """The plugin's dock widget, as a user sees and uses it."""

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin

    @property
    def widget(self) -> Any:
        return self._plugin.qchat_widget

    def open(self) -> None:
        self._plugin.open_chat()
        until(lambda: self.widget.initialized, "the dock")

    def close(self) -> None:
        self.widget.close()
        until(lambda: not self.widget.initialized, "the dock's end")

    def channels(self) -> list[str]:
        box = self.widget.cbb_channel
        return [box.itemText(i) for i in range(box.count()) if box.itemText(i) != MARKER]

    def connect(self, channel: str) -> None:
        self.widget.cbb_channel.setCurrentText(channel)
        until(lambda: self.widget.connected and self.widget.current_channel == channel, f"the connection to {channel}")

    def items(self) -> list[Any]:
        root = self.widget.twg_chat.invisibleRootItem()
        found: list[Any] = []
        pending: list[QTreeWidgetItem] = [root.child(i) for i in range(root.childCount())]
        while pending:
            item = pending.pop(0)
            found.append(item)
            pending += [item.child(i) for i in range(item.childCount())]
        return found

    def message(self, what: str, patience: float = PATIENCE, **conditions: Any) -> Any:
        """The item of the last message with these values."""

        def shown() -> Any:
            for item in reversed(self.items()):
                message = getattr(item, "message", None)
                if message and all(getattr(message, key, None) == value for key, value in conditions.items()):
                    return item
            return None

        return until(shown, what, patience)

    def say(self, text: str) -> None:
        self.widget.lne_message.setText(text)
        self.widget.btn_send.click()


# --- the steps, in a user's order ---

NICKNAME: str = TASK["nickname"]
CHANNELS: list[str] = TASK["channels"]
DIRECTORY = Path(TASK["directory"])
WITNESS = "witness"

STEPS: list[Callable[[Dock], str]] = []


def step(function: Callable[[Dock], str]) -> Callable[[Dock], str]:
    STEPS.append(function)
    return function


def expect(condition: object, why: str) -> None:
    if not condition:
        raise Failed(why)


@step
def lists_the_channels(dock: Dock) -> str:
    dock.open()
    found = dock.channels()
    if found != CHANNELS:
        raise Vital(f"the dock lists {found}, the server has {CHANNELS}; the message bar showed: {bar}")
    return f"the dock lists {', '.join(found)}"


@step
def connects_and_registers(dock: Dock) -> str:
    outside.ask("join", channel=CHANNELS[0], nickname=WITNESS)
    try:
        dock.connect(CHANNELS[0])
    except Failed as failure:
        raise Vital(str(failure)) from failure
    outside.ask("await", conditions={"type": "newcomer", "newcomer": NICKNAME})
    until(lambda: "2 users" in dock.widget.grb_qchat.title(), "the count of two users")
    return f"{dock.widget.grb_qchat.title()!r}; the other one reads that {NICKNAME} has come"


@step
def completes_nicknames(dock: Dock) -> str:
    def nicknames() -> list[str]:
        model = dock.widget.text_completer.model()
        return [model.index(i, 0).data() for i in range(model.rowCount())]

    until(lambda: f"@{WITNESS}" in nicknames(), f"@{WITNESS} among what the input field completes")
    return f"the input field completes @{WITNESS}"


@step
def says_a_text(dock: Dock) -> str:
    dock.say("Grüß Gott from QGIS 🗺")
    message = outside.ask("await", conditions={"type": "text", "text": "Grüß Gott from QGIS 🗺"})
    dock.message("the echo of the text", text="Grüß Gott from QGIS 🗺")
    expect(message["author"] == NICKNAME, f"the text came from {message['author']}")
    return "the text arrives, and its echo is shown"


@step
def reads_a_text(dock: Dock) -> str:
    sent = outside.ask("send", message={"type": "text", "author": WITNESS, "text": "good day, QGIS"})
    item = dock.message("the other one's text", text="good day, QGIS")
    expect(item.text(1) == WITNESS, f"it is shown as said by {item.text(1)}")
    expect(item.datetime.toSecsSinceEpoch() == sent["timestamp"], f"its time is shown as {item.datetime.toString()}")
    return f"{item.text(0)} {item.text(1)}: {item.text(2)}"


@step
def answers_in_a_thread(dock: Dock) -> str:
    asked = dock.message("the other one's text", text="good day, QGIS")
    outside.ask(
        "send", message={"type": "text", "author": WITNESS, "text": "in reply", "in_reply_to_id": asked.message.id}
    )
    item = dock.message("the reply", text="in reply")
    expect(item.parent() is asked, "the reply is not shown below what it answers")
    return "a reply is shown below what it answers"


def memory_layer() -> QgsVectorLayer:
    """Points with heights, one without (its Z is NaN), a feature without a geometry, and a null value."""
    layer = QgsVectorLayer("PointZ?crs=EPSG:2154&field=name:string&field=depth:double", "wells / Brunnen", "memory")
    features = []
    for name, depth, point in (
        ("north", 12.5, QgsPoint(652000.25, 6862000.5, 35.0)),
        ("no height", None, QgsPoint(652100, 6862100, float("nan"))),
        ("no place", 3.0, None),
    ):
        feature = QgsFeature(layer.fields())
        feature.setAttributes([name, depth])
        if point is not None:
            feature.setGeometry(QgsGeometry(point))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


@step
def sends_a_layer(dock: Dock) -> str:
    layer = memory_layer()
    QgsProject.instance().addMapLayer(layer)
    iface.setActiveLayer(layer)
    before = len(boxes)
    dock.widget.on_send_geojson_layer_to_qchat()
    message = outside.ask("await", conditions={"type": "geojson", "author": NICKNAME})
    expect(len(message["geojson"]["features"]) == 3, f"{len(message['geojson']['features'])} of 3 features came")
    expect(message["crs_authid"] == "EPSG:2154", f"its CRS came as {message['crs_authid']}")
    asked = f"QGIS asked {boxes[-1]!r}" if len(boxes) > before else "QGIS asked nothing"
    return f"{message['layer_name']!r} with 3 features arrives ({asked})"


def load(item: Any) -> None:
    """Click on a message's row."""
    item.on_click(MESSAGE_COLUMN)


@step
def loads_that_layer(dock: Dock) -> str:
    item = dock.message("the layer's echo", crs_authid="EPSG:2154", author=NICKNAME)
    layer = load_new(item)
    features = {feature["name"]: feature for feature in layer.getFeatures()}
    expect(len(features) == 3, f"{len(features)} of 3 features were loaded")
    geometries = {name: feature.geometry() for name, feature in features.items()}
    expect(not geometries["no height"].isNull(), "the point without a height has no geometry any more")
    expect(geometries["no place"].isNull(), "the feature without a geometry has one")
    point = geometries["north"].constGet()
    expect((point.x(), point.y()) == (652000.25, 6862000.5), f"the point has moved to {point.asWkt()}")
    expect(layer.crs().authid() == "EPSG:2154", f"its CRS is {layer.crs().authid()}")
    return f"{layer.name()!r}: 3 features, {layer.crs().authid()}, {QgsWkbTypes.displayString(layer.wkbType())}"


def layer_of_another(dock: Dock, name: str, **members: Any) -> Any:
    """The row of a layer from a bot or the page, which has no style."""
    crs = QgsCoordinateReferenceSystem("EPSG:4326")
    geojson = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [6.1, 46.2]}}],
    }
    head = {"type": "geojson", "author": WITNESS, "layer_name": name, "crs_wkt": crs.toWkt(), "crs_authid": "EPSG:4326"}
    message = outside.ask("send", message={**head, "geojson": geojson, **members})
    return dock.message("the other one's layer", id=message["id"])


def load_new(item: Any) -> QgsVectorLayer:
    """Click on a layer's row; return the layer that it adds."""
    before = set(QgsProject.instance().mapLayers())
    load(item)
    added = set(QgsProject.instance().mapLayers()) - before
    expect(added, f"no layer was added; its name came as {item.message.layer_name!r}")
    layer = QgsProject.instance().mapLayer(added.pop())
    expect(layer.isValid(), "QGIS says that the layer it loaded is not valid")
    return layer


@step
def loads_a_layer_whose_name_is_a_path(dock: Dock) -> str:
    item = layer_of_another(dock, "../roads/2024")
    name = item.message.layer_name
    expect(not set(name) & set("/\\") and not name.startswith("."), f"its name is {name!r}: that is a path")
    return f"its name comes as {name!r}"


@step
def loads_a_layer_without_a_style(dock: Dock) -> str:
    layer = load_new(layer_of_another(dock, "roads", style=""))
    return f"{layer.name()!r} is loaded"


@step
def sends_an_extent_and_zooms_to_it(dock: Dock) -> str:
    project, canvas = QgsProject.instance(), iface.mapCanvas()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:2154"))
    canvas.setDestinationCrs(project.crs())
    canvas.setExtent(QgsRectangle(651000, 6861000, 653000, 6863000))
    sent = canvas.extent()
    dock.widget.btn_send_extent.click()
    message = outside.ask("await", conditions={"type": "bbox", "author": NICKNAME})
    expect(message["xmin"] == sent.xMinimum(), f"xmin was {sent.xMinimum()} and came as {message['xmin']}")
    canvas.setExtent(QgsRectangle(0, 0, 10, 10))
    load(dock.message("the extent's echo", author=NICKNAME, xmin=sent.xMinimum()))
    center = canvas.extent().center()
    expect(sent.contains(center), f"the map shows {canvas.extent().toString()}")
    return f"the map goes to {canvas.extent().toString(0)}"


@step
def sends_a_position_and_goes_there(dock: Dock) -> str:
    canvas = iface.mapCanvas()
    dock.widget.on_send_position_to_qchat(QgsPointXY(652000, 6862000))
    outside.ask("await", conditions={"type": "position", "author": NICKNAME, "x": 652000})
    canvas.setCenter(QgsPointXY(0, 0))
    load(dock.message("the position's echo", author=NICKNAME, x=652000))
    center = canvas.center()
    expect(abs(center.x() - 652000) < 1 and abs(center.y() - 6862000) < 1, f"the map is at {center.toString()}")
    return f"the map goes to {center.toString(0)}"


@step
def sends_a_crs_and_takes_it(dock: Dock) -> str:
    project = QgsProject.instance()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    dock.widget.btn_send_crs.click()
    outside.ask("await", conditions={"type": "crs", "author": NICKNAME, "crs_authid": "EPSG:3857"})
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    load(dock.message("the CRS' echo", author=NICKNAME, crs_authid="EPSG:3857"))
    expect(project.crs().authid() == "EPSG:3857", f"the project has {project.crs().authid()}")
    return f"the project has {project.crs().authid()}"


@step
def sends_an_image_and_shows_it(dock: Dock) -> str:
    path = DIRECTORY / "photo.jpg"
    picture = QImage(1600, 900, QImage.Format.Format_RGB32)
    picture.fill(QColor("seagreen"))
    expect(picture.save(str(path)), f"QGIS cannot write {path}")
    with picked_files(str(path)):
        dock.widget.btn_send_image.click()
    outside.ask("await", conditions={"type": "image", "author": NICKNAME})
    item = dock.message("the image's echo", author=NICKNAME, type="image")
    size = item.pixmap.size()
    expect(max(size.width(), size.height()) > 0, "QGIS cannot show what came")
    colour = item.pixmap.toImage().pixelColor(5, 5)
    expect(abs(colour.green() - 139) < 8, f"its colour came as {colour.name()}")
    return f"1600 x 900 pixels come back as {size.width()} x {size.height()}"


@step
def sends_a_screenshot(dock: Dock) -> str:
    dock.widget.btn_send_screenshot.click()
    outside.ask("await", conditions={"type": "image", "author": NICKNAME})
    return "the screenshot arrives"


@step
def loads_a_script_whose_name_is_a_path(dock: Dock) -> str:
    from processing.script import ScriptUtils

    code = "# a script\n"
    outside.ask(
        "send",
        message={"type": "script", "author": WITNESS, "name": "../../../evil", "raw_pycode": code},
    )
    item = dock.message("the script", author=WITNESS, raw_pycode=code)
    expect(
        "/" not in item.message.name, f"its name is {item.message.name!r}: the plugin would write outside its directory"
    )
    load(item)
    path = Path(ScriptUtils.scriptsFolders()[0]) / "qchat" / f"{item.message.name}.py"
    expect(path.read_text("utf-8") == code, f"there is no script {path}")
    return f"it is written to {path.name}"


@step
def loads_a_model(dock: Dock) -> str:
    from qgis.core import QgsProcessingModelAlgorithm

    model = QgsProcessingModelAlgorithm("buffer twice", "roads")
    path = DIRECTORY / "model.model3"
    expect(model.toFile(str(path)), "QGIS cannot write a model")
    xml = path.read_text("utf-8")
    outside.ask(
        "send",
        message={
            "type": "model",
            "author": WITNESS,
            "model_name": "buffer twice",
            "model_group": "roads",
            "raw_xml": xml,
        },
    )
    item = dock.message("the model", author=WITNESS, model_name="buffer twice")
    expect(item.message.raw_xml == xml, "the model came changed")
    load(item)
    return "a model of Processing arrives unchanged"


@step
def is_liked(dock: Dock) -> str:
    before = len(bar)
    outside.ask(
        "send",
        message={"type": "like", "liker_author": WITNESS, "liked_author": NICKNAME, "message": "well said"},
        echo=False,
    )
    until(lambda: any("well said" in text for text in bar[before:]), "the like in the message bar")
    return bar[-1]


@step
def is_told_of_a_refusal(dock: Dock) -> str:
    before = len(bar)
    dock.say("x" * 300)
    until(lambda: len(bar) > before, "the reason why a text of 300 characters is refused")
    return bar[-1]


@step
def is_told_of_an_empty_extent(dock: Dock) -> str:
    """QGIS' canvas without layers says 1.8e308 and -1.8e308."""
    before = len(bar)
    widget = dock.widget
    empty = QgsRectangle()
    empty.setMinimal()
    message = sys.modules[type(widget).__module__].QChatBboxMessage(
        type="bbox",
        id="7a2b1d0c-8d3a-4b43-9f63-0a3b8b5b6a10",
        timestamp=int(time.time()),
        author=NICKNAME,
        avatar=None,
        crs_wkt="",
        crs_authid="",
        xmin=empty.xMinimum(),
        xmax=empty.xMaximum(),
        ymin=empty.yMinimum(),
        ymax=empty.yMaximum(),
    )
    widget.qchat_ws.send_message(message)
    until(lambda: any("extent" in text for text in bar[before:]), "the reason why an empty extent is refused")
    return bar[-1]


@step
def lists_the_users(dock: Dock) -> str:
    said = box_after(dock.widget.btn_list_users.click, "the list of users")
    expect(NICKNAME in said and WITNESS in said, f"it says {said!r}")
    return one_line(said)


@step
def shows_the_status(dock: Dock) -> str:
    said = box_after(dock.widget.btn_status.click, "the status")
    expect("ok" in said and f"{CHANNELS[0]} : 2 users" in said, f"it says {said!r}")
    return one_line(said)


@step
def shows_the_rules(dock: Dock) -> str:
    said = box_after(dock.widget.btn_rules.click, "the rules")
    expect("Be kind." in said and "255" in said, f"it says {said!r}")
    return one_line(said)


def one_line(text: str) -> str:
    return " ".join(text.split())


@step
def stays_while_it_is_busy(dock: Dock) -> str:
    time.sleep(BUSY_SECONDS)  # like a processing run, this blocks the GUI thread, which answers pings
    dock.say("still here")
    outside.ask("await", conditions={"type": "text", "text": "still here"})
    dock.message("its own text", text="still here")
    return f"after {BUSY_SECONDS:.0f} s of work in its GUI thread it is still connected"


@step
def changes_channels(dock: Dock) -> str:
    outside.ask("leave")
    said = []
    for channel in CHANNELS[1:]:
        outside.ask("join", channel=channel, nickname=WITNESS)
        dock.connect(channel)
        outside.ask("await", conditions={"type": "newcomer", "newcomer": NICKNAME})
        dock.say(f"now in {channel}")
        outside.ask("await", conditions={"type": "text", "text": f"now in {channel}"})
        users = dock.widget.qchat_client.get_registered_users(channel)
        expect(sorted(users or []) == sorted([NICKNAME, WITNESS]), f"in {channel} it lists {users}")
        said.append(channel)
        outside.ask("leave")
    return f"talks in {', '.join(said)}"


@step
def disconnects(dock: Dock) -> str:
    outside.ask("join", channel=CHANNELS[0], nickname=WITNESS)
    dock.connect(CHANNELS[0])
    outside.ask("await", conditions={"type": "newcomer", "newcomer": NICKNAME})
    dock.widget.btn_connect.click()
    until(lambda: not dock.widget.connected, "the end of the connection")
    outside.ask("await", conditions={"type": "exiter", "exiter": NICKNAME})
    return f"the other one reads that {NICKNAME} has left"


@step
def connects_to_an_address_with_a_slash(dock: Dock) -> str:
    dock.close()
    configure(instance_uri=TASK["url"] + "/")
    dock.open()
    found = dock.channels()
    expect(found == CHANNELS, f"with a slash at the address' end the dock lists {found}")
    dock.connect(CHANNELS[0])
    outside.ask("await", conditions={"type": "newcomer", "newcomer": NICKNAME})
    return "lists the channels and connects"


@step
def is_told_when_the_server_stops(dock: Dock) -> str:
    before = len(bar)
    outside.ask("stop")
    until(lambda: any("Uncompliant" in text for text in bar[before:]), "a word of why the connection ends")
    return f"{bar[-1]!r}; the dock's title is {dock.widget.grb_qchat.title()!r}"


def with_errors(why: str) -> str:
    """Append the Python errors that QGIS has shown, and clear them."""
    shown = [" ".join(error.split("Python version:")[0].split()) for error in errors]
    errors.clear()
    return "; ".join([why, *shown])


class NoSignal:
    """Replaces a signal that this QGIS does not have."""

    def connect(self, *_: Any) -> None:
        pass

    def disconnect(self, *_: Any) -> None:
        pass


def fill_gaps() -> None:
    """Add what the plugin uses and a QGIS older than the required 3.40 lacks; none of it concerns the chat."""
    if not hasattr(QgsLayerTreeView, "contextMenuAboutToShow"):
        QgsLayerTreeView.contextMenuAboutToShow = NoSignal()
    if not hasattr(QgsMapCanvas, "contextMenuAboutToShow"):
        QgsMapCanvas.contextMenuAboutToShow = NoSignal()
    if not hasattr(QgsJsonExporter, "setDestinationCrs"):  # transforms to WGS 84 or not at all, as the plugin wants
        transform = QgsJsonExporter.setTransformGeometries
        QgsJsonExporter.setDestinationCrs = lambda exporter, _crs: None
        QgsJsonExporter.setTransformGeometries = lambda exporter, _on: transform(exporter, False)


def main() -> None:
    fill_gaps()
    outside.tell(saw=f"QGIS {Qgis.QGIS_VERSION}, Python {sys.version.split()[0]}", step="starts")
    iface.messageBar().widgetAdded.connect(note_bar)
    timer = QTimer()
    timer.timeout.connect(answer_box)
    timer.start(50)
    plugin = start_plugin()
    configure(
        instance_uri=TASK["url"],
        nickname=NICKNAME,
        auto_reconnect=False,
        play_sounds=False,
        display_admin_messages=True,
        notify_push_info=True,
    )
    dock = Dock(plugin)
    for function in STEPS:
        name = function.__name__.replace("_", " ")
        started = time.monotonic()
        try:
            saw = function(dock)
            if errors:
                raise Failed("QGIS shows a Python error")
        except Vital as failure:
            outside.tell(step=name, failed=with_errors(str(failure)))
            return
        except Failed as failure:
            outside.tell(step=name, failed=with_errors(str(failure)))
        except Exception as error:
            outside.tell(step=name, failed=with_errors(f"{error!r}\n{traceback.format_exc()}"))
        else:
            outside.tell(step=name, saw=saw, seconds=time.monotonic() - started)


def run() -> None:
    faulthandler.dump_traceback_later(STUCK_SECONDS)
    try:
        main()
    except Failed as failure:
        outside.tell(step="starts", failed=with_errors(str(failure)))
    except Exception as error:
        outside.tell(step="starts", failed=with_errors(f"{error!r}\n{traceback.format_exc()}"))
    outside.tell(end=True)
    os._exit(0)  # QGIS would ask whether to save the project


QTimer.singleShot(0, run)
