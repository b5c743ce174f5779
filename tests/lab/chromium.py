"""A client of Chromium's DevTools protocol, over two pipes: as much of it as tests of pages need.

No name has an address in that browser, and each request that a page makes is kept: `requests`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-features=Translate,MediaRouter,OptimizationHints", "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe", "--window-size=1280,900",
)  # fmt: skip
_DEADLINE_S = 60.0
# It reads from descriptor 3 and writes to 4. A shell does not put them there: Debian's knows one digit only.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


MEDIA = {
    "light": [{"name": "prefers-color-scheme", "value": "light"}],
    "dark": [{"name": "prefers-color-scheme", "value": "dark"}, {"name": "prefers-reduced-motion", "value": "reduce"}],
    "forced": [{"name": "forced-colors", "value": "active"}],
}


class Chromium:
    """A headless browser."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, str(to_browser), str(from_browser),
             "chromium", *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._last = 0
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        """A new page, in a context of its own."""
        context = self.command("Target.createBrowserContext")["browserContextId"]
        target = self.command("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.command(f"{domain}.enable")
        page.command("Emulation.setFocusEmulationEnabled", enabled=True)
        return page

    def close(self) -> None:
        """End the browser."""
        try:
            self.command("Browser.close")
            self._process.wait(_DEADLINE_S)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._write)
            os.close(self._read)

    def command(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._write, sent) :]
        while True:
            answer = self.take()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def take(self) -> dict[str, Any]:
        """The next message; events go to their pages."""
        limit = time.monotonic() + _DEADLINE_S
        while b"\0" not in self._buffer:
            left = limit - time.monotonic()
            assert left > 0 and select.select([self._read], [], [], left)[0], f"Chromium is silent for {_DEADLINE_S} s"
            received = os.read(self._read, 1 << 20)
            assert received, "Chromium has ended"
            self._buffer += received
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.happened(message["method"], message["params"])
        return message


class Page:
    """One page. requests: what it asked for besides itself. complaints: what its console says."""

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self._loaded = False
        self._own = ""
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def command(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        return self._browser.command(method, self._session, **parameters)

    def happened(self, method: str, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            if event["request"]["url"] != self._own.partition("#")[0]:
                self.requests.append(event["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(event["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str([each.get("value") for each in event["args"]]))
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {event['message']}")
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, address: str) -> Page:
        """Load a page and wait until it is there."""
        self._own, self._loaded = address, False
        failure = self.command("Page.navigate", url=address).get("errorText")
        assert not failure, f"{address}: {failure}"
        while not self._loaded:
            self._browser.take()
        return self

    def run(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        found = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"].get("exception", found)
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true."""
        limit = time.monotonic() + _DEADLINE_S
        while not (value := self.run(expression)):
            assert time.monotonic() < limit, f"not true after {_DEADLINE_S} s: {expression}"
        return value

    def press(self, key: str) -> None:
        """Press a key, and let it go."""
        more: dict[str, Any] = {"text": key} if len(key) == 1 else {}
        if key == "Escape":
            more = {"windowsVirtualKeyCode": 27}
        self.command("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        self.command("Input.dispatchKeyEvent", type="keyUp", key=key, **more)

    def click(self, words: str) -> None:
        """Click the one visible button that has these words, or is called so."""
        self.run(f"""(() => {{
            const wanted = {json.dumps(words)};
            const found = [...document.querySelectorAll("button, summary")].filter((each) =>
                each.checkVisibility() && (each.textContent === wanted || each.getAttribute("aria-label") === wanted));
            if (found.length !== 1) throw new Error(`${{found.length}} buttons: ${{wanted}}`);
            found[0].click();
        }})()""")

    def text(self, selector: str) -> str:
        """The text of the first element."""
        found: str = self.run(f"document.querySelector({json.dumps(selector)}).textContent")
        return found

    def close(self) -> None:
        self._browser.command("Target.closeTarget", targetId=self._target)


def at(page: Page) -> int:
    """The event at which a page is."""
    return int(page.text("#now").split()[1])


def choose(page: Page, one_of: str, value: str) -> None:
    """Choose a value in the list that has `one_of`."""
    page.run(f"""(() => {{
        const list = [...document.querySelectorAll("select")].find((each) =>
            [...each.options].some((option) => option.value === "{one_of}"));
        list.value = "{value}";
        list.dispatchEvent(new Event("change"));
        list.blur();
    }})()""")
