"""Loads pages in a headless Chromium, at the widths of a desktop and a phone, light and dark, and fails where one overflows to
the side, says something in the console, or asks for anything but itself:

    python3 tests/py/check_browser.py --browser FOLDER [--shots FOLDER] PAGE...

FOLDER is what `make test-browser` fills. Chromium is spoken to by its DevTools protocol over two pipes, which needs no package.
"""

import argparse
import base64
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTHS = {"desktop": 1280, "phone": 390}
SCHEMES = ["light", "dark"]
# A page is one file, and this machine may be busy.
PATIENCE_SECS = 90
# What reaches further right than the page is wide, unless something around it scrolls or cuts it off; words in drawings
# that are smaller than they can be read, or lie on other words; words on a shade that are hard to read; links, and what is used
# in drawings, that is not there. What is folded is looked at unfolded.
LOOK = """(() => {
  const wide = document.documentElement.clientWidth, found = [];
  const folded = [...document.querySelectorAll('details:not([open])')];
  for (const fold of folded) fold.open = true;
  if (document.documentElement.scrollWidth > wide) found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  const held = (element) => {
    for (let at = element.parentElement; at; at = at.parentElement)
      if (getComputedStyle(at).overflowX !== 'visible' && at.getBoundingClientRect().right <= wide + 1) return true;
    return false;
  };
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => colour.slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  // WCAG's contrast of an element's words, on its half transparent shade, on what lies below.
  const contrast = (element) => {
    let paper = [0, 0, 0, 0];
    for (let at = element.parentElement; at && (paper[3] ?? 1) < 1; at = at.parentElement) paper = parts(getComputedStyle(at).backgroundColor);
    const shade = parts(getComputedStyle(element).backgroundColor), alpha = shade[3] ?? 1;
    const [one, other] = [parts(getComputedStyle(element).color), paper.slice(0, 3).map((part, at) => alpha * shade[at] + (1 - alpha) * part)]
      .map(light).sort((a, b) => b - a);
    return (one + 0.05) / (other + 0.05);
  };
  const name = (element) => `<${element.tagName} class="${element.getAttribute('class') ?? ''}"> ${element.textContent.trim().slice(0, 40)}`;
  for (const element of document.body.querySelectorAll('*')) {
    const box = element.getBoundingClientRect();
    if (box.width && (box.right > wide + 1 || box.left < -1) && !held(element)) found.push(`${name(element)} reaches from ${box.left} to ${box.right}`);
    if (element.tagName === 'text' && box.width && element.textContent.trim()) {
      const size = parseFloat(getComputedStyle(element).fontSize) * element.getScreenCTM().a;
      if (size < 8.5) found.push(`${name(element)} is ${size.toFixed(1)} px high`);
    }
    if (element.tagName === 'IMG' && element.complete && !element.naturalWidth && element.loading !== 'lazy') found.push(`${name(element)} does not load`);
    if (element.matches('.word, .label') && contrast(element) < 4.5) found.push(`${name(element)} has a contrast of ${contrast(element).toFixed(2)}`);
    if (element.tagName === 'use' && !element.getBBox().width) found.push(`${element.getAttribute('href')} is used and shows nothing`);
    if (element.tagName === 'A' && !document.querySelector(element.getAttribute('href'))) found.push(`${name(element)} leads nowhere`);
  }
  for (const drawing of document.querySelectorAll('svg, .bars li')) {
    const words = [...drawing.querySelectorAll('text, .name, .value')].filter((element) => element.textContent.trim());
    const boxes = words.map((element) => element.getBoundingClientRect());
    words.forEach((element, a) => words.slice(a + 1).forEach((other, rest) => {
      const [one, two] = [boxes[a], boxes[a + 1 + rest]];
      const wide = Math.min(one.right, two.right) - Math.max(one.left, two.left), high = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
      if (wide > 2 && high > 4) found.push(`${name(element)} lies on ${name(other)}`);
    }));
  }
  for (const fold of folded) fold.open = false;
  return JSON.stringify({ found: found.slice(0, 20), text: document.body.innerText.length, height: document.documentElement.scrollHeight,
    width: innerWidth, dark: matchMedia('(prefers-color-scheme: dark)').matches, paper: getComputedStyle(document.body).backgroundColor });
})()"""
# Images that drawings use, and that cannot be decoded.
PICTURES = """Promise.all([...document.querySelectorAll('svg image')].map(async (element) => {
  const image = new Image();
  image.src = element.href.baseVal;
  return image.decode().then(() => [], () => [`the image ${element.id} does not load`]);
})).then((found) => JSON.stringify(found.flat().slice(0, 20)))"""


class Browser:
    """A Chromium of its own, with a profile that goes with it."""

    def __init__(self, folder: Path):
        self.profile = tempfile.TemporaryDirectory(prefix="retort-browser-")
        ours, theirs = os.pipe(), os.pipe()
        # It reads descriptor 3 and writes 4: high copies first, so that neither lies in the way of the other.
        command = [
            "/bin/sh", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "sh",
            str(folder / "chromium"), "--headless", "--remote-debugging-pipe", "--no-sandbox", "--no-zygote", "--single-process",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", "--hide-scrollbars",
            f"--user-data-dir={self.profile.name}", "about:blank",
        ]  # fmt: skip
        environment = {**os.environ, "HOME": self.profile.name, "FONTCONFIG_PATH": str(folder / "fonts")}
        environment["LD_LIBRARY_PATH"] = str(folder / "al2023/lib")
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, pass_fds=(ours[0], theirs[1]), env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        os.close(ours[0])
        os.close(theirs[1])
        self.write, self.read, self.rest, self.number, self.events = ours[1], theirs[0], b"", 0, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def message(self, until: float):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self.read, 1 << 16) if ready else b""
            if not more:
                self.log.seek(0)
                why = "says nothing" if not ready else "ended"
                sys.exit(f"Chromium {why}: {self.log.read()[-2000:].decode(errors='replace')}")
            self.rest += more
        line, self.rest = self.rest.split(b"\0", 1)
        return json.loads(line)

    def call(self, method: str, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if hasattr(self, "session"):
            request["sessionId"] = self.session
        os.write(self.write, json.dumps(request).encode() + b"\0")
        until = time.monotonic() + PATIENCE_SECS
        while True:
            answer = self.message(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, event: str):
        until = time.monotonic() + PATIENCE_SECS
        while not any(seen.get("method") == event for seen in self.events):
            self.events.append(self.message(until))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()


def said(event) -> str | None:
    """What an event says that a clean page would not."""
    method, parameters = event.get("method"), event.get("params", {})
    if method == "Runtime.consoleAPICalled":
        return f"console: {parameters['args']}"
    if method == "Runtime.exceptionThrown":
        return f"exception: {parameters['exceptionDetails']}"
    if method == "Log.entryAdded":
        return f"log: {parameters['entry']['text']}"
    if method == "Network.requestWillBeSent":
        url = parameters["request"]["url"]
        return None if url.startswith(("file:", "data:")) else f"it asks for {url}"
    return None


def look(browser: Browser, page: Path, device: str, scheme: str, shots: Path | None) -> list[str]:
    """What is wrong with a page in one kind of window."""
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=WIDTHS[device], height=900, deviceScaleFactor=1, mobile=device == "phone"
    )
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.events.clear()
    went = browser.call("Page.navigate", url=page.resolve().as_uri())
    if went.get("errorText"):
        return [f"it does not open: {went['errorText']}"]
    browser.wait("Page.loadEventFired")
    seen = browser.call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]
    if "value" not in seen:
        return [f"it could not be looked at: {seen}"]
    state = json.loads(seen["value"])
    pictures = browser.call("Runtime.evaluate", expression=PICTURES, returnByValue=True, awaitPromise=True)["result"]["value"]
    wrong = state["found"] + json.loads(pictures) + [words for event in browser.events if (words := said(event))]
    if state["text"] < 200:
        wrong.append(f"it shows {state['text']} characters")
    if (state["dark"], state["width"]) != (scheme == "dark", WIDTHS[device]):
        wrong.append(f"the window is not what was asked for: {state['width']} px, dark: {state['dark']}")
    bright = sum(int(part) for part in state["paper"].strip("rgb()").split(",")[:3]) > 384
    if bright == (scheme == "dark"):
        wrong.append(f"its paper is {state['paper']}")
    if shots:
        clip = {"x": 0, "y": 0, "width": WIDTHS[device], "height": min(state["height"], 16000), "scale": 1}
        shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        shots.mkdir(parents=True, exist_ok=True)
        (shots / f"{page.stem}-{device}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    return wrong


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--browser", type=Path, required=True)
    options.add_argument("--shots", type=Path)
    options.add_argument("pages", nargs="+", type=Path)
    options = options.parse_args()
    browser = Browser(options.browser)
    try:
        for domain in ["Page", "Runtime", "Log", "Network"]:
            browser.call(f"{domain}.enable")
        wrong = [
            f"{page.name}, {device}, {scheme}: {words}"
            for page in options.pages
            for device in WIDTHS
            for scheme in SCHEMES
            for words in look(browser, page, device, scheme, options.shots)
        ]
    finally:
        browser.close()
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(options.pages)} pages are clean")


if __name__ == "__main__":
    main()
