"""Names that clients make files of: harmless on every system, readable, and harmless already the second time."""

import os
import random
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest

from gischat.protocol.file_names import file_name, icon_name

DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"
}

HARMFUL = [
    ("../../.bashrc", "______.bashrc"), ("/etc/passwd", "_etc_passwd"), ("a/b\\c", "a_b_c"), ("..", "__"), (".", "_"),
    ("C:\\Windows\\x", "C__Windows_x"), ("c:x", "c_x"), ("wells.geojson:stream", "wells.geojson_stream"),
    (".hidden", "_hidden"), ("a..b", "a__b"), ("a...", "a___"), ("wells. .", "wells___"), ("wells ", "wells_"),
    ('<a>|"b"?*', "_a___b___"), ("two\nlines\t", "two_lines_"), ("nul\0byte\x7f\x9f", "nul_byte__"),
    ("wells\u202egnp.exe", "wells_gnp.exe"), ("\u2066a\u2069\u200e\u061c", "_a___"),
    ("in\u200bvisi\u00adble\ufeff\u2060\U000e0041", "in_visi_ble___"), ("a\u200db", "a_b"), ("\u200dx", "_x"),
    ("half \ud83d", "half _"), ("CON", "CO_"), ("nul.txt", "nu_.txt"), ("Aux ", "Au__"), ("prn .x.y", "pr_ .x.y"),
    ("COM1", "COM_"), ("lpt9.geojson", "lpt_.geojson"), ("com¹", "com_"), ("CONIN$", "CONIN_"),
    ("conout$.x", "conout_.x"), ("", "unnamed"), ("   ", "unnamed"), ("\u200b\u3000", "unnamed"), ("///", "___"),
]  # fmt: skip

HARMLESS = [
    "wells", "Forêt de Fontainebleau (2024) – v1.2", "hello.py", "地図", "family 👩\u200d👩\u200d👧 ❤️\u200d🔥",
    "آب\u200cها",  # Persian: the joiner is part of how it is spelt
    "console", "CONTOURS", "com", "com10", "nulls.txt", "my.con", "a.b.c", "-rf", " leading", "~",
    "100 % & more; $HOME 'quoted' [1] {2} =+,@^`!#",
]  # fmt: skip


def test_what_no_file_name_may_hold_is_replaced_and_all_else_stays() -> None:
    assert [(name, file_name(name)) for name, _ in HARMFUL] == HARMFUL
    assert list(map(file_name, HARMLESS)) == HARMLESS


@pytest.mark.slow
def test_whatever_it_was_it_stays_in_its_directory_and_as_it_is(tmp_path: Path) -> None:
    chance = random.Random(1)
    parts = [name for name, _ in HARMFUL] + HARMLESS + list("./\\: \u200d\u200c\u202eéa\0") + ["..", "con", "👩"]
    for _ in range(500):
        name = "".join(chance.choices(parts, k=chance.randint(1, 4)))[: chance.choice([3, 20, 128])]
        harmless = file_name(name)
        assert harmless
        assert len(harmless) <= max(len(name), len("unnamed"))
        assert file_name(harmless) == harmless
        for suffix in ("", ".geojson", "_style.qml"):
            assert os.path.realpath(tmp_path / f"{harmless}{suffix}") == str(tmp_path / f"{harmless}{suffix}")
            windows = PureWindowsPath(f"C:/Temp/{harmless}{suffix}")
            assert windows.parent == PureWindowsPath("C:/Temp")
            assert windows.name.split(".")[0].rstrip().upper() not in DEVICES
        assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in harmless)


ICONS = [
    *((name, name) for name in ("mIconPythonFile.svg", "algorithms/mAlgorithmBuffer.svg", "🗺", "", ":/images/x.svg")),
    ("/mActionAdd.svg", "/mActionAdd.svg"),  # so does QGIS itself write many
    ("../../../../dev/zero", "__/__/__/__/dev/zero"),
    ("a/../b", "a/__/b"),
    ("./.ssh/id_rsa", "_/_ssh/id_rsa"),
    ("..\\..\\x", "______x"),
    (":/../x:/y", ":/__/x_/y"),
    ("https://example.org/x.png", "https_//example.org/x.png"),
    ("a/con", "a/co_"),
]


@pytest.mark.parametrize(("name", "harmless"), ICONS)
def test_an_icon_is_one_of_the_receivers_own(name: str, harmless: str) -> None:
    assert icon_name(name) == icon_name(harmless) == harmless
