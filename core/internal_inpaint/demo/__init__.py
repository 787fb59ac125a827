"""The sample shot, made by code so that no footage ships: plate, roto matte and the true clean plate."""

from internal_inpaint.demo.files import SampleShot, make_sample_shot
from internal_inpaint.demo.score import score_against_truth

__all__ = ["SampleShot", "make_sample_shot", "score_against_truth"]
