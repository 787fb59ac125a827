"""Write the table of job.json's keys into docs/job-folder.md from their declarations: `python docs/job_table.py`."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from internal_inpaint.job import FORMAT, MAY_CHANGE, RETRAINS, SETTINGS
from internal_inpaint.job_fields import Setting

PAGE = Path(__file__).with_name("job-folder.md")
BEGIN, END = "<!-- written by job_table.py -->\n", "<!-- end of job_table.py's part -->\n"


def generated() -> str:
    """The table, and the sentence on what may change."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines.append(f"| `version` | whole number | {FORMAT} | format of this file |")
    lines += [
        f"| `{name}` | {declared.written_type} | {_default(declared)} | {_meaning(declared)} |"
        for name, declared in SETTINGS.items()
    ]
    change = (
        f"Once something has been trained in a folder, {_listed(MAY_CHANGE)} may change and the weights stay. "
        f"If {_listed(RETRAINS)} change, the training continues from the weights that there are, unless the network "
        "sees what it saw before."
    )
    return "\n".join([*lines, "", *textwrap.wrap(change, 120), ""])


def _listed(names: set[str]) -> str:
    *first, last = [f"`{name}`" for name in SETTINGS if name in names]
    return f"{', '.join(first)} and {last}"


def updated(page: str) -> str:
    """The page with what is between its two markers written anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{generated()}{END}{after}"


def _default(declared: Setting) -> str:
    if declared.required:
        return "required"
    if declared.default is None:
        return declared.absent
    return "false" if declared.default is False else f"`{declared.default}`"


def _meaning(declared: Setting) -> str:
    # 'code' in a sentence, not the apostrophe of a word.
    sentence = re.sub(r"(?<!\w)'([^']+)'(?!\w)", r"`\1`", declared.described)
    for choice in declared.choices:
        sentence = re.sub(rf"(?<=[:,r] ){re.escape(choice)}(?=,| or |$)", f"`{choice}`", sentence)
    return sentence + (f" ([{Path(declared.see).stem}]({declared.see}))" if declared.see else "")


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
