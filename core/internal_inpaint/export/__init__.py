"""Export of a trained shot to a file that other programs can run: TorchScript and ONNX (docs/export.md)."""
