"""How the shot moves: optical flow, its completion inside holes, and where other frames show a hidden pixel.

Everything here works on arrays of frames, without a network. It serves the confidence of a fill as well as fills that
copy from other frames.
"""
