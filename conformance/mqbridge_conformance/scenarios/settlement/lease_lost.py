"""A message that is not a consumer's any more cannot be settled by it: it says so, and another one gets the message."""

from __future__ import annotations

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

MESSAGES, ACKED = 6, 2
VERBS = ("ack", "release", "retry", "reject")


@scenario(
    "lease-lost",
    "A verb on a message that has gone back is LeaseLost and does nothing; another consumer gets the message",
    needs=(Cap.WORK_SHARING, Cap.ACK, Cap.ATTEMPT_NUMBER, Cap.REDELIVERED),
    proves=(Cap.ACK, Cap.REDELIVERED, Cap.ATTEMPT_NUMBER),
    exercises=("refused", "given_to_another"),
)
def lease_lost(env: Env) -> None:
    queue = env.queue()
    env.send(queue, range(MESSAGES))
    with env.bus.consumer(queue, prefetch=MESSAGES) as leaving:
        held = env.receive(leaving, MESSAGES, "all of it")
        env.ack(leaving, held[:ACKED])
        leaving.close()
    kept = held[ACKED:]
    for delivery, verb in zip(kept, VERBS, strict=True):
        what = f"{verb} after the consumer was closed"
        error = env.raises(mq.LeaseLost, getattr(delivery, verb), what, anomaly="settled-after-loss")
        env.equal(error.outcome, "not_applied", f"the outcome of {what}")
        env.count("refused")
    with env.connect().consumer(queue, prefetch=MESSAGES) as heir:
        got = env.receive(heir, len(kept), "what the closed consumer gave back", anomaly="missing-redelivery")
        values = sorted(d.raw or b"" for d in got)
        env.equal(values, sorted(d.raw or b"" for d in kept), "what another gets", anomaly="redelivery-after-settle")
        env.equal({d.redelivered for d in got}, {True}, "whether it says so", anomaly="dup-unflagged")
        if env.bus.capabilities[Cap.RELEASE_UNCOUNTED].level is mq.Level.DIRECT:
            env.equal({d.attempt for d in got}, {1}, "the attempt after a consumer was closed", anomaly="attempt-wrong")
        env.count("given_to_another", len(got))
        env.ack(heir, got)
        env.equal([d.raw for d in heir.poll(timeout=0.05)], [], "what is left", anomaly="redelivery-after-settle")
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
