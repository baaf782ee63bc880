"""Runs in QGIS (`qgis --code`): uses the QChat plugin as a person does, and reports what it saw.

It runs in QGIS' own Python and GUI thread. It replaces nothing of the plugin except the dialog for picking a file. It
is another user, too, by a plain websocket, and reports to `check_qgis.py` in JSON lines.
"""

import faulthandler
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qgis.utils
from PyQt5.QtWebSockets import QWebSocket  # as the plugin has it: qgis.PyQt has none
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
from qgis.PyQt.QtCore import QCoreApplication, QTimer, QUrl
from qgis.PyQt.QtGui import QColor, QImage
from qgis.PyQt.QtWidgets import QApplication, QDialog, QFileDialog, QMessageBox, QTextEdit, QTreeWidgetItem

# pipe, plugin, url, channels, directory
TASK: dict[str, Any] = json.loads(os.environ["CHECK_QGIS"])
NICKNAME, WITNESS = "qgis-user", "witness"
CHANNELS: list[str] = TASK["channels"]
DIRECTORY = Path(TASK["directory"])
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


def tell(**line: Any) -> None:
    """Report to `check_qgis.py`."""
    os.write(TASK["pipe"], json.dumps(line).encode() + b"\n")


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


def expect(condition: object, why: str) -> None:
    if not condition:
        raise Failed(why)


class Witness:
    """Another user."""

    def join(self, channel: str) -> None:
        self._received: list[dict[str, Any]] = []
        self._socket = QWebSocket()
        self._socket.textMessageReceived.connect(lambda text: self._received.append(json.loads(text)))
        self._socket.open(QUrl(f"{TASK['url'].replace('http', 'ws')}/channel/{channel}/ws"))
        until(lambda: self._socket.isValid(), "the other one's connection")
        self.send("newcomer", newcomer=WITNESS)
        self.heard("newcomer", newcomer=WITNESS)

    def leave(self) -> None:
        self._socket.close()

    def send(self, type_: str, **values: Any) -> None:
        self._socket.sendTextMessage(json.dumps({"type": type_, **values}))

    def heard(self, type_: str, **values: Any) -> dict[str, Any]:
        """Wait for such a message, and take it out of those received."""
        values["type"] = type_

        def found() -> dict[str, Any] | None:
            return next((one for one in self._received if values.items() <= one.items()), None)

        message = until(found, f"{values} at the other one", patience=2 * PATIENCE)
        self._received.remove(message)
        return message


witness = Witness()


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

STEPS: list[Callable[[Dock], str]] = []


def step(function: Callable[[Dock], str]) -> Callable[[Dock], str]:
    STEPS.append(function)
    return function


def send(type_: str, **values: Any) -> dict[str, Any]:
    """Let the other user send a message; return its echo."""
    witness.send(type_, author=WITNESS, **values)
    return witness.heard(type_, author=WITNESS)


def join(dock: Dock, channel: str) -> None:
    """Let the other user join, and then the dock."""
    witness.join(channel)
    dock.connect(channel)
    witness.heard("newcomer", newcomer=NICKNAME)


@step
def lists_the_channels(dock: Dock) -> str:
    dock.open()
    found = dock.channels()
    if found != CHANNELS:
        raise Vital(f"the dock lists {found}, the server has {CHANNELS}; the message bar showed: {bar}")
    return f"the dock lists {', '.join(found)}"


@step
def connects_and_registers(dock: Dock) -> str:
    try:
        join(dock, CHANNELS[0])
    except Failed as failure:
        raise Vital(str(failure)) from failure
    until(lambda: "2 users" in dock.widget.grb_qchat.title(), "the count of two users")

    def nicknames() -> list[str]:
        model = dock.widget.text_completer.model()
        return [model.index(i, 0).data() for i in range(model.rowCount())]

    until(lambda: f"@{WITNESS}" in nicknames(), f"@{WITNESS} among what the input field completes")
    return f"{dock.widget.grb_qchat.title()!r}; the input field completes @{WITNESS}"


@step
def talks(dock: Dock) -> str:
    dock.say("Grüß Gott from QGIS 🗺")
    message = witness.heard("text", text="Grüß Gott from QGIS 🗺")
    dock.message("the echo of the text", text="Grüß Gott from QGIS 🗺")
    expect(message["author"] == NICKNAME, f"the text came from {message['author']}")
    sent = send("text", text="good day, QGIS")
    item = dock.message("the other one's text", text="good day, QGIS")
    expect(item.text(1) == WITNESS, f"it is shown as said by {item.text(1)}")
    expect(item.datetime.toSecsSinceEpoch() == sent["timestamp"], f"its time is shown as {item.datetime.toString()}")
    send("text", text="in reply", in_reply_to_id=item.message.id)
    reply = dock.message("the reply", text="in reply")
    expect(reply.parent() is item, "the reply is not shown below what it answers")
    return f"{item.text(0)} {item.text(1)}: {item.text(2)}"


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


def load(item: Any) -> None:
    """Click on a message's row."""
    item.on_click(MESSAGE_COLUMN)


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
def sends_and_loads_a_layer(dock: Dock) -> str:
    layer = memory_layer()
    QgsProject.instance().addMapLayer(layer)
    iface.setActiveLayer(layer)
    dock.widget.on_send_geojson_layer_to_qchat()
    message = witness.heard("geojson", author=NICKNAME)
    expect(len(message["geojson"]["features"]) == 3, f"{len(message['geojson']['features'])} of 3 features came")
    expect(message["crs_authid"] == "EPSG:2154", f"its CRS came as {message['crs_authid']}")

    layer = load_new(dock.message("the layer's echo", crs_authid="EPSG:2154", author=NICKNAME))
    geometries = {feature["name"]: feature.geometry() for feature in layer.getFeatures()}
    expect(len(geometries) == 3, f"{len(geometries)} of 3 features were loaded")
    expect(not geometries["no height"].isNull(), "the point without a height has no geometry any more")
    expect(geometries["no place"].isNull(), "the feature without a geometry has one")
    point = geometries["north"].constGet()
    expect((point.x(), point.y()) == (652000.25, 6862000.5), f"the point has moved to {point.asWkt()}")
    expect(layer.crs().authid() == "EPSG:2154", f"its CRS is {layer.crs().authid()}")
    return f"{layer.name()!r}: 3 features, {layer.crs().authid()}, {QgsWkbTypes.displayString(layer.wkbType())}"


@step
def loads_a_bots_layers(dock: Dock) -> str:
    """Without a style, and with a name that is a path."""
    crs = {"crs_wkt": QgsCoordinateReferenceSystem("EPSG:4326").toWkt(), "crs_authid": "EPSG:4326"}
    point = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [6.1, 46.2]}}
    geojson = {"type": "FeatureCollection", "features": [point]}
    sent = send("geojson", layer_name="../roads/2024", **crs, geojson=geojson)
    name = dock.message("the other one's layer", id=sent["id"]).message.layer_name
    expect(not set(name) & set("/\\") and not name.startswith("."), f"its name is {name!r}: that is a path")
    sent = send("geojson", layer_name="roads", **crs, geojson=geojson, style="")
    layer = load_new(dock.message("the other one's layer", id=sent["id"]))
    return f"{layer.name()!r} is loaded; a path comes as {name!r}"


@step
def goes_to_extents_and_positions(dock: Dock) -> str:
    project, canvas = QgsProject.instance(), iface.mapCanvas()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:2154"))
    canvas.setDestinationCrs(project.crs())
    canvas.setExtent(QgsRectangle(651000, 6861000, 653000, 6863000))
    sent = canvas.extent()
    dock.widget.btn_send_extent.click()
    message = witness.heard("bbox", author=NICKNAME)
    expect(message["xmin"] == sent.xMinimum(), f"xmin was {sent.xMinimum()} and came as {message['xmin']}")
    canvas.setExtent(QgsRectangle(0, 0, 10, 10))
    load(dock.message("the extent's echo", author=NICKNAME, xmin=sent.xMinimum()))
    expect(sent.contains(canvas.extent().center()), f"the map shows {canvas.extent().toString()}")

    dock.widget.on_send_position_to_qchat(QgsPointXY(652000, 6862000))
    witness.heard("position", author=NICKNAME, x=652000)
    canvas.setCenter(QgsPointXY(0, 0))
    load(dock.message("the position's echo", author=NICKNAME, x=652000))
    center = canvas.center()
    expect(abs(center.x() - 652000) < 1 and abs(center.y() - 6862000) < 1, f"the map is at {center.toString()}")
    return f"the map goes to {sent.toString(0)}, and to {center.toString(0)}"


@step
def sends_a_crs_and_takes_it(dock: Dock) -> str:
    project = QgsProject.instance()
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    dock.widget.btn_send_crs.click()
    witness.heard("crs", author=NICKNAME, crs_authid="EPSG:3857")
    project.setCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    load(dock.message("the CRS' echo", author=NICKNAME, crs_authid="EPSG:3857"))
    expect(project.crs().authid() == "EPSG:3857", f"the project has {project.crs().authid()}")
    return f"the project has {project.crs().authid()}"


@step
def sends_images_and_shows_them(dock: Dock) -> str:
    path = DIRECTORY / "photo.jpg"
    picture = QImage(1600, 900, QImage.Format.Format_RGB32)
    picture.fill(QColor("seagreen"))
    expect(picture.save(str(path)), f"QGIS cannot write {path}")
    with picked_files(str(path)):
        dock.widget.btn_send_image.click()
    witness.heard("image", author=NICKNAME)
    item = dock.message("the image's echo", author=NICKNAME, type="image")
    size, colour = item.pixmap.size(), item.pixmap.toImage().pixelColor(5, 5)
    expect(max(size.width(), size.height()) > 0, "QGIS cannot show what came")
    expect(abs(colour.green() - 139) < 8, f"its colour came as {colour.name()}")
    dock.widget.btn_send_screenshot.click()
    witness.heard("image", author=NICKNAME)
    return f"1600 x 900 pixels come back as {size.width()} x {size.height()}; a screenshot arrives"


@step
def loads_a_script_whose_name_is_a_path(dock: Dock) -> str:
    from processing.script import ScriptUtils

    code = "# a script\n"
    send("script", name="../../../evil", raw_pycode=code)
    item = dock.message("the script", author=WITNESS, raw_pycode=code)
    name = item.message.name
    expect("/" not in name, f"its name is {name!r}: the plugin would write outside its directory")
    load(item)
    path = Path(ScriptUtils.scriptsFolders()[0]) / "qchat" / f"{name}.py"
    expect(path.read_text("utf-8") == code, f"there is no script {path}")
    return f"it is written to {path.name}"


@step
def loads_a_model(dock: Dock) -> str:
    from qgis.core import QgsProcessingModelAlgorithm

    path = DIRECTORY / "model.model3"
    expect(QgsProcessingModelAlgorithm("buffer twice", "roads").toFile(str(path)), "QGIS cannot write a model")
    xml = path.read_text("utf-8")
    send("model", model_name="buffer twice", model_group="roads", raw_xml=xml)
    item = dock.message("the model", author=WITNESS, model_name="buffer twice")
    expect(item.message.raw_xml == xml, "the model came changed")
    load(item)
    return "a model of Processing arrives unchanged"


@step
def is_liked(dock: Dock) -> str:
    witness.send("like", liker_author=WITNESS, liked_author=NICKNAME, message="well said")
    return bar_with("well said")


def bar_with(words: str) -> str:
    """Wait until the message bar has shown these words, which nothing else says."""
    return until(lambda: next((shown for shown in bar if words in shown), ""), f"{words!r} in the message bar")


@step
def is_told_of_refusals(dock: Dock) -> str:
    """A text of 300 characters, and an empty extent: QGIS' canvas without layers says 1.8e308 and -1.8e308."""
    dock.say("x" * 300)
    first = bar_with("300 characters")
    widget, empty = dock.widget, QgsRectangle()
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
    return f"{first} {bar_with('extent is empty')}"


@step
def shows_users_status_and_rules(dock: Dock) -> str:
    shown = []
    for button, words in (
        (dock.widget.btn_list_users, (NICKNAME, WITNESS)),
        (dock.widget.btn_status, ("ok", f"{CHANNELS[0]} : 2 users")),
        (dock.widget.btn_rules, ("Be kind.", "255")),
    ):
        said = box_after(button.click, f"what has {words[0]}")
        expect(all(word in said for word in words), f"it says {said!r}")
        shown.append(" ".join(said.split()))
    return " ".join(shown)


@step
def stays_while_it_is_busy(dock: Dock) -> str:
    time.sleep(BUSY_SECONDS)  # like a processing run, this blocks the GUI thread, which answers pings
    dock.say("still here")
    witness.heard("text", text="still here")
    dock.message("its own text", text="still here")
    return f"after {BUSY_SECONDS:.0f} s of work in its GUI thread it is still connected"


@step
def changes_channels_and_disconnects(dock: Dock) -> str:
    for channel in [*CHANNELS[1:], CHANNELS[0]]:
        witness.leave()
        join(dock, channel)
        dock.say(f"now in {channel}")
        witness.heard("text", text=f"now in {channel}")
        users = dock.widget.qchat_client.get_registered_users(channel)
        expect(sorted(users or []) == sorted([NICKNAME, WITNESS]), f"in {channel} it lists {users}")
    dock.widget.btn_connect.click()
    until(lambda: not dock.widget.connected, "the end of the connection")
    witness.heard("exiter", exiter=NICKNAME)
    return f"talks in {', '.join(CHANNELS)}; the other one reads that {NICKNAME} has left"


@step
def connects_to_an_address_with_a_slash(dock: Dock) -> str:
    dock.close()
    configure(instance_uri=TASK["url"] + "/")
    dock.open()
    found = dock.channels()
    expect(found == CHANNELS, f"with a slash at the address' end the dock lists {found}")
    dock.connect(CHANNELS[0])
    witness.heard("newcomer", newcomer=NICKNAME)
    return "lists the channels and connects"


@step
def is_told_when_the_server_stops(dock: Dock) -> str:
    tell(stop=True)
    return f"{bar_with('restarts')!r}; the dock's title is {dock.widget.grb_qchat.title()!r}"


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
    tell(saw=f"QGIS {Qgis.QGIS_VERSION}, Python {sys.version.split()[0]}", step="starts")
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
            tell(step=name, failed=with_errors(str(failure)))
            return
        except Failed as failure:
            tell(step=name, failed=with_errors(str(failure)))
        except Exception as error:
            tell(step=name, failed=with_errors(f"{error!r}\n{traceback.format_exc()}"))
        else:
            tell(step=name, saw=saw, seconds=time.monotonic() - started)


def run() -> None:
    faulthandler.dump_traceback_later(STUCK_SECONDS)
    try:
        main()
    except Failed as failure:
        tell(step="starts", failed=with_errors(str(failure)))
    except Exception as error:
        tell(step="starts", failed=with_errors(f"{error!r}\n{traceback.format_exc()}"))
    tell(end=True)
    os._exit(0)  # QGIS would ask whether to save the project


QTimer.singleShot(0, run)
