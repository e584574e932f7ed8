"""Where a station may deviate from the rules: the hooks that quirks fill."""

from typing import TYPE_CHECKING, ClassVar

from websockets.asyncio.client import ClientConnection

from chargers_sim.happenings import Happening
from chargers_sim.line import Address
from chargers_sim.outbox import Outgoing, Payload

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Deviation:
    """A station that keeps the rules; a quirk overrides what it breaks."""

    impatient: ClassVar[bool] = False

    def address(self, address: Address) -> Address:
        """Change where and how the station connects."""
        return address

    def connection(self, connection: ClientConnection) -> None:
        """Change how an open socket behaves."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        """Change which messages a happening leads to, and in which order."""
        del station, happening
        return messages

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        """Change the content of a message to the server; the payload may be altered in place."""
        del station, action
        return payload

    def text(self, text: str) -> str:
        """Change the text of a frame to the server."""
        return text

    def received(self, station: "Station", text: str) -> None:
        """Look at a frame from the server."""

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        """Say whether a CALL of the server is handled and answered at all."""
        del station, action, payload
        return True

    def understands(self, action: str, answer: Payload) -> bool:
        """Say whether an answer counts as one; if not, the message is sent again."""
        del action, answer
        return True

    def message_id(self, proposed: str, number: int) -> str:
        """Choose another message id; `number` counts the messages of this power-up."""
        del number
        return proposed

    def online(self, station: "Station", times: int) -> None:
        """Do something once the station is accepted, for the `times`-th time."""

    def comes_back(self, *, clean: bool) -> bool:
        """Say whether the station connects again after the line ended."""
        del clean
        return True

    def boots(self) -> bool:
        """Say whether the station ever sends BootNotification."""
        return True
