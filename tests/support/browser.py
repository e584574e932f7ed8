"""A headless Chromium, driven over its own debugging protocol: no driver, no package for it."""

import asyncio
import contextlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Self

import aiohttp
from waiting import LONG
from websockets.asyncio.client import connect

PATIENCE = LONG
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page. `complaints` are the errors of its scripts and what its policy forbade."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future] = {}
        self.complaints: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._directory}",
            "--window-size=1280,900",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        told = self._directory / "DevToolsActivePort"
        async with asyncio.timeout(PATIENCE):
            while not told.exists() or "\n" not in told.read_text():
                await asyncio.sleep(0.05)
            port = int(told.read_text().split()[0])
            page = None
            async with aiohttp.ClientSession() as http:
                while page is None:
                    async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                        targets = await answer.json()
                    page = next((t for t in targets if t["type"] == "page"), None)
        self._socket = await connect(page["webSocketDebuggerUrl"], max_size=None)
        self._reader = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()

    async def command(self, method: str, **parameters: object) -> dict:
        """Send one command and return its result."""
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            waiting = self._waiting.pop(message.get("id", 0), None)
            if waiting is not None:
                if "error" in message:
                    waiting.set_exception(RuntimeError(message["error"]["message"]))
                else:
                    waiting.set_result(message.get("result", {}))
            elif message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(message["params"]["exceptionDetails"]["text"])
            elif message.get("method") == "Log.entryAdded":
                entry = message["params"]["entry"]
                if entry["level"] == "error":
                    self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def go(self, url: str) -> None:
        """Open a page and wait until it is there."""
        await self.run("window.__old = true")
        await self.command("Page.navigate", url=url)
        await self.until("!window.__old && document.readyState === 'complete'")

    async def run(self, script: str) -> object:
        """Run a script in the page and return what it gives."""
        done = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["exception"].get("description", script))
        return done["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a script gives something true."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(RuntimeError):  # the page is changing
                    if await self.run(f"!!({condition})"):
                        return
                await asyncio.sleep(0.05)

    async def text(self) -> str:
        """Return the words on the page."""
        return str(await self.run("document.body.innerText"))
