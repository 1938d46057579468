"""What GraphQL errors mean, by their words.

Rules
- wandb-core passes on the message and the path of each error, and drops `extensions` with the code
  in it (wandb 0.31.0). So words are all that there is.
- Only errors of an answer of status 200 are judged here; other answers say it in their status.
- What W&B says of a permission is known from public reports ("permission denied", "permission
  error", "you do not have permission to access ..."); the other words are those that APIs use. A
  wrong guess costs little: a refused run is asked once instead of three times.
- An error that is about the whole request comes again however little is asked for. Every other one
  may be about one of the runs.

Everything here is total and pure.
"""

import re

_GRAPHQL = re.compile(r"^(?:input:|\[)")
"""How wandb-core begins the errors of an answer."""

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
"""A server that may not read a file of its own says so in the words of its system."""


def is_graphql_errors(text: str) -> bool:
    """Say whether a text is that of the errors of an answer."""
    return _GRAPHQL.search(text) is not None


def may_be_about_one_run(text: str) -> bool:
    """Say whether an answer of these errors might do without them if fewer runs are asked for."""
    return is_graphql_errors(text) and not refuses(text) and _WHOLE_REQUEST.search(text) is None


def refuses(text: str) -> bool:
    """Say whether these errors refuse what was asked for to whoever asks."""
    if not is_graphql_errors(text) or _FILE_ON_THE_SERVER.search(text):
        return False
    return _REFUSED.search(text) is not None
