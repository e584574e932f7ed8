"""Settings: TOML file < environment < command line."""

import json
from pathlib import Path

import pytest

from cpo.config import MASK, catalogue, load, masked_url, nearest
from cpo.errors import Misconfigured


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def value_of(loaded, key):
    return next((e["value"], e["source"]) for e in loaded.effective() if e["key"] == key)


def test_everything_has_a_default():
    settings = load(environ={}).settings

    assert settings.ocpp.port == 9000
    assert settings.parties[0].country_code == "NL"
    assert settings.operator.host == "127.0.0.1"


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path):
    file = written(tmp_path / "a.toml", "[ocpp]\nport = 1\ncall_timeout = 1\npath = '/a'\n")

    loaded = load(
        file,
        environ={"CPO_OCPP__PORT": "2", "CPO_OCPP__CALL_TIMEOUT": "2"},
        overrides={"ocpp.port": "3"},
    )

    assert value_of(loaded, "ocpp.path") == ("/a", f"file {file}")
    assert value_of(loaded, "ocpp.call_timeout") == (2.0, "environment CPO_OCPP__CALL_TIMEOUT")
    assert value_of(loaded, "ocpp.port") == (3, "command line")
    assert value_of(loaded, "ocpi.port") == (8080, "default")


def test_a_secret_is_read_from_the_file_that_a_variable_names(tmp_path):
    secret = written(tmp_path / "url", "postgresql://cpo:hidden@db/cpo\n")

    loaded = load(environ={"CPO_DATABASE__URL_FILE": str(secret)})

    assert loaded.settings.database.url == "postgresql://cpo:hidden@db/cpo"


def test_secrets_are_masked_in_the_effective_settings():
    """S29: no secret in the output of check-config."""
    keys = '[{"name": "console", "key": "canary-of-a-key-1", "scopes": ["admin"]}]'

    loaded = load(
        environ={
            "CPO_OPERATOR__API_KEYS": keys,
            "CPO_DATABASE__URL": "postgresql://cpo:canary@db/cpo",
            "CPO_SERVER__SECRET_KEY": "canary" * 8,
        }
    )

    assert "canary" not in json.dumps(loaded.effective())
    assert "canary" not in repr(loaded.settings.operator)
    assert value_of(loaded, "operator.api_keys[0].key") == (
        MASK,
        "environment CPO_OPERATOR__API_KEYS",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[ocpp]\nprot = 1", "ocpp.prot: unknown setting; did you mean ocpp.port?"),
        pytest.param("[opcc]\nport = 1", "opcc: unknown setting; did you mean ocpp?"),
        pytest.param(
            "[ocpi.push]\nbackof_min = 1",
            "ocpi.push.backof_min: unknown setting; did you mean ocpi.push.backoff_min?",
        ),
        pytest.param(
            "[[parties]]\ncountry_code='NL'\nparty_id='EXA'\ncurency='EUR'",
            "parties[0].curency: unknown setting; did you mean parties[].currency?",
        ),
        pytest.param("[ocpp]\nport = 70000", "ocpp.port: input should be less than or equal"),
        pytest.param(
            "[[parties]]\ncountry_code='NL'\nparty_id='EXA'\ntime_zone='Mars/Base'",
            "parties[0].time_zone: not a time zone",
        ),
        pytest.param("[ocpp.tls]\nkey = 'a.pem'", "ocpp.tls: certificate and key"),
        pytest.param("[ocpi]\npublic_url = 'ftp://a'", "ocpi.public_url: must be an http"),
        pytest.param("[database]\nurl = 'mysql://a'", "database.url: must start with sqlite:///"),
        pytest.param("[ocpp\n", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused_with_the_key_named(tmp_path, text, message):
    file = written(tmp_path / "a.toml", text)

    with pytest.raises(Misconfigured) as caught:
        load(file, environ={})

    assert message in str(caught.value)
    assert "a.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CPO_OCPP__PRT", "CPO_OCPP__PORT"),
        ("CPO_OCPP_PORT", "CPO_OCPP__PORT"),
        ("CPO_OCPI__PUSH__TIMOUT", "CPO_OCPI__PUSH__TIMEOUT"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_named(name, hint):
    with pytest.raises(Misconfigured, match=f"did you mean {hint}"):
        load(environ={name: "1"})


@pytest.mark.parametrize("name", ["CPO_TEST_REQUIRE", "CPO_CONFIG", "CPO_KEY", "CPO_BUILD_DIR"])
def test_variables_of_others_are_left_alone(name):
    assert load(environ={name: "1"}).origins == {}


def test_an_unknown_key_on_the_command_line_is_refused():
    with pytest.raises(Misconfigured, match=r"did you mean ocpp\.host"):
        load(environ={}, overrides={"ocpp.hots": "1"})


def test_durations_may_be_as_small_as_a_twentieth_of_a_second():
    for key in catalogue():
        if key.unit == "seconds":
            load(environ={}, overrides={key.path: "0.05"})


def test_every_setting_says_what_it_does():
    assert [key.path for key in catalogue() if len(key.meaning) < 10] == []


def test_the_password_of_an_url_is_masked():
    assert masked_url("postgresql://cpo:secret@db/cpo") == f"postgresql://cpo:{MASK}@db/cpo"
    assert masked_url("sqlite:///cpo.db") == "sqlite:///cpo.db"


def test_nothing_is_suggested_for_what_looks_like_nothing():
    assert nearest("zzzzqqqq") is None
