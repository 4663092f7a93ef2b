"""Over TLS the broker shows who it is, and nobody is believed without the authority that signed for him."""

from __future__ import annotations

import contextlib

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.brokers.secured import AUTHORITY
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

LARGE = 50_000
"""More than one record of TLS."""


@scenario(
    "tls",
    "With the broker's authority messages travel over TLS whole; without it the broker is not believed",
    needs=(Cap.TLS, Cap.WORK_SHARING),
    proves=(Cap.TLS,),
    exercises=("refused", "carried"),
    level="full",
    users=True,
)
def tls(env: Env) -> None:
    folder = env.recorder.folder / "tls"
    folder.mkdir()
    with contextlib.closing(env.target.secured()) as site, site.tls(folder) as url:
        what = "a broker of an unknown authority"
        error = env.raises(mq.Unreachable, lambda: env.connect_to(url, connect_timeout_s=5), what, anomaly="let-in")
        env.equal(error.outcome, "not_applied", "the outcome of not believing")
        env.count("refused")
        ca = {"ca": str(folder / AUTHORITY)}
        with env.connect_to(url, options=ca) as bus:
            queue: mq.Queue[bytes] = mq.Queue(env.name("over-tls"), dead_letter=None)
            bus.admin.ensure(queue)
            try:
                value = env.payload(queue, "one", 0, pad=LARGE)
                with bus.producer() as producer:
                    producer.send(queue, value).result(env.patience_s)
                with bus.consumer(queue) as consumer:
                    got = env.receive(consumer, 1, "what was sent over TLS", anomaly="lost")
                    env.equal([d.raw for d in got], [value], "what was sent over TLS", anomaly="payload-corruption")
                    env.ack(consumer, got)
                    env.count("carried")
            finally:
                bus.admin.delete(queue)
