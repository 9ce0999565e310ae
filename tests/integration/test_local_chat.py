"""The local chat model with a real GGUF file (SmolLM2-135M: quick to load, and its answers do not matter here)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.chat import complete
from rag.errors import ChatError, ModelError
from rag.local_chat import LocalChat
from rag.models import models_dir, resolve
from rag.types import Message

pytest.importorskip("xllamacpp", reason="needs the package xllamacpp")


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


@pytest.fixture(scope="module")
def model_path() -> Path:
    try:
        return Path(resolve("smollm2-135m", "chat", models_dir("")))
    except ModelError:
        pytest.skip("needs the model smollm2-135m: ragstone models pull smollm2-135m")


@pytest.fixture
def chat(model_path: Path) -> Iterator[LocalChat]:
    model = LocalChat(model_path, name="smollm2", threads=1, context_tokens=512)
    yield model
    model.close()


def test_a_prompt_longer_than_the_context_is_refused_with_the_setting_to_change(chat: LocalChat) -> None:
    with pytest.raises(ChatError, match="llm.context_tokens") as caught:
        complete(chat, ask("word " * 2000), max_tokens=4)
    assert caught.value.code == "E_LLM_TOO_LARGE"


def test_a_schema_that_is_none_is_refused(chat: LocalChat) -> None:
    with pytest.raises(ChatError) as caught:
        complete(chat, ask("hello"), max_tokens=4, json_schema={"type": "nonsense"})
    assert caught.value.code == "E_LLM_REFUSED"
    assert complete(chat, ask("hello"), max_tokens=4), "the model is usable after a refusal"


def test_what_prompts_share_is_not_computed_again(chat: LocalChat) -> None:
    shared = "The dog saw a fox near the river. " * 30
    slow, quick = ([*chat.stream(ask(shared + end), max_tokens=1)][-1].usage for end in ("One?", "Two?"))
    assert slow is not None and quick is not None
    assert slow.n_prompt_tokens == quick.n_prompt_tokens > 250
    assert quick.seconds < slow.seconds / 2


def test_a_file_that_is_not_there_and_one_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="models pull"):
        LocalChat(tmp_path / "gone.gguf", name="gone")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ChatError) as caught:
        complete(LocalChat(tmp_path / "bad.gguf", name="bad"), ask("hello"), max_tokens=4)
    assert caught.value.code == "E_LLM_UNREACHABLE"


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux' table of sockets")
def test_no_port_is_opened(model_path: Path) -> None:
    before = listening()  # other tests' servers
    chat = LocalChat(model_path, name="smollm2", threads=1, context_tokens=512)
    assert complete(chat, ask("hello"), max_tokens=1)
    assert listening() <= before
    chat.close()
    with socket.create_server(("127.0.0.1", 0)):
        assert listening() > before, "a port would have been seen"


def listening() -> set[str]:
    """The sockets of this process on which somebody could connect."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    return own & {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(3)", "stream.close()"])
def test_a_process_that_leaves_in_the_middle_of_a_reply_ends(model_path: Path, ending: str) -> None:
    program = (
        "from pathlib import Path\nfrom rag.local_chat import LocalChat\nfrom rag.types import Message\n"
        f"chat = LocalChat(Path({str(model_path)!r}), name='m', threads=1, context_tokens=2048)\n"
        "stream = chat.stream([Message(role='user', content='Tell a long story.')], max_tokens=1500)\n"
        f"print(next(stream).done)\n{ending}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (3 if "SystemExit" in ending else 0, "False\n"), done.stderr
    assert done.stderr == "", "llama.cpp is silent"
