"""One distribution, ``internal-inpaint``: the engine and its command line."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "core/internal_inpaint/version.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="internal-inpaint",
    version=VERSION,
    description="Removes objects from a shot with a network trained on that one shot",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"internal_inpaint": "core/internal_inpaint"},
    packages=[
        "internal_inpaint" if name == "." else f"internal_inpaint.{name}"
        for name in [".", *find_packages("core/internal_inpaint")]
    ],
    install_requires=[
        "torch>=2.5",
        "numpy>=1.26",
        "scipy>=1.11",
        "OpenImageIO>=3.0",
        "opencolorio>=2.4",
        "Fileseq>=2.0",
        "safetensors>=0.4",
        "opencv-python-headless>=4.9",
    ],
    extras_require={
        # What the tests and benchmarks need on top: never imported by the engine.
        "dev": ["pytest>=8", "pytest-xdist>=3", "ruff==0.17.5", "import-linter>=2.0"],
    },
    entry_points={"console_scripts": ["internal-inpaint = internal_inpaint.cli:main"]},
)
