"""A real headless browser for tests: Chromium driven over its debugging pipe, with the standard library alone."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser():
    """The path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one browser process; use it in a ``with``.

    ``requests`` has the URL of everything the page asked for but itself, ``complaints`` every console message,
    exception and security violation.
    """

    def __init__(self, path, profile, width=1100, height=900):
        self.requests, self.complaints = [], []
        self._number, self._buffer, self._loaded = 0, b"", False
        their_end, self._write = os.pipe()
        self._read, other_end = os.pipe()
        # Out of the way of 3, from which the browser reads commands, and 4, on which it answers.
        to_read, to_write = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (their_end, other_end))
        command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        command += ["--disable-background-networking", "--disable-dev-shm-usage", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        launch = f"import os, sys; os.dup2({to_read}, 3); os.dup2({to_write}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        launcher = [sys.executable, "-c", launch, *command]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(launcher, pass_fds=(to_read, to_write), **quiet)
        for end in (to_read, to_write, their_end, other_end):
            os.close(end)
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(20)
        except (OSError, EOFError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(self, path):
        """Load a file and wait until all of it is there."""
        self._loaded, self._page = False, path.as_uri()
        self.send("Page.navigate", url=self._page)
        self._until(lambda: self._loaded)

    def value(self, expression):
        """What a JavaScript expression comes to."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def drag(self, start, end, steps=5):
        """Press the mouse at one place of the window, move it to another, let go."""
        self._mouse("mousePressed", *start)
        for step in range(1, steps + 1):
            self._mouse("mouseMoved", *(a + (b - a) * step / steps for a, b in zip(start, end, strict=True)))
        self._mouse("mouseReleased", *end)

    def click(self, place):
        self.drag(place, place, steps=1)

    def key(self, key, code):
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def centre(self, selector, index=0):
        """Scroll an element into view; the middle of it in the window."""
        box = self.value(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{index}];"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x, r.y, r.width, r.height]; })()"
        )
        return box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]

    def screenshot(self, path, whole=False):
        options = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            options = {"captureBeyondViewport": True, "clip": {**size, "x": 0, "y": 0, "scale": 1}}
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png", **options)["data"]))

    def print_pdf(self, path):
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))

    def send(self, method, **parameters):
        """One command of the Chrome DevTools Protocol, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answers = []
        self._until(lambda: answers, lambda message: message.get("id") == self._number and answers.append(message))
        assert "error" not in answers[0], answers[0]["error"]
        return answers[0]["result"]

    def _mouse(self, kind, x, y):
        pressed = {"button": "left", "buttons": 0 if kind == "mouseReleased" else 1, "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def _until(self, done, heard=lambda message: None, seconds=60):
        end = time.monotonic() + seconds
        while not done():
            if b"\0" not in self._buffer:
                if not select.select([self._read], [], [], max(0, end - time.monotonic()))[0]:
                    raise TimeoutError("the browser does not answer")
                more = os.read(self._read, 1 << 16)
                if not more:
                    raise EOFError("the browser has gone")
                self._buffer += more
                continue
            line, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(line)
            heard(message)
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method, parameters):
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if url != self._page and not url.startswith("data:"):
                self.requests.append(url)
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(parameters)[:500])
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
