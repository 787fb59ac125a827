"""The trained networks as ONNX graphs, built node by node: it takes a moment, and every name is one to read.

Operators of opset 17, so that onnxruntime from 1.12 on reads them; batch, height and width are free. The same steps
as ``model.ShotModel`` and ``portable.PortableNetwork``, which say why.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from internal_inpaint.export.model import ExportedShot
from internal_inpaint.methods.implicit.blocks import GatedConv
from internal_inpaint.methods.implicit.networks import SMALLEST, STRIDE, InpaintNetwork, Stage
from internal_inpaint.shot.colour import CURVE_BREAK, LINEAR_BREAK, LOG_OFFSET, LOG_SCALE, OFFSET, SLOPE
from internal_inpaint.version import __version__

OPSET, IR = 17, 8


def network_graph(network: InpaintNetwork) -> bytes:
    """One network in working space: ``masked``, ``mask`` and, where it refines, ``prior`` to ``fill``."""
    graph = _Graph()
    planes = ["masked", "mask", *(["prior"] if network.config.refines else [])]
    graph.op("Identity", _network(graph, network, planes, "network"), out="fill")
    return graph.model("network", {"masked": 3, "mask": 1, "prior": 3}, planes, "working space")


def shot_graph(shot: ExportedShot) -> bytes:
    """All stages of a shot: scene-linear ``plate`` and ``matte`` to scene-linear ``fill``."""
    g = _Graph()
    # A difference with itself is 0 but for NaN and infinity.
    apart = g.op("ReduceSum", g.op("Abs", g.op("Sub", "plate", "plate")), g.whole(1), keepdims=1)
    sound = g.op("Equal", apart, g.number(0.0))
    covered = g.op("Greater", "matte", g.number(0.0))
    known = g.op("And", g.op("Not", covered), sound)
    values = g.op("Where", known, _curve(g, "plate"), g.number(0.0))
    known, hole = (g.op("Cast", plane, to=TensorProto.FLOAT) for plane in (known, covered))
    planes = g.op("Concat", values, known, hole, axis=1)

    height, width = g.size("plate", 2), g.size("plate", 3)
    scale, middle = g.number(shot.space.scale), g.number(0.5 * (shot.space.low + shot.space.high))
    picture = fill = ""
    for number, (network, size) in enumerate(zip(shot.networks, shot.sizes, strict=True)):
        whole = size == shot.canvas
        here = (height, width) if whole else _scaled(g, (height, width), size, shot.canvas)
        curve, unknown = _reduced(g, planes, (height, width), here, whole)
        seen = g.op("Sub", g.number(1.0), unknown)
        working = g.op("Mul", g.op("Mul", g.op("Sub", curve, middle), scale), seen)
        inputs = [working, unknown, *([_enlarged(g, picture, here)] if number else [])]
        fill = _clamped(g, _network(g, network, inputs, f"stage{number}"))
        picture = g.op("Add", working, g.op("Mul", fill, unknown))
    if shot.sizes[-1] != shot.canvas:
        fill = _enlarged(g, fill, (height, width))
    g.op("Identity", _linear(g, g.op("Add", g.op("Div", fill, scale), middle)), out="fill")
    return g.model("internal_inpaint", {"plate": 3, "matte": 1}, ["plate", "matte"], "scene-linear")


class _Graph:
    """Nodes and constants as they come; ``op`` gives the name of what a node puts out."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=f"{out}_node", **attributes))
        return out

    def tensor(self, values: np.ndarray, name: str) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def number(self, value: float) -> str:
        return self.tensor(np.array(value, np.float32), f"number_{value!r}")

    def whole(self, *values: int) -> str:
        return self.tensor(np.array(values, np.int64), "whole_" + "_".join(map(str, values)))

    def size(self, tensor: str, axis: int) -> str:
        """``[1]`` int64."""
        return self.op("Gather", self.op("Shape", tensor), self.whole(axis), axis=0)

    def scalar(self, one: str) -> str:
        return self.op("Squeeze", one)

    def part(self, tensor: str, first: int, last: int) -> str:
        """Channels ``first:last``."""
        return self.op("Slice", tensor, self.whole(first), self.whole(last), self.whole(1))

    def model(self, name: str, channels: dict[str, int], inputs: list[str], space: str) -> bytes:
        def value(name: str, count: int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", count, "height", "width"])

        graph = helper.make_graph(
            self.nodes,
            name,
            [value(name, channels[name]) for name in inputs],
            [value("fill", 3)],
            list(self.constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
        model.producer_name, model.producer_version = "Internal Inpaint", __version__
        helper.set_model_props(model, {"colour": space})
        onnx.checker.check_model(model)
        return model.SerializeToString()


def _network(g: _Graph, network: InpaintNetwork, inputs: list[str], name: str) -> str:
    height, width = (g.size(inputs[0], axis) for axis in (2, 3))
    planes = _padded(g, g.op("Concat", *inputs, axis=1), height, width)
    prior = g.part(planes, 4, 7) if network.config.refines else None
    output = _stage(g, network.first, planes, f"{name}.first")
    output = g.op("Add", output, prior) if prior else output
    if network.second is not None:
        hole = g.part(planes, 3, 4)
        seen = g.op("Mul", g.part(planes, 0, 3), g.op("Sub", g.number(1.0), hole))
        guess = g.op("Add", seen, g.op("Mul", output, hole))
        rest = g.part(planes, 3, 4 + network.config.extra_planes)
        output = _stage(g, network.second, g.op("Concat", guess, rest, axis=1), f"{name}.second")
        output = g.op("Add", output, prior) if prior else output
    return g.op("Slice", output, g.whole(0, 0), g.op("Concat", height, width, axis=0), g.whole(2, 3))


def _stage(g: _Graph, stage: Stage, planes: str, name: str) -> str:
    early, features = [], planes
    for number, layer in enumerate(stage.encoder):
        features = _gated(g, layer, features, f"{name}.encoder.{number}")
        early.append(features)
    if stage.branch is not None:
        beside = planes
        for number, layer in enumerate(stage.branch):
            beside = _gated(g, layer, beside, f"{name}.branch.{number}")
        features = g.op("Concat", features, beside, axis=1)
    for number, layer in enumerate(stage.decoder):
        if number in stage.shortcuts:
            features = g.op("Concat", features, early[stage.shortcuts[number]], axis=1)
        features = _gated(g, layer, features, f"{name}.decoder.{number}")
    output = _convolution(g, stage.output.conv, features, f"{name}.output")
    return g.op("Tanh", output) if stage.output.bounded else output


def _gated(g: _Graph, layer: GatedConv, x: str, name: str) -> str:
    if layer.upsample:
        twice = g.tensor(np.array([1, 1, 2, 2], np.float32), "twice")
        x = g.op("Resize", x, "", twice, mode="linear", coordinate_transformation_mode="half_pixel")
    margin = layer.conv.padding[0]
    if margin:
        x = g.op("Pad", x, g.whole(0, 0, margin, margin, 0, 0, margin, margin), mode="reflect")
    features, gate = _split(g, _convolution(g, layer.conv, x, name), layer.channels_passed_on)
    return g.op("Mul", g.op("Elu", features), g.op("Sigmoid", gate))


def _split(g: _Graph, x: str, at: int) -> tuple[str, str]:
    names = [f"half_{len(g.nodes)}_{part}" for part in ("features", "gate")]
    g.nodes.append(helper.make_node("Split", [x, g.whole(at, at)], names, axis=1, name=names[0] + "_node"))
    return names[0], names[1]


def _convolution(g: _Graph, conv, x: str, name: str) -> str:
    weights = [g.tensor(getattr(conv, w).detach().cpu().numpy(), f"{name}.{w}") for w in ("weight", "bias")]
    return g.op("Conv", x, *weights, strides=list(conv.stride), dilations=list(conv.dilation), pads=[0, 0, 0, 0])


def _padded(g: _Graph, planes: str, height: str, width: str) -> str:
    axes = [_indices(g, length) for length in (height, width)]
    lowest = [g.op("ReduceMin", mirrored, keepdims=0) for _, mirrored in axes]
    mirror = g.op("GreaterOrEqual", g.op("Min", *lowest), g.scalar(g.whole(0)))
    for axis, (repeated, mirrored) in enumerate(axes):
        planes = g.op("Gather", planes, g.op("Where", mirror, mirrored, repeated), axis=axis + 2)
    return planes


def _indices(g: _Graph, length: str) -> tuple[str, str]:
    up = g.op("Div", g.op("Add", length, g.whole(STRIDE - 1)), g.whole(STRIDE))
    padded = g.op("Max", g.op("Mul", up, g.whole(STRIDE)), g.whole(SMALLEST))
    place, last = _counting(g, padded), g.op("Sub", length, g.whole(1))
    mirrored = g.op("Sub", g.op("Mul", last, g.whole(2)), place)
    return g.op("Min", place, last), g.op("Where", g.op("Greater", place, last), mirrored, place)


def _counting(g: _Graph, length: str) -> str:
    return g.op("Range", g.scalar(g.whole(0)), g.scalar(length), g.scalar(g.whole(1)))


def _scaled(g: _Graph, size: tuple[str, str], stage: tuple[int, int], plate: tuple[int, int]) -> tuple[str, str]:
    found = []
    for length, small, large in zip(size, stage, plate, strict=True):
        doubled = g.op("Add", g.op("Mul", length, g.whole(2 * small)), g.whole(large))
        found.append(g.op("Max", g.op("Div", doubled, g.whole(2 * large)), g.whole(1)))
    return tuple(found)


def _reduced(g: _Graph, planes: str, size, new, whole: bool) -> tuple[str, str]:
    if not whole:
        rows, columns = (_share(g, old, small) for old, small in zip(size, new, strict=True))
        planes = g.op("MatMul", g.op("MatMul", rows, planes), g.op("Transpose", columns, perm=[1, 0]))
    weight, hole, nothing = g.part(planes, 3, 4), g.part(planes, 4, 5), g.number(0.0)
    unknown = g.op("Or", g.op("Greater", hole, nothing), g.op("LessOrEqual", weight, nothing))
    values = g.op("Div", g.part(planes, 0, 3), g.op("Max", weight, g.number(1e-6)))
    return values, g.op("Cast", unknown, to=TensorProto.FLOAT)


def _share(g: _Graph, length: str, new: str) -> str:
    old, one = _counting(g, length), g.whole(1)
    at = g.op("Unsqueeze", _counting(g, new), one)
    end = g.op("Min", g.op("Mul", g.op("Add", old, one), new), g.op("Mul", g.op("Add", at, one), length))
    start = g.op("Max", g.op("Mul", old, new), g.op("Mul", at, length))
    shared = g.op("Max", g.op("Sub", end, start), g.scalar(g.whole(0)))
    return g.op("Div", *(g.op("Cast", count, to=TensorProto.FLOAT) for count in (shared, length)))


def _enlarged(g: _Graph, planes: str, size: tuple[str, str]) -> str:
    first = g.op("Slice", g.op("Shape", planes), g.whole(0), g.whole(2), g.whole(0))
    sizes = g.op("Concat", first, *size, axis=0)
    how = {"mode": "cubic", "cubic_coeff_a": -0.75, "coordinate_transformation_mode": "half_pixel"}
    return _clamped(g, g.op("Resize", planes, "", "", sizes, **how))


def _clamped(g: _Graph, planes: str) -> str:
    return g.op("Clip", planes, g.number(-1.0), g.number(1.0))


def _curve(g: _Graph, linear: str) -> str:
    size = g.op("Abs", linear)
    logarithm = g.op("Mul", g.op("Log", size), g.number(1 / np.log(2.0)))
    raised = g.op("Div", g.op("Add", logarithm, g.number(LOG_OFFSET)), g.number(LOG_SCALE))
    above = g.op("Sub", raised, g.number(OFFSET))
    straight = g.op("LessOrEqual", size, g.number(LINEAR_BREAK))
    from_zero = g.op("Where", straight, g.op("Mul", size, g.number(SLOPE)), above)
    return g.op("Add", g.op("Mul", g.op("Sign", linear), from_zero), g.number(OFFSET))


def _linear(g: _Graph, curve: str) -> str:
    from_zero = g.op("Sub", curve, g.number(OFFSET))
    size = g.op("Abs", from_zero)
    raised = g.op("Mul", g.op("Add", size, g.number(OFFSET)), g.number(LOG_SCALE))
    power = g.op("Pow", g.number(2.0), g.op("Sub", raised, g.number(LOG_OFFSET)))
    straight = g.op("LessOrEqual", size, g.number(CURVE_BREAK - OFFSET))
    linear = g.op("Where", straight, g.op("Div", size, g.number(SLOPE)), power)
    return g.op("Mul", g.op("Sign", from_zero), linear)
