"""Packaging. Tool settings are in pyproject.toml; `make help` lists the targets for a checkout."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "agent_router/__init__.py").read_text())[1]


def files(directory: str) -> list[str]:
    """The files directly in `directory`, relative to the checkout, except hidden and backup files."""
    found = sorted((ROOT / directory).glob("[a-z]*"))
    return [f"{directory}/{path.name}" for path in found if path.is_file() and not path.name.endswith("~")]


setup(
    name="agent-router",
    version=VERSION,
    description="Pluggable agent for the utility ramdisk of bare-metal provisioning",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["agent_router", "agent_router.*"]),
    package_data={"": ["*.sh", "*.json"]},
    # Unlike package data, data files keep their execute bit in the wheel and on installation.
    data_files=[
        ("share/agent-router/plugins.d", files("plugins.d")),
        ("share/agent-router/schemas", files("schemas")),
    ],
    install_requires=[
        'backports.zstd>=1; python_version < "3.14"',
        "flask>=3",
        "gunicorn>=27,<28",
        "jsonschema>=4.20",
        "sh>=2",
        "simplejson>=3.19",
        "click>=8",
    ],
    extras_require={
        "fast": ["jsonschema-rs"],
        "image": ["isal>=1.7"],
        "torrent": ["libtorrent>=2.1"],
        "dev": [
            "codespell",
            "coverage>=7.10",
            "isal>=1.7",
            "jsonschema-rs",
            "libtorrent>=2.1",
            "mypy",
            "openapi-spec-validator",
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "pyyaml",
            "ruff",
            "tox>=4",
            "types-jsonschema",
            "types-simplejson",
        ],
    },
    entry_points={"console_scripts": ["agent-router = agent_router.cli:main"]},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: System :: Installation/Setup",
    ],
)
