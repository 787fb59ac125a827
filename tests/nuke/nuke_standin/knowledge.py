"""What is known of Nuke's nodes: their knobs, and the values that a knob with a menu takes.

From Foundry's documentation and scripts that Nuke saved (13 to 17). A class, a knob or a value that is not
here is refused by the stand-in: look it up before adding it.
"""

from __future__ import annotations

TEXT, FILE, INT, DOUBLE, MENU, BOOL, CHANNELS, BUTTON, SCRIPT, OTHER = (
    "text",
    "file",
    "int",
    "double",
    "menu",
    "bool",
    "channels",
    "button",
    "script",
    "other",
)
# Codes of addUserKnob.
USER_KNOBS = {1: TEXT, 2: FILE, 3: INT, 4: MENU, 6: BOOL, 7: DOUBLE, 20: "tab", 22: BUTTON, 26: "label", 41: "link"}
USER_FLAGS = {"+STARTLINE", "-STARTLINE", "+HIDDEN", "+INVISIBLE", "+DISABLED"}

COMMON = {
    "name": (TEXT, ""),
    "label": (TEXT, ""),
    "help": (TEXT, ""),
    "onCreate": (SCRIPT, ""),
    "onDestroy": (SCRIPT, ""),
    "knobChanged": (SCRIPT, ""),
    "updateUI": (SCRIPT, ""),
    "autolabel": (SCRIPT, ""),
    "xpos": (INT, 0),
    "ypos": (INT, 0),
    "selected": (BOOL, False),
    "tile_color": (OTHER, 0),
    "note_font_color": (OTHER, 0),
    "hide_input": (BOOL, False),
    "postage_stamp": (BOOL, False),
    "disable": (BOOL, False),
    "cached": (BOOL, False),
    "inputs": (OTHER, ""),
}
LUTS = (
    *("default", "linear", "sRGB", "rec709", "Cineon", "default (linear)", "default (sRGB)", "scene_linear"),
    # Of OCIO's ACES configurations.
    *("ACES - ACEScg", "scene_linear (ACES - ACEScg)", "default (ACES - ACEScg)", "ACES - ACEScc"),
    *("Linear Rec.709 (sRGB)", "scene_linear (Linear Rec.709 (sRGB))", "sRGB Encoded Rec.709 (sRGB)"),
)
SHUFFLE = ("red", "green", "blue", "alpha", "black", "white", "red2", "green2", "blue2", "alpha2")
HOLD = ("hold", "loop", "bounce", "black")

CLASSES: dict[str, dict[str, tuple]] = {
    "Root": {
        "first_frame": (DOUBLE, 1.0),
        "last_frame": (DOUBLE, 100.0),
        "frame": (DOUBLE, 1.0),
        "fps": (DOUBLE, 24.0),
        "proxy": (BOOL, False),
        "project_directory": (FILE, ""),
        "workingSpaceLUT": (MENU, "linear", LUTS),
        "colorManagement": (MENU, "Nuke", ("Nuke", "OCIO")),
        "lock_range": (BOOL, False),
    },
    "Group": {"lock_connections": (BOOL, False), "mapsize": (OTHER, ""), "window": (OTHER, "")},
    "Input": {"number": (INT, 0)},
    "Output": {},
    "Dot": {},
    "NoOp": {},
    "Switch": {"which": (DOUBLE, 0.0)},
    "Grade": {
        "channels": (CHANNELS, "rgb"),
        "multiply": (DOUBLE, 1.0),
        "multiply_panelDropped": (BOOL, False),
        "add": (DOUBLE, 0.0),
        "black_clamp": (BOOL, True),
    },
    "TimeOffset": {"time_offset": (INT, 0)},
    "Copy": {
        **{f"from{i}": (CHANNELS, c) for i, c in enumerate(("rgba.alpha", "none", "none", "none"))},
        **{f"to{i}": (CHANNELS, c) for i, c in enumerate(("rgba.alpha", "none", "none", "none"))},
        "channels": (CHANNELS, "none"),
        "bbox": (MENU, "union", ("union", "B side", "A side")),
        "mix": (DOUBLE, 1.0),
    },
    "Shuffle": {
        "in": (CHANNELS, "rgba"),
        "in2": (CHANNELS, "none"),
        "out": (CHANNELS, "rgba"),
        **{name: (MENU, name, SHUFFLE) for name in ("red", "green", "blue", "alpha")},
    },
    "Read": {
        "file": (FILE, ""),
        "file_type": (MENU, "", ("", "exr", "png", "dpx", "tiff", "jpeg")),
        "proxy": (FILE, ""),
        "format": (OTHER, ""),
        "first": (INT, 1),
        "last": (INT, 1),
        "before": (MENU, "hold", HOLD),
        "after": (MENU, "hold", HOLD),
        "frame_mode": (MENU, "expression", ("expression", "start at", "offset")),
        "frame": (TEXT, ""),
        "origset": (BOOL, False),
        "origfirst": (INT, 1),
        "origlast": (INT, 1),
        "on_error": (MENU, "error", ("error", "black", "checkerboard", "nearest frame")),
        "colorspace": (MENU, "default", LUTS),
        "raw": (BOOL, False),
        "premultiplied": (BOOL, False),
        "auto_alpha": (BOOL, False),
        "localizationPolicy": (
            MENU,
            "fromAutoLocalizePath",
            ("on", "fromAutoLocalizePath", "onDemand", "off"),
        ),
        "version": (INT, 0),
        "reload": (BUTTON, ""),
    },
    "Write": {
        "file": (FILE, ""),
        "file_type": (MENU, "", ("", "exr", "png", "dpx", "tiff", "jpeg")),
        "proxy": (FILE, ""),
        "channels": (CHANNELS, "rgb"),
        "colorspace": (MENU, "default", LUTS),
        "raw": (BOOL, False),
        "premultiplied": (BOOL, False),
        "views": (TEXT, ""),
        "datatype": (MENU, "16 bit half", ("16 bit half", "32 bit float")),
        "compression": (
            MENU,
            "Zip (1 scanline)",
            (
                "none",
                "Zip (1 scanline)",
                "Zip (16 scanlines)",
                "PIZ Wavelet (32 scanlines)",
                "RLE",
                "B44",
                "B44A",
                "DWAA",
                "DWAB",
            ),
        ),
        "metadata": (
            MENU,
            "default metadata",
            (
                "no metadata",
                "default metadata",
                "default metadata and exr/*",
                "all metadata except input/*",
                "all metadata",
            ),
        ),
        "interleave": (
            MENU,
            "channels, layers and views",
            ("channels", "channels and layers", "channels, layers and views"),
        ),
        "autocrop": (BOOL, False),
        "create_directories": (BOOL, False),
        "checkHashOnRead": (BOOL, True),
        "use_limit": (BOOL, False),
        "first": (INT, 1),
        "last": (INT, 1),
        "render_order": (DOUBLE, 1.0),
        "reading": (BOOL, False),
        "beforeRender": (SCRIPT, ""),
        "afterRender": (SCRIPT, ""),
        "Render": (BUTTON, ""),
    },
}
LAYERS = {
    "none": (),
    "all": None,
    "rgb": ("rgba.red", "rgba.green", "rgba.blue"),
    "rgba": ("rgba.red", "rgba.green", "rgba.blue", "rgba.alpha"),
    "alpha": ("rgba.alpha",),
    "depth": ("depth.Z",),
}


def knobs_of(cls: str) -> dict[str, tuple]:
    """Every knob of a class: kind, default and, for a menu, its values. KeyError: no such class."""
    return {**COMMON, **CLASSES[cls]}
