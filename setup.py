"""Packaging. Requirements stand in requirements.txt, the version in gischat/__init__.py."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """Read, not imported: importing would need what is yet to be installed."""
    source = (HERE / "gischat/__init__.py").read_text("utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if not found:
        raise RuntimeError("gischat/__init__.py has no __version__")
    return found[1]


def requirements() -> list[str]:
    lines = (HERE / "requirements.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name="gischat",
    version=version(),
    description="A chat server for people who work with maps",
    python_requires=">=3.11",
    packages=find_packages(include=["gischat", "gischat.*", "worker", "worker.*"]),
    package_data={"gischat": ["web/**", "streams/**/*.lua"]},
    entry_points={"console_scripts": ["gischat = gischat.__main__:main"]},
    install_requires=requirements(),
    extras_require={
        "heic": ["pillow-heif>=1.8.1,<2"],
        "test": [
            "jsonschema>=4.26,<5",
            "kosoku>=0.1,<0.2",
            "lupa>=2.8,<3",  # a Lua for the simulation's Redis
            "openapi-spec-validator>=0.9,<1",
            "packaging>=26",
            "pillow-heif>=1.8.1,<2",
            "psutil>=7,<8",
            "pyside6-addons>=6.9,<7",  # has QtWebSockets
            "pytest>=9.2,<10",
            "pytest-tornasync>=0.6.0.post2,<1",
            "pytest-xdist>=3.8,<4",
            "pyyaml>=6,<7",
            "selenium>=4.51,<5",
            "trustme>=1.2.1,<2",
            "websockets>=17.4,<18",
        ],
        "audit": ["pip-audit>=2.10,<3"],
        "dev": ["mypy>=2.4,<3", "ruff>=0.17.6,<0.18"],
    },
)
