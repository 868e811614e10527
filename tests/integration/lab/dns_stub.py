"""A name server of one answer, which a test changes as it likes."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rrset


class DnsStub:
    def __init__(self, address: str | None = "127.0.0.1", ttl_s: int = 1) -> None:
        self.address = address
        """None: it keeps silent."""
        self.ttl_s = ttl_s
        self.asked_count = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            raw, client = self._socket.recvfrom(2048)
            if not raw:
                return
            self.asked_count += 1
            if self.address is None:
                continue
            query = dns.message.from_wire(raw)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.AA
            name = query.question[0].name
            answer.answer.append(dns.rrset.from_text(name, self.ttl_s, "IN", "A", self.address))
            self._socket.sendto(answer.to_wire(), client)
