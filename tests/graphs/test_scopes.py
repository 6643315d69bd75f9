"""Whose scope a run has."""

from __future__ import annotations

from typing import Any

import pytest

from rag2_memory import InvalidRequestError, Scope
from rag2_memory.graphs.scopes import scope_of_run

ADA = Scope(namespace="acme", user="ada", groups=frozenset({"eng"}))


@pytest.mark.parametrize(
    ("configurable", "expected"),
    [
        ({}, ADA),
        ({"user": "bob"}, Scope(namespace="acme", user="bob", groups=frozenset({"eng"}))),
        ({"scope": Scope(user="bob")}, Scope(user="bob")),
        ({"scope": {"user": "bob", "groups": ["hr"]}}, Scope(namespace="acme", user="bob", groups=frozenset({"hr"}))),
        ({"langgraph_auth_user_id": "", "user": "bob", "groups": []}, Scope(namespace="acme", user="bob")),
    ],
)
def test_a_run_may_say_whose_it_is(configurable: dict[str, Any], expected: Scope) -> None:
    assert scope_of_run(ADA, {"configurable": configurable}) == expected


def test_an_authenticated_caller_cannot_claim_to_be_another() -> None:
    claims = {"user": "eve", "groups": ["hr"], "namespace": "other", "scope": Scope(user="eve")}
    authenticated = {"langgraph_auth_user_id": "bob", "langgraph_auth_permissions": ["authenticated", "group:eng"]}
    assert scope_of_run(ADA, {"configurable": claims | authenticated}) == Scope(namespace="acme", user="bob", groups=frozenset({"eng"}))


@pytest.mark.parametrize("bad", ["ada", 7, {"role": "admin"}])
def test_what_is_no_scope_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidRequestError, match="needed"):
        scope_of_run(None, {"configurable": {"scope": bad}})
