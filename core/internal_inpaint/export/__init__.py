"""A trained shot as a file that other programs run: TorchScript and ONNX (docs/export.md)."""
