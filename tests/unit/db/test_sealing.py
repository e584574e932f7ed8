import pytest

from cpo.db.sealing import Seal
from cpo.errors import Misconfigured


def test_a_sealed_token_can_be_opened_with_the_same_key():
    sealed = Seal(b"key").close("tökén")

    assert "tökén" not in sealed
    assert Seal(b"key").open(sealed) == "tökén"


def test_the_same_token_is_never_sealed_the_same():
    assert Seal(b"key").close("token") != Seal(b"key").close("token")


def test_another_key_does_not_open_it():
    with pytest.raises(Misconfigured) as refused:
        Seal(b"other").open(Seal(b"key").close("token"))
    assert refused.value.key == "server.secret_key"
