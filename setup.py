"""One distribution, ``internal-inpaint``: the engine and its command line."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "core/internal_inpaint/version.py").read_text().splitlines()
    if line.startswith("__version__")
)


class BuildWithHosts(build_py):
    """Puts the hosts' files into the wheel, where `internal-inpaint install` finds them.

    An editable installation needs none: the files are found in the checkout.
    """

    def run(self):
        super().run()
        if not self.editable_mode:
            for part in ("nuke_gizmos", "resolve_fuse"):
                if (HERE / part).is_dir():
                    target = Path(self.build_lib) / "internal_inpaint" / "hosts" / part
                    leave = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
                    shutil.copytree(HERE / part, target, ignore=leave, dirs_exist_ok=True)


setup(
    name="internal-inpaint",
    version=VERSION,
    description="Removes objects from a shot with a network trained on that one shot",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={
        "internal_inpaint": "core/internal_inpaint",
        "internal_inpaint_plugin": "plugin/internal_inpaint_plugin",
    },
    packages=[*find_packages("core"), *find_packages("plugin")],
    package_data={
        "internal_inpaint.export": ["operators.txt"],
        "internal_inpaint.report": ["report.html.j2"],
    },
    cmdclass={"build_py": BuildWithHosts},
    install_requires=[
        "torch>=2.5",
        "numpy>=1.26",
        "scipy>=1.11",
        "OpenImageIO>=3.0",
        "opencolorio>=2.4",
        "Fileseq>=2.0",
        "safetensors>=0.4",
        "cattrs>=24.1",
        "opencv-python-headless>=4.9",
        "psutil>=5.9",
        "Jinja2>=3.1",
    ],
    extras_require={
        # `export --format onnx` and `render --runtime onnx`; with gpu, on CUDA. The two onnxruntimes are one
        # package in two builds: take one.
        "onnx": ["onnx>=1.16", "onnxruntime>=1.17"],
        "gpu": ["onnx>=1.16", "onnxruntime-gpu>=1.17"],
        # What the tests and benchmarks need on top: never imported by the engine.
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3",
            "ruff==0.17.5",
            "import-linter>=2.0",
            "lupa>=2.8",
            "onnx>=1.16",
            "onnxruntime>=1.17",
            "fusionscript-stubs>=21",
        ],
    },
    entry_points={"console_scripts": ["internal-inpaint = internal_inpaint.cli:main"]},
)
