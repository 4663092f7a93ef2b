"""One consumer at a time: the others wait, and one of them takes over when it goes or dies."""

from __future__ import annotations

from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.observers import Counts
from mqbridge_conformance.scenario import scenario

EACH = 6


@scenario(
    "single-active-consumer",
    "Of several consumers one is served; when it leaves the next one is, and when it dies, with what it held",
    needs=(Cap.SINGLE_ACTIVE_CONSUMER, Cap.WORK_SHARING, Cap.ACK),
    proves=(Cap.SINGLE_ACTIVE_CONSUMER,),
    exercises=("waited", "took_over", "kills"),
    fault=True,
)
def single_active_consumer(env: Env) -> None:
    queue = env.queue(single_active=True)
    victim = env.spawn("hold", queue=queue.name, take=EACH, ack=1)
    first = env.send(queue, range(EACH), "first")
    told = victim.expect("held", env.patience_s)
    env.equal(len(told["acked"]) + len(told["kept"]), EACH, "what the active one took")
    with env.bus.consumer(queue) as second, env.connect().consumer(queue) as third:
        more = env.send(queue, range(EACH), "more")
        for waiting in (second, third):
            found = [d.raw for d in waiting.poll(timeout=0.1)]
            env.equal(found, [], "what one gets that waits behind the active one", anomaly="double-ownership")
            env.count("waited")
        env.kill(victim)
        wanted = sorted([*told["kept"], *more])
        got = env.receive(second, len(wanted), "what the next one gets after a kill", anomaly="starvation")
        env.equal(sorted(d.raw or b"" for d in got), wanted, "what was held, and the rest", anomaly="lost")
        env.equal([d.raw for d in third.poll(timeout=0.05)], [], "what the other gets", anomaly="double-ownership")
        env.check(set(told["acked"]) <= set(first), "what was acked was never sent")
        env.count("took_over")
        env.ack(second, got)
        second.close()
        last = env.send(queue, range(EACH), "last")
        got = env.receive(third, EACH, "what the third gets when the second has left", anomaly="starvation")
        env.equal([d.raw for d in got], last, "what the third gets, in order", anomaly="fifo-inversion")
        env.count("took_over")
        env.ack(third, got)
        env.drained(queue)
    env.counts(queue.name, Counts(0, 0, 0), "the queue at the end")
