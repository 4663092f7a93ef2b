"""Work queues and exchanges: who gets a message next, what became of it, and what is still to be remembered of it.

The rule: a confirmed message is in exactly one place (ready, delayed, blocked on its dead-letter queue, unsettled
at one consumer) until it is settled, dead-lettered or dropped by a policy that its queue states; and the journal of
its queue says so before a reply does. Reserved headers are read here, users' headers only by headers exchanges.

`room` is the door: the operations, and all queues together. `queue` is one queue's state machine; around it `spec`
(what a queue is), `limits`, `order` (which message is next), `settling` (what the verbs of one call do), `consumers`
(who may take, and who is told), `deadletter`, `records` (messages and journal entries), `exchanges` (routing).
"""
