"""Secrets that are removed from a recording, and texts that stay in it."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.sync.scrub import REMOVED, scrub, scrub_text, spell_secrets
from tests.support.strategies import clean_texts

KEY = "0123456789abcdef0123456789abcdef01234567"
SECRETS = spell_secrets([KEY])
HOST = "https://storage.googleapis.com/bucket/a%20b/run.parquet"
SIGNED = f"{HOST}?Expires=1900000000&GoogleAccessId=a%40b.com&Signature=aB%2Bc%3D%3D"


@pytest.mark.parametrize(
    ("url", "left"),
    [
        (SIGNED, HOST),
        (
            f"{HOST}?X-Goog-Algorithm=GOOG4&X-Goog-Credential=a%2Fb&X-Goog-Signature=0f&alt=media",
            f"{HOST}?alt=media",
        ),
        (f"{HOST}?alt=media&X-Amz-Signature=0f&X-Amz-Date=2026#part", f"{HOST}?alt=media#part"),
        (f"{HOST}?x-amz-security-token=FQoG", HOST),
        (f"{HOST}?sv=2022&se=2026&sr=b&sig=aB%3D", f"{HOST}?sv=2022&se=2026&sr=b"),
        (f"{HOST}?Policy=e30_&Signature=x~y&Key-Pair-Id=K1&a=1", f"{HOST}?a=1"),
        (f"see <{SIGNED}> or [this]({SIGNED}).", f"see <{HOST}> or [this]({HOST})."),
        (f"{SIGNED} {SIGNED}", f"{HOST} {HOST}"),
        (f"{HOST}?a=1\\u0026X-Goog-Signature=0f\\u0026b=2", f"{HOST}?a=1\\u0026b=2"),
        (f"{HOST}?X-Goog-Signature=0f&amp;b=2", f"{HOST}?b=2"),
    ],
)
def test_signed_url_loses_what_makes_it_work(url: str, left: str) -> None:
    assert scrub_text(url) == left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Signature=abc&Expires=1",
        "https://example.com/?signature=handwritten",
        "https://example.com/?sig=1&page=2",
        "https://example.com/?expires=1&policy=strict",
        "https://example.com/?token=abc&api_key=def&password=ghi",
        "https://example.com/x-amz-signature=abc",
        "gs://bucket/file?X-Goog-Signature=abc",
        "Authorization: Bearer abcdef",
        "0123456789abcdef0123456789abcdef01234568",
    ],
)
def test_text_that_is_not_certainly_a_secret_stays(text: str) -> None:
    assert scrub({"api_key": text, "password": [text]}, SECRETS) == {
        "api_key": text,
        "password": [text],
    }


def test_named_secret_is_removed_from_every_text() -> None:
    header = base64.b64encode(f"api:{KEY}".encode()).decode()
    value = {
        "key": KEY,
        KEY: 1,
        "env": [f"WANDB_API_KEY={KEY} python train.py", None, 2.5],
        "config": json.dumps({"a": {"value": KEY}}),
        "header": f"Basic {header}",
    }
    assert scrub(value, SECRETS) == {
        "key": REMOVED,
        REMOVED: 1,
        "env": [f"WANDB_API_KEY={REMOVED} python train.py", None, 2.5],
        "config": json.dumps({"a": {"value": REMOVED}}),
        "header": f"Basic {REMOVED}",
    }


def test_keys_that_become_alike_are_all_kept() -> None:
    secrets = spell_secrets(["first-secret", "other-secret"])
    scrubbed = scrub({"first-secret": 1, "other-secret": 2, REMOVED: 3}, secrets)
    assert sorted(scrubbed.values()) == [1, 2, 3]
    assert scrubbed[REMOVED] == 3


def test_text_that_could_be_ordinary_is_no_secret() -> None:
    assert spell_secrets(["", "a", "loss", "1234567"]) == ()


def test_scrubbing_does_not_change_its_argument() -> None:
    value = {"a": [SIGNED]}
    scrub(value, SECRETS)
    assert value == {"a": [SIGNED]}


PIECES = st.sampled_from(
    (
        *("https://a.b/c", "http://", "?", "&", "&amp;", "\\u0026", "#", " ", '"', ")", KEY),
        *("X-Goog-Signature=1", "Signature=2", "sig=3", "Expires=4", "se=5", "a=6"),
    )
)


@given(st.lists(PIECES | clean_texts, max_size=12).map("".join))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once = scrub_text(text, SECRETS)
    assert scrub_text(once, SECRETS) == once
    assert KEY not in once
