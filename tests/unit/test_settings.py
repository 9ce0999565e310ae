"""Settings: layers, origins, and messages that name the key and the nearest valid one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import Settings, load_with_origins, walk


def test_later_layers_win_and_are_named(tmp_path: Path) -> None:
    file = tmp_path / "ragstone.toml"
    file.write_text("[search]\ntop_k = 3\ndepth = 50\n")
    settings, origins = load_with_origins(
        file, environ={"RAGSTONE__SEARCH__TOP_K": "4", "RAGSTONE__CHUNK__OVERLAP": "7"}, overrides={"chunk.overlap": 9}
    )
    assert (settings.search.top_k, settings.search.depth, settings.chunk.overlap) == (4, 50, 9)
    assert origins["search.top_k"] == "RAGSTONE__SEARCH__TOP_K"
    assert origins["search.depth"] == str(file)
    assert origins["chunk.overlap"] == "command line"
    assert origins["search.mode"] == "default"


def test_the_usual_openai_names_are_read_and_ours_win() -> None:
    environ = {"OPENAI_BASE_URL": "http://a/v1", "OPENAI_API_KEY": "k", "RAGSTONE__LLM__BASE_URL": "http://b/v1"}
    settings, _ = load_with_origins(environ=environ)
    assert settings.llm.base_url == "http://b/v1"
    assert settings.llm.api_key.get_secret_value() == "k"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RAGSTONE__SERCH__TOP_K": "3"}, "search.top_k"),
        ({"RAGSTONE__SEARCH__TOPK": "3"}, "search.top_k"),
        ({"RAGSTONE__SEARCH__TOP_K": "many"}, "RAGSTONE__SEARCH__TOP_K"),
        ({"RAGSTONE__SEARCH__MODE": "magic"}, "search.mode"),
        ({"RAGSTONE__SEARCH": "3"}, "Unknown setting"),
    ],
)
def test_mistakes_are_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.load(environ=environ)


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("top_k: 3")
    with pytest.raises(SettingsError, match="not valid TOML"):
        Settings.load(file, environ={})
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load(tmp_path / "absent.toml", environ={})


def test_secrets_are_masked() -> None:
    settings = Settings().with_values(llm__api_key="sk-secret")
    assert "sk-secret" not in repr(settings) and "sk-secret" not in str(settings.model_dump())
    with pytest.raises(SettingsError) as error:
        Settings.load(environ={}, overrides={"llm.api_key": 3})
    assert "Given" not in str(error.value)


def test_with_values_keeps_the_rest() -> None:
    settings = Settings().with_values(search__top_k=7)
    assert settings.search.top_k == 7 and settings.search.depth == Settings().search.depth
    with pytest.raises(SettingsError):
        settings.with_values(search__nope=1)


def test_passwords_are_a_list_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "ragstone.toml"
    file.write_text('[parse]\npasswords = ["spring", "a, b"]\n')
    for given, wanted in (
        (Settings.load(file, environ={}), ["spring", "a, b"]),
        (Settings.load(environ={"RAGSTONE__PARSE__PASSWORDS": '["spring", "a, b"]'}), ["spring", "a, b"]),
        (Settings.load(environ={"RAGSTONE__PARSE__PASSWORDS": "a, b"}), ["a, b"]),
    ):
        assert [one.get_secret_value() for one in given.parse.passwords] == wanted
        assert "spring" not in repr(given) and "a, b" not in str(dict(walk(given)))
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ={}, overrides={"parse.passwords": ["spring", 7]})
    assert "spring" not in str(caught.value)
