"""How the address of a W&B server is spelled."""

import pytest

from dr_wandb.shell.sources.api.addresses import CLOUD, server_of


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("https://api.wandb.ai", CLOUD),
        ("https://api.wandb.ai/", CLOUD),
        ("https://wandb.ai", CLOUD),
        ("http://WANDB.ai:80", CLOUD),
        ("https://wandb.example.org/", "https://wandb.example.org"),
        ("https://wandb.example.org:443/path", "https://wandb.example.org"),
        ("HTTPS://user:secret@Wandb.Example.org:8443", "https://wandb.example.org:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_server_has_one_spelling(address: str, server: str) -> None:
    assert server_of(address) == server
