"""What is known of a pixel: the one enumeration that the frame store, training, motion and confidence share.

A plane of these is ``uint8``, ``[N, H, W]`` beside the frames of a shot.
"""

KNOWN = 0
HOLE = 1  # under the grown matte, or NaN or infinite near it: to be filled
OUTSIDE = 2  # outside the frame's data window, or broken away from the matte: neither learned from nor filled
