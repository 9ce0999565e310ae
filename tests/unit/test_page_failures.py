"""Failures and findings in Chinese: every code that a person can meet has a sentence, and the details are not lost."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from rag import errors
from rag.errors import CODES, ChatError, DocumentError, RagstoneError, UsageError
from rag.knowledge_base import KnowledgeBase
from rag.types import Document
from rag.users import Users
from ui.doctor import of_home
from ui.web import failures
from ui.web.settings_health import found
from ui.web.words.errors import CHINESE, LEADS

HAN = re.compile("[\u4e00-\u9fff]")
CLASSES = {one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, RagstoneError)}
CHAT_CODES = set(re.findall(r"E_LLM_[A-Z_]+", ChatError.__doc__ or ""))


def test_every_code_has_a_chinese_sentence() -> None:
    assert len(CHAT_CODES) > 8
    for code in CLASSES | CHAT_CODES | set(CODES):
        said = failures.chinese("Something in English.", code)
        assert HAN.search(said), code
        assert ("English" in said) == (code in LEADS), "a code that says little keeps the error's own words"
    assert not set(LEADS) & set(CHINESE)


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (UsageError("A password has 10 to 200 characters. A short sentence is a good one."), "10 到 200"),
        (UsageError("There is a user 'ann' already. Change it."), "ann"),
        (ChatError("E_LLM_AUTH", "401"), "密钥"),
        (DocumentError("E_ENCRYPTED", "a password is needed"), "密码"),
        (UsageError("Nobody foresaw this."), "Nobody foresaw this"),
    ],
)
def test_sentences_in_chinese(error: RagstoneError, part: str) -> None:
    view: Any = SimpleNamespace(language="zh")
    assert part in failures.told(view, error).replace("\\", "")
    assert failures.told(SimpleNamespace(language="en"), error).replace("\\", "") == str(error)  # type: ignore[arg-type]
    assert failures.parted(failures.kept(error)) == (error.code, str(error))


def test_what_was_kept_without_a_code_is_shown_as_it_is() -> None:
    assert failures.parted("Milvus: away") == ("", "Milvus: away") and failures.parted("E_BUG") == ("E_BUG", "")
    warning = (
        "The chat model failed (E_LLM_AUTH), so this answer consists of sentences from the documents. No such key."
    )
    assert "密钥" in failures.chinese(warning)


def test_the_doctors_findings_are_chinese(tiny_kb: KnowledgeBase) -> None:
    tiny_kb.ingest([Document("Tea is steeped.", doc_id="tea")])
    for check in of_home(tiny_kb):
        assert check.name == "reranker" or HAN.search(found("zh", check)), check
        assert found("en", check) == check.message


def test_ones_own_password(tiny_kb: KnowledgeBase) -> None:
    users = Users(tiny_kb.catalog.engine)
    users.add("ann", "seven cups of tea")
    mine, other = (users.sign_in("ann", "seven cups of tea") for _ in range(2))
    with pytest.raises(UsageError, match="not the one"):
        users.change_own_password("ann", "wrong, wrong", "eight cups of tea", token=mine)
    with pytest.raises(UsageError, match="10 to 200"):
        users.change_own_password("ann", "seven cups of tea", "short", token=mine)
    users.change_own_password("ann", "seven cups of tea", "eight cups of tea", token=mine)
    assert users.signed_in(mine) is not None and users.signed_in(other) is None
    assert not users.sign_in("ann", "seven cups of tea") and users.sign_in("ann", "eight cups of tea")
    for _ in range(5):
        with pytest.raises(UsageError):
            users.change_own_password("ann", "wrong, wrong", "nine cups of tea", token=mine)
    with pytest.raises(UsageError, match="Too many"):
        users.change_own_password("ann", "eight cups of tea", "nine cups of tea", token=mine)
