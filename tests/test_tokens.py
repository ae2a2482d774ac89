"""Tokens are counted on this machine, by the best encoding at hand, and never by a download."""

import hashlib
import socket

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router.tokens import CHARACTERS_PER_TOKEN, TokenCount, count_tokens, local_encoding

law = settings(derandomize=True, deadline=None)

ENCODING_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    local_encoding.cache_clear()
    yield tmp_path
    local_encoding.cache_clear()


@pytest.fixture
def no_encoding_installed(monkeypatch):
    monkeypatch.setattr(tiktoken, "list_encoding_names", lambda: ["o200k_base", "cl100k_base"])


def cached_file(cache, name):
    return cache / hashlib.sha1(ENCODING_ADDRESS.format(name=name).encode()).hexdigest()


def test_an_empty_cache_does_not_touch_the_network(cache):
    assert count_tokens("What is 27 + 41?").source == "counted"


def test_without_any_encoding_a_rule_of_thumb_counts_and_says_so(cache, no_encoding_installed):
    assert count_tokens("a" * (2 * CHARACTERS_PER_TOKEN + 1)) == TokenCount(3, "estimated")
    assert count_tokens("") == TokenCount(0, "estimated")


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("content", [b"", b"IQ== 0\n", b"\xff" * 1000])
def test_a_corrupt_cached_file_is_neither_used_nor_fetched_again(cache, no_encoding_installed, name, content):
    file = cached_file(cache, name)
    file.write_bytes(content)

    assert count_tokens("four score") == TokenCount(3, "estimated")
    assert file.read_bytes() == content


def test_a_folder_in_place_of_the_cached_file_is_no_encoding(cache, no_encoding_installed):
    cached_file(cache, "o200k_base").mkdir()
    assert local_encoding() is None


@pytest.mark.parametrize("folder", ["", "nowhere/at/all"])
def test_a_cache_that_is_switched_off_or_missing_is_no_cache(monkeypatch, no_encoding_installed, cache, folder):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder)
    assert local_encoding() is None


def test_special_tokens_are_counted_as_the_text_they_are():
    assert count_tokens("<|endoftext|>").n_tokens > 1
    assert count_tokens("<|endoftext|>" * 3).n_tokens >= 3 * 2


def test_a_count_is_of_the_size_that_is_known():
    assert count_tokens("What is 27 + 41?") == TokenCount(8, "counted")


@law
@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_counted_lone_surrogates_included(text):
    n_tokens, source = count_tokens(text)
    assert source == "counted"
    assert (n_tokens == 0) == (text == "")
    assert n_tokens <= 4 * len(text)  # a character has at most four bytes, a token at least one
