"""`gischat check`: reads the settings, tries what they name, and says what is wrong and how to mend it."""

import argparse
import sys
from collections.abc import Sequence

from gischat.process import WRONG_SETTINGS
from gischat.settings import SettingsError, load


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="gischat check", description="Says whether gischat will run here.")
    parser.parse_args(arguments)
    try:
        load()
    except SettingsError as error:
        print(f"gischat: wrong settings\n{error}", file=sys.stderr)
        return WRONG_SETTINGS
    return 0
