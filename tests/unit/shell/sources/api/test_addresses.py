"""How the address of a W&B server is spelled."""

import pytest

from dr_wandb.shell.sources.api.addresses import CLOUD, is_plain, server_of


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("https://api.wandb.ai", CLOUD),
        ("https://api.wandb.ai/", CLOUD),
        ("https://wandb.ai", CLOUD),
        ("https://WANDB.ai:443", CLOUD),
        ("http://wandb.ai:80", "http://wandb.ai"),
        ("https://api.wandb.ai:8443", "https://api.wandb.ai:8443"),
        ("https://first.example\\@api.wandb.ai/x", "https://first.example"),
        ("https://wandb.example.org/", "https://wandb.example.org"),
        ("https://wandb.example.org:443/path", "https://wandb.example.org"),
        ("HTTPS://user:secret@Wandb.Example.org:8443", "https://wandb.example.org:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_server_has_one_spelling(address: str, server: str) -> None:
    assert server_of(address) == server


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("https://wandb.example.org/files/a b?c=@d", True),
        ("http://[::1]:8080/x", True),
        ("https://first.example\\@api.wandb.ai/x", False),
        ("https://first.example\t@api.wandb.ai/x", False),
        ("https://api.wandb.ai@first.example/x", False),
        ("https://api.wandb.ai/x\ny", False),
        (" https://api.wandb.ai/x", False),
        ("https://api.wandb.ai:99999/x", False),
        ("https://[bad/x", False),
        ("ftp://api.wandb.ai/x", False),
        ("https:///x", False),
    ],
)
def test_address_is_plain_if_it_is_read_in_one_way(address: str, plain: bool) -> None:
    assert is_plain(address) is plain
