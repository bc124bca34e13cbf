"""A headless Chromium, driven through its DevTools protocol over a pipe: no driver, no port, no library."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 60


def program():
    """Where Chromium is; skips the test where it is nowhere, but never in CI, which has to have one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)")
    return found


class Page:
    """One page: what it says in its console, what it asks for, and what can be asked of it."""

    def __init__(self, reads, writes):
        self.reads, self.writes, self.ids, self.buffer = reads, writes, itertools.count(1), b""
        self.session, self.events = None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        """Send a command and wait for its result."""
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _read(self):
        end = time.monotonic() + SECONDS
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.reads], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            self.buffer += os.read(self.reads, 1 << 20)
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def open(self, path, width=1280, height=900):
        """Show a file in a window of so many pixels, and wait until it is loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self.run("document.fonts.ready.then(() => 0)")

    def run(self, script):
        """The value of a JavaScript expression, waited for."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key, text=""):
        """A key on the keyboard."""
        code = {"Enter": 13, "Tab": 9, " ": 32}.get(key, 0)
        common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    @property
    def complaints(self):
        """What went wrong: exceptions, errors of the console, violations of the page's own policy."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    @property
    def requests(self):
        """Every address that was asked for."""
        sent = (event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent")
        return [params["request"]["url"] for params in sent]

    def picture(self):
        """A PNG of the whole page."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])

    def pdf(self):
        """The page as it prints."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])


@contextmanager
def browser(profile):
    """A page in a browser of its own, whose profile lies in the folder given."""
    command_reads, command_writes = os.pipe()
    answer_reads, answer_writes = os.pipe()
    # Chromium reads commands from file 3 and answers in file 4.
    wired = f'exec "$@" 3<&{command_reads} 4>&{answer_writes}'
    quiet = ("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run")
    quiet += ("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update")
    process = subprocess.Popen(
        ["bash", "-c", wired, "bash", program(), *quiet, f"--user-data-dir={profile}"],
        pass_fds=(command_reads, answer_writes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(command_reads)
    os.close(answer_writes)
    try:
        page = Page(answer_reads, command_writes)
        yield page
        page.session = None
        with suppress(AssertionError, OSError):
            page.ask("Browser.close")
    finally:
        os.close(command_writes)
        os.close(answer_reads)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
