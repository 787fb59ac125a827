"""status.json, events.jsonl and the lines people and farms read."""

import json
import time

from internal_inpaint.events import Events, display, sentence
from internal_inpaint.job_folder import JobFolder


def lines(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_status_is_the_last_event_and_has_the_contracts_fields(tmp_path):
    events = Events(JobFolder(tmp_path))
    events.tell(stage="train", step=3, steps=10, loss=0.25, psnr=21.5, eta_s=12.0, progress=0.3)
    status = json.loads((tmp_path / "status.json").read_text())
    promised = [
        "state",
        "stage",
        "step",
        "steps",
        "loss",
        "psnr",
        "eta_s",
        "frames_done",
        "message",
        "error",
        "updated",
        "pid",
        "host",
    ]
    assert set(promised) <= set(status)
    assert status["state"] == "running"
    assert status["step"] == 3
    assert 0 < status["percent"] < 100
    events.tell(state="done")
    assert json.loads((tmp_path / "status.json").read_text())["percent"] == 100
    assert [e["state"] for e in lines(tmp_path)] == ["running", "done"]
    assert not list(tmp_path.glob(".*.part"))


def test_a_slow_run_is_heard_of_though_it_tells_nothing(tmp_path):
    """Whoever watches from another machine has only the status to tell a slow run from a dead one."""

    def updated():
        return json.loads((tmp_path / "status.json").read_text())["updated"]

    events = Events(JobFolder(tmp_path))
    with events.heartbeat(seconds=0.1):
        events.tell(stage="train", step=7)
        told = updated()
        end = time.monotonic() + 20
        while updated() == told:
            assert time.monotonic() < end, "no heartbeat"
            time.sleep(0.01)
        assert json.loads((tmp_path / "status.json").read_text())["step"] == 7
    last = updated()
    time.sleep(0.3)
    assert updated() == last, "it ends with the run"
    assert len(lines(tmp_path)) == 1, "a heartbeat is no event"


def test_a_message_belongs_to_one_event(tmp_path):
    events = Events(JobFolder(tmp_path))
    events.tell(message="hello")
    events.tell(stage="train")
    assert json.loads((tmp_path / "status.json").read_text())["message"] is None


def test_nan_never_reaches_the_files(tmp_path):
    Events(JobFolder(tmp_path)).tell(loss=float("nan"), psnr=float("inf"))
    assert "NaN" not in (tmp_path / "status.json").read_text()
    assert "Inf" not in (tmp_path / "events.jsonl").read_text()


def test_a_line_torn_by_a_kill_does_not_swallow_the_next(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"state": "runn')
    Events(JobFolder(tmp_path)).tell(stage="train")
    last = (tmp_path / "events.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["stage"] == "train"


def test_the_line_for_a_person_names_stage_step_loss_psnr_and_time_left():
    event = {
        "state": "running",
        "stage": "train",
        "step": 120,
        "steps": 400,
        "loss": 0.0312,
        "psnr": 24.1,
        "eta_s": 95,
    }
    text = sentence(event)
    for part in ("training", "step 120 of 400", "0.0312", "24.10 dB", "1 min 35 s left"):
        assert part in text


def test_json_and_openjd_lines(capsys):
    event = {"state": "running", "stage": "train", "step": 1, "percent": 12.5, "message": None}
    display("json")(event)
    assert json.loads(capsys.readouterr().out) == {"state": "running", "stage": "train", "step": 1, "percent": 12.5}
    display("openjd")(event)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "openjd_progress: 12.5"
    assert out[1].startswith("openjd_status: ")
    display("openjd")({**event, "state": "failed", "error": "no such file"})
    assert "openjd_fail: no such file" in capsys.readouterr().out


def test_plain_lines_are_few(capsys):
    show = display("plain")
    for step in range(100):
        show({"state": "running", "stage": "train", "step": step})
    show({"state": "running", "stage": "render", "frames_done": 0, "frames": 4})
    assert len(capsys.readouterr().out.splitlines()) == 2
