"""A snapshot without a network."""

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from reasonir.utils.hub import snapshot
from tests.helpers import HTTP

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of the fixture's repositories


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_what_the_cache_has_is_found_pinned_or_not(tmp_path, hub, monkeypatch, offline, revision):
    def unreachable(*args, **kwargs):
        raise HTTP.ConnectError("no network")

    monkeypatch.setattr(HTTP.Client, "send", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "test.tsv").touch()
    hub(tmp_path / "files", "me/set", kind="dataset")
    assert [file.name for file in snapshot("me/set", repo_type="dataset", revision=revision).iterdir()] == ["test.tsv"]
    for other in ({"revision": "f" * 40}, {"revision": "none"}):
        with pytest.raises(LocalEntryNotFoundError):
            snapshot("me/set", repo_type="dataset", **other)
    with pytest.raises(LocalEntryNotFoundError):
        snapshot("me/other", revision=revision)
