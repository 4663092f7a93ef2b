"""The way to the broker breaks: it is cut, stands still, is slow, or loses just the answer that was waited for.

The rule: what goes this way goes through a proxy of the broker's own, so that other tests are not met. A lost answer is
in force when the answer is lost, not when it was ordered: before that the history tells an attempt, and if no such
answer ever came, that it failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from mqbridge_conformance.brokers.links import ANSWER, BOTH, REQUEST, Dropping, Proxy, Way
from mqbridge_conformance.faults.fault import Fault, inject
from mqbridge_conformance.history import Error, Recorder
from mqbridge_conformance.results import CannotTell

__all__ = ["LinkFaults", "Loss"]

AT = "link"


class LinkFaults:
    """What can happen to the way to one broker. Each method but those that lose a frame returns when the fault is in
    force; see `Fault`."""

    def __init__(self, proxy: Proxy, recorder: Recorder, keep: Callable[[Fault], object] = lambda _: None) -> None:
        proxy.check()
        self._proxy = proxy
        self._recorder = recorder
        self._keep = keep

    def cut(self) -> Fault:
        """All connections are reset, and each new one as it comes, until it is healed."""
        return self._kept(inject(self._recorder, "cut", AT, self._proxy.cut, self._proxy.mend))

    def stall(self, way: Way | None = None) -> Fault:
        """Nothing comes through, or nothing on that way (`REQUEST`, `ANSWER`): connections stay open, half of them or
        whole. Healed, what was held back goes on."""
        ways = BOTH if way is None else (way,)
        return self._kept(
            inject(self._recorder, "stall", AT, lambda: self._proxy.stall(ways), self._proxy.go_on, ways=list(ways))
        )

    def delay(self, seconds: float) -> Fault:
        """Every byte comes that much later, each way."""
        return self._kept(
            inject(
                self._recorder, "delay", AT, lambda: self._proxy.delay(seconds), self._proxy.hurry, delay_s=seconds
            )
        )  # fmt: skip

    def lose_answer(self, to: str, times: int = 1) -> Loss:
        """The next answer to a ``send``, ``commit``, ``settle`` or ``end`` of a transaction does not arrive, though
        what was asked for was done; its connection is closed. So for `times` of them."""
        return self._lose(ANSWER, to, times)

    def lose_request(self, to: str, times: int = 1) -> Loss:
        """The next such request does not arrive, and its connection is closed: it was not done."""
        return self._lose(REQUEST, to, times)

    def _lose(self, way: Way, to: str, times: int) -> Loss:
        names = self._proxy.framer.said(way, to)
        if not names:
            raise CannotTell(f"{self._proxy.framer.__name__} knows no {way} of a {to!r} that could be lost")
        loss = Loss(self._recorder, self._proxy, way, names, to, times)
        self._keep(loss)
        return loss

    def _kept(self, fault: Fault) -> Fault:
        self._keep(fault)
        return fault


class Loss(Fault):
    """Frames that are to be lost: in force with the first, over by itself with the last."""

    def __init__(
        self, recorder: Recorder, proxy: Proxy, way: Way, names: Collection[str], to: str, times: int
    ) -> None:  # fmt: skip
        super().__init__(recorder, f"lose {way}", AT, lambda: {"dropped": self._dropping.dropped})
        self._proxy = proxy
        self._over = threading.Event()
        self._told = {"what": self.what, "at": AT, "to": to, "times": times}
        self._op = recorder.invoke("fault", more=self._told)
        self._dropping = proxy.drop(way, names, times, self._met)

    def wait(self, patience_s: float) -> None:
        """Until the last of them is lost; `CannotTell` if they did not come in time."""
        if not self._over.wait(patience_s):
            raise CannotTell(f"nothing came within {patience_s:g} s that this fault could lose: {self._told}")

    def _met(self, dropping: Dropping, name: str) -> None:
        """On the proxy's thread, before anybody can have noticed."""
        self._dropping = dropping  # which the maker of this may not have been given yet
        if dropping.dropped == 1:
            self._recorder.write("ok", "fault", op=self._op, more={**self._told, "frame": name})
        if dropping.dropped == dropping.times:
            super().heal()
            self._over.set()

    def heal(self) -> None:
        """Lose no more. What never came is told as a fault that could not be brought about."""
        self._proxy.leave(self._dropping)  # when this returns, `_met` is not called any more
        if self._dropping.dropped:
            super().heal()
        elif not self._healed:
            self._healed = True
            never = Error("nothing_came", "not_applied", "nothing came that this fault could lose")
            self._recorder.write("fail", "fault", op=self._op, err=never, more=self._told)
