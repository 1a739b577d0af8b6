"""The brakes of a connection of Daphne's, at Twisted's transport."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from twisted.web.http import HTTPChannel

from opencode_site.ws.flow import READ_BYTES, SEND_BUFFER, Flow

logger = logging.getLogger(__name__)


class TwistedFlow(Flow):
    """Twisted calls it as the producer of what is sent."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self._traffic = protocol.trafficStats
        self._transport: Any = protocol.transport
        # With TLS there is a layer between.
        self._socket: Any = getattr(protocol.transport, "transport", protocol.transport)
        self._direct = self._socket is protocol.transport
        self._written_this_turn = False
        self._socket.bufferSize = READ_BYTES  # Twisted's own is four times that
        self._socket.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def replace_http(self) -> None:
        """Takes the place of Daphne's HTTP channel, which was the producer until the handshake was over."""
        if isinstance(channel := self._socket.producer, HTTPChannel):
            # The channel and its request hold each other: left to the garbage collector, they would wait for
            # it to stop everybody.
            channel.requests.clear()
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)
        self._resume_reading()

    def pauseProducing(self) -> None:
        """The buffer is full."""
        self.pause()

    def resumeProducing(self) -> None:
        """The buffer is empty."""
        self.resume()

    def stopProducing(self) -> None:
        """The connection is at its end."""
        self.end()

    def _pause_reading(self) -> None:
        if not self._socket.disconnected:
            self._transport.pauseProducing()

    def _resume_reading(self) -> None:
        """Lets Twisted read, and takes its reader's place in the loop until it stops.

        Twisted's way from the loop to the protocol was a third of the CPU of a ping (measured with py-spy).
        """
        connection = self._socket
        if connection.disconnected:
            return
        self._transport.resumeProducing()
        # Where Twisted does not read it would not remove our reader either, and the next connection with this
        # file descriptor would be deaf.
        if self._direct and connection.connected and not connection.disconnecting:
            asyncio.get_running_loop().add_reader(connection.fileno(), self._readable)

    def _readable(self) -> None:
        connection = self._socket
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # The end is Twisted's affair: its own reader comes upon it again.
            connection.stopReading()
            connection.startReading()
            return
        try:
            connection.protocol.dataReceived(data)
        except Exception:
            logger.exception("what a client sent could not be read; its connection is dropped")
            connection.abortConnection()

    def write(self, data: bytes) -> None:
        """Sends bytes after those that wait.

        What comes first in a turn of the loop goes to the socket at once. Twisted would ask the selector for
        the next turn and then to forget it: 30 % of the CPU of a short reply. What comes after it in the same
        turn waits, as Twisted has it, so that a burst is one call of the kernel.
        """
        if self._direct and not self._written_this_turn:
            self._written_this_turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)
            self.write_now(data)
        else:
            self._traffic.outgoingOctetsWireLevel += len(data)
            self._transport.write(data)

    def write_now(self, data: bytes) -> None:
        """Sends bytes, at once if none wait."""
        self._traffic.outgoingOctetsWireLevel += len(data)
        connection = self._socket
        waiting = connection.dataBuffer or connection._tempDataLen
        if self._direct and not (waiting or connection.disconnecting):
            try:
                sent = connection.socket.send(data)
            except OSError:
                sent = 0  # it comes again when Twisted writes, and there it ends the connection
            if sent == len(data):
                return
            data = data[sent:]
        self._transport.write(data)

    def _end_turn(self) -> None:
        self._written_this_turn = False

    def _taken_so_far(self) -> int:
        written: int = self._traffic.outgoingOctetsWireLevel
        socket = self._socket
        waiting: int = len(socket.dataBuffer) - socket.offset + socket._tempDataLen
        return written - waiting
