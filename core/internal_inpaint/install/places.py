"""The folders of each host on Linux, macOS and Windows."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from internal_inpaint.errors import BadInput

MANIFESTS = {"nuke": "InternalInpaint/installed.json", "resolve": "InternalInpaint.installed.json"}


@dataclass(frozen=True)
class Place:
    """A host's folder: ``.nuke``, or the folder that holds ``Fuses``, ``Macros`` and ``Scripts``."""

    name: str
    root: Path
    manifest: Path


def places_for(host: str, into: Path | None) -> list[Place]:
    """The folders to install to.

    Raises:
        BadInput: the host's folders do not exist on this machine, or Nuke's is a link.
    """
    if into is not None:
        places = [_place(host, host.capitalize(), into)]
    elif host == "nuke":
        places = [_place(host, "Nuke", _home() / ".nuke")]
    else:
        known = fusion_folders(sys.platform, _home(), os.environ)
        places = [_place(host, name, root) for name, _, root in known if _application(root, known)]
        if not places:
            tried = " or ".join(str(marker) for _, marker, _ in known)
            raise BadInput(
                f"no folders of DaVinci Resolve or Fusion Studio were found (looked for {tried}): start the "
                "application once, or name the folder that holds Fuses with --into"
            )
    for place in places:
        folder = place.root / "InternalInpaint"
        if host == "nuke" and folder.is_symlink():
            raise BadInput(
                f"{folder} is a link to {os.readlink(folder)}: remove it, or install elsewhere with --into"
            )
    return places


def found_installed(host: str, into: Path | None) -> list[Place]:
    """The folders that hold an installation. Raises ``BadInput`` if there are none."""
    if into is not None or host == "nuke":
        places = [_place(host, host.capitalize(), into if into is not None else _home() / ".nuke")]
    else:
        places = [_place(host, name, root) for name, _, root in fusion_folders(sys.platform, _home(), os.environ)]
    if not (there := [place for place in places if place.manifest.is_file()]):
        looked = " or ".join(str(place.root) for place in places)
        raise BadInput(f"there is no installation in {looked}: use --into to name the folder it was installed to")
    return there


def fusion_folders(platform: str, home: Path, environ: Mapping[str, str]) -> list[tuple[str, Path, Path]]:
    """(application, folder that shows it is installed, Fusion's folder); the most likely first per application."""
    if platform == "darwin":
        maker = home / "Library/Application Support/Blackmagic Design"
    elif platform == "win32":
        maker = Path(environ.get("APPDATA") or home / "AppData/Roaming") / "Blackmagic Design"
    else:
        linux = home / ".local/share/DaVinciResolve", home / ".fusion/BlackmagicDesign"
        return [("DaVinci Resolve", linux[0], linux[0] / "Fusion"), ("Fusion", linux[1], linux[1] / "Fusion")]
    resolve, studio = maker / "DaVinci Resolve", maker / "Fusion"
    # Documents disagree about Support; if one of the two folders exists, use that one.
    return [
        ("DaVinci Resolve", resolve, resolve / "Support/Fusion"),
        ("DaVinci Resolve", resolve, resolve / "Fusion"),
        ("Fusion", studio, studio),
    ]


def _application(root: Path, known: list[tuple[str, Path, Path]]) -> bool:
    """Whether to install to this root: its application is installed, and this is its best candidate."""
    name, marker = next((name, marker) for name, marker, place in known if place == root)
    candidates = [place for other, _, place in known if other == name]
    best = next((place for place in candidates if place.is_dir()), candidates[0])
    return marker.is_dir() and root == best


def _place(host: str, name: str, root: Path) -> Place:
    return Place(name, root, root / MANIFESTS[host])


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise BadInput("the home folder is unknown: name the host's folder with --into") from None
