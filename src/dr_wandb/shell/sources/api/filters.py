"""Listing queries as filters of W&B's API: in the style of MongoDB, keys as W&B documents them.

A filter may admit more runs than the query: the listing checks each run again. Only W&B judges a
scope's own `filters`.
"""

from typing import Any

from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunsById, RunsCreatedSince
from dr_wandb.core.contract.scope import RunScope, chosen_in


def query_filters(query: ListingQuery) -> dict[str, Any]:
    """Return the filters for the runs of a query."""
    match query:
        case EveryRun(scope=scope):
            return scope_filters(scope)
        case RunsCreatedSince(since=since, scope=scope):
            return _both({"createdAt": {"$gte": since}}, scope_filters(scope))
        case RunsById(run_ids=run_ids):
            return {"name": {"$in": list(run_ids)}}


def scope_filters(scope: RunScope | None) -> dict[str, Any]:
    """Return the filters for the runs in scope, {} if that is every run."""
    if scope is None:
        return {}
    named: dict[str, dict[str, Any]] = {}
    for criterion, wanted in chosen_in(scope):
        value = list(wanted) if criterion.takes_several else wanted[0]
        named.setdefault(criterion.filter_key, {})[criterion.operator.value] = value
    return _both(named, scope.filters or {})


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"$and": [one, other]} if one and other else one or other
