"""Classify GraphQL errors by their words.

Rules
- wandb-core passes on the message and the path of each error, and drops `extensions` with the code
  in it (wandb 0.31.0). So the words are all there is.
- Only errors of an answer of status 200 are judged here; other answers say it in their status.
- W&B's words for a missing permission are known from public reports ("permission denied",
  "permission error", "you do not have permission to access ..."); the other words are usual in
  APIs. A wrong guess costs little: a refused run is asked for once instead of three times.
- An error about the whole request comes again even if less is asked for. Every other error may be
  about one of the runs.

Everything here is total and pure.
"""

import re

_GRAPHQL = re.compile(r"^(?:input:|\[)")
"""The start of every error text of an answer, as wandb-core writes it."""

_WHOLE_REQUEST = re.compile(
    r"cannot query field|unknown (?:argument|type|fragment|directive|operation|operator)"
    r"|syntax error|variable \W?\$|expected (?:type|name)|\bargument \W?\w+\W? (?:of|has|is)"
    r"|must (?:not )?have a (?:sub)?selection|\bfilters?\b"
    r"|(?:no such|could not find|unknown) (?:project|entity|team)"
    r"|(?:project|entity|team)\b[^:]{0,80} (?:not found|does not exist)",
    re.IGNORECASE,
)

_REFUSED = re.compile(
    r"permission[ _](?:denied|error)|(?:do(?:es)? not|don't|doesn't) have (?:\w+ ){0,3}permission"
    r"|(?:insufficient|missing|no) permissions?\b|not permitted|not allowed to|\bforbidden\b"
    r"|access (?:is |was )?denied|denied access|\b(?:not|un)[ -]?authori[sz]ed\b|payment required"
    r"|\b(?:paid|your|current) plan\b",
    re.IGNORECASE,
)
_FILE_ON_THE_SERVER = re.compile(r"\b\w+ /\S*: permission denied")
"""A server that may not read one of its own files uses the same words."""


def is_graphql_errors(text: str) -> bool:
    """Say whether a text holds the GraphQL errors of an answer."""
    return _GRAPHQL.search(text) is not None


def may_be_about_one_run(text: str) -> bool:
    """Say whether these errors might go away if fewer runs are asked for."""
    return is_graphql_errors(text) and not refuses(text) and _WHOLE_REQUEST.search(text) is None


def refuses(text: str) -> bool:
    """Say whether these errors are a refusal: the caller has no permission."""
    if not is_graphql_errors(text) or _FILE_ON_THE_SERVER.search(text):
        return False
    return _REFUSED.search(text) is not None
