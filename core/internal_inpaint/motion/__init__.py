"""How the shot moves: optical flow, its completion inside holes, and where other frames show a hidden pixel.

Everything here works on arrays of frames and knows no network: the confidence of a fill and a fill that copies from
other frames stand on it alike.
"""
