"""Headless Chromium by its debugging pipe: no driver, no port, no package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


class Browser:
    """One tab; ``problems`` are the errors that its console showed."""

    def __init__(self, reads: int, writes: int) -> None:
        self._in, self._out = os.fdopen(reads, "rb"), os.fdopen(writes, "wb")
        self._ids = itertools.count(1)
        self._session: str | None = None
        self._context: str | None = None
        self._loaded = 0
        self.problems: list[str] = []
        self.anew()

    def anew(self) -> None:
        """Be another tab, which has nothing of the one before: no cookie, no page, no problem."""
        self._session, before = None, self._context
        self._context = self._send("Target.createBrowserContext")["browserContextId"]
        about = {"url": "about:blank", "browserContextId": self._context}
        target = self._send("Target.createTarget", **about)["targetId"]
        if before is not None:
            self._send("Target.disposeBrowserContext", browserContextId=before)
        self.problems.clear()
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def _send(self, method: str, /, **params: Any) -> Any:
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while (told := self._read()).get("id") != number:
            self._note(told)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        return told["result"]

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser ended")
            found += byte
        told: dict[str, Any] = json.loads(found)
        return told

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded += 1
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(params["entry"]["text"])

    def cookie(self, url: str, name: str, value: str) -> None:
        """Have a cookie, as a sign-in would set it."""
        about = {"httpOnly": True, "sameSite": "Strict", "path": "/ui"}
        self._send("Network.setCookie", url=url, name=name, value=value, **about)

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """A window of that size."""
        about = {"deviceScaleFactor": 1, "mobile": width < 600}
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, **about)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])

    def scripts(self, *, allowed: bool) -> None:
        """Let pages have scripts, or none."""
        self._send("Emulation.setScriptExecutionDisabled", value=not allowed)

    def open(self, url: str) -> None:
        """Go to a page, and wait until it has loaded."""
        before = self._loaded
        self._send("Page.navigate", url=url)
        until = time.monotonic() + 30
        while self._loaded == before:
            assert time.monotonic() < until, f"{url} did not load"
            self._note(self._read())

    def run(self, script: str) -> Any:
        """The value of an expression."""
        told = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in told:
            raise RuntimeError(json.dumps(told["exceptionDetails"]))
        return told["result"].get("value")

    def until(self, script: str, timeout_s: float = 90.0) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + timeout_s
        while not (found := self.run(script)):
            assert time.monotonic() < end, script
            time.sleep(0.05)
        return found

    def press(self, key: str) -> None:
        """Press a key."""
        codes = {"Tab": 9, "Enter": 13}
        about = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self._send("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self._send("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what there is to see as PNG."""
        told = self._send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    assert CHROMIUM is not None
    its_in, our_out = os.pipe()
    our_in, its_out = os.pipe()
    # The shell puts the pipes where the browser looks for them.
    places = f'exec "$@" 3<&{its_in} 4>&{its_out}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", places, "chromium", CHROMIUM, *_FLAGS, f"--user-data-dir={directory}"],
        pass_fds=(its_in, its_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(its_in)
    os.close(its_out)
    try:
        yield Browser(our_in, our_out)
    finally:
        process.kill()
        process.wait()
