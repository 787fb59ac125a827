"""The sample shot: plate, roto matte and true clean plate. It is rendered by code, so that no footage is shipped."""

from internal_inpaint.demo.files import SampleShot, make_sample_shot
from internal_inpaint.demo.score import score_against_truth

__all__ = ["SampleShot", "make_sample_shot", "score_against_truth"]
