"""Policies that the operator adds in Python: installed ones by entry point, others by name.

Such a policy is not ours to trust: whatever it raises that is no HanseError, and whatever it
returns that is not None, refuses the event; the relay goes on.
"""

import functools
import importlib
import inspect
import logging
import sys
from importlib.metadata import entry_points

from hanse.errors import HanseError, Invalid, NotFound, PolicyFailed
from hanse.protocol.event import Event
from hanse.servers.relay.context import Context, Policy

GROUP = "hanse.policies"

_log = logging.getLogger("hanse.relay")


def load_policies(targets: tuple[str, ...]) -> tuple[Policy, ...]:
    """Every installed policy, by name, then each `module:function`. Raises NotFound or Invalid for
    one that cannot be used: a relay without a policy that was asked for would take too much."""
    installed = sorted(entry_points(group=GROUP), key=lambda found: found.name)
    wanted = [found.value for found in installed] + list(targets)
    return tuple(_guarded(target, _load(target)) for target in dict.fromkeys(wanted))


def _load(target: str) -> Policy:
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise Invalid.at("policy", "must be MODULE:FUNCTION", "e.g. my_rules:no_spam")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    # The module is the operator's own: say what it raised.
    except Exception as exc:
        raise Invalid.at("policy", f"cannot be loaded: {type(exc).__name__}: {exc}") from exc
    found = getattr(module, name, None)
    if not callable(found):
        raise NotFound(f"{module_name} has no function {name!r}", field="policy")
    if inspect.iscoroutinefunction(found):
        raise Invalid.at("policy", f"{target} is async; a policy answers at once")
    policy: Policy = found
    return policy


def _guarded(target: str, policy: Policy) -> Policy:
    @functools.wraps(policy)
    def run(event: Event, context: Context) -> None:
        try:
            answer: object = policy(event, context)  # type: ignore[func-returns-value]
        except HanseError:
            raise
        # Somebody else's code: a check that failed refuses, and the relay lives.
        except Exception as exc:
            _log.exception("the policy %s failed", target)
            raise PolicyFailed from exc
        if answer is not None:
            _log.error("the policy %s returned %r; it must raise to refuse", target, answer)
            raise PolicyFailed

    return run
