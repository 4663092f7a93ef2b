"""Who shows the right password is let in; nobody else is, and no error tells a password."""

from __future__ import annotations

import contextlib
import traceback
from urllib.parse import urlsplit

import mqbridge as mq
from mqbridge import Capability as Cap
from mqbridge_conformance.env import Env
from mqbridge_conformance.scenario import scenario

WRONG = "wr0ng-Word"


@scenario(
    "passwords",
    "The right password is let in; a wrong one and an unknown user are Denied at once, and no error tells a password",
    needs=(Cap.PASSWORDS,),
    exercises=("denied", "let_in"),
    level="full",
    users=True,
)
def passwords(env: Env) -> None:
    with contextlib.closing(env.target.secured()) as site:
        url = site.user("write", "read")
        parts = urlsplit(url)
        login = f"{parts.username}:{parts.password}@"
        for what, other in (("a wrong password", f"{parts.username}:{WRONG}@"), ("a stranger", f"nobody:{WRONG}@")):
            wrong = url.replace(login, other)
            error = env.raises(mq.Denied, lambda wrong=wrong: env.connect_to(wrong), what, "let-in")  # type: ignore[misc]
            env.equal(error.outcome, "not_applied", f"the outcome of {what}")
            told = "".join(traceback.format_exception(error))
            env.check(WRONG not in told, f"the error of {what} tells the password", anomaly="secret-told")
            env.count("denied")
        with env.connect_to(url) as bus:
            env.check(str(parts.password) not in repr(bus), "a bus tells its password", anomaly="secret-told")
            env.equal(bus.state, "connected", "the state of who is let in")
            env.count("let_in")
