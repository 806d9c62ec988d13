"""A headless Chromium, driven over WebDriver (W3C), for tests that look at a rendered page."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-device-scale-factor=1"
).split()
NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """What is not installed, or None."""
    if not any(map(shutil.which, NAMES)):
        return f"no browser: none of {', '.join(NAMES)} is on the path (Debian: apt-get install chromium)"
    if not shutil.which("chromedriver"):
        return "chromedriver is not on the path (Debian: apt-get install chromium-driver)"
    return None


class Browser:
    """One window. Use as a context."""

    def __init__(self, profile: Path) -> None:
        """profile: a new folder for what the browser writes."""
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                break
        else:
            raise OSError("chromedriver did not start")
        self._url = f"http://127.0.0.1:{found[1]}"
        options = {
            "args": [*FLAGS, f"--user-data-dir={profile}"],
            "binary": next(path for name in NAMES if (path := shutil.which(name))),
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.communicate()

    def open(self, path: Path, width: int, height: int = 900) -> None:
        """Opens a file in a window of that size, and waits until it is loaded."""
        self._ask("POST", "/window/rect", {"width": width, "height": height})
        self._ask("POST", "/url", {"url": path.resolve().as_uri()})

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self._ask("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since it was last asked."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def pixels(self, selector: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The first element of a CSS selector as it is drawn: uint8 [height, width, 3]."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        (number,) = found.values()
        image = base64.b64decode(self._ask("GET", f"/element/{number}/screenshot"))
        return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as reply:
            return json.load(reply)["value"]
