"""What the double asked a CPO to do, and the answers it got."""

import asyncio
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Order:
    """One command or charging profile request, until its final result."""

    id: str
    command: str
    peer: str
    sent: Any
    response: Any = None
    """What the CPO said at once."""
    results: list[dict[str, Any]] = field(default_factory=list)
    """What it posted to the response_url; more than one only for a later cancellation."""
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def add_result(self, result: dict[str, Any]) -> None:
        """Note a result that was posted."""
        self.results.append(result)
        self._arrived.set()

    async def finished(self, seconds: float) -> bool:
        """Wait for the first result; say whether it came in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    @property
    def outcome(self) -> str | None:
        """The final word: the result, or the response when that already refused."""
        if self.results:
            return str(self.results[0].get("result"))
        said = self.response.get("result") if isinstance(self.response, dict) else None
        return None if said == "ACCEPTED" else said

    def as_json(self) -> dict[str, Any]:
        """Return it as an object for JSON."""
        return {
            "id": self.id,
            "command": self.command,
            "peer": self.peer,
            "sent": self.sent,
            "response": self.response,
            "result": self.results[0] if self.results else None,
            "results": self.results,
            "outcome": self.outcome,
        }
