"""The command line as a person or a script uses it: results, JSON, exit codes, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.openai_server import OpenAIServer, says
from ui.cli import main


class Cli:
    """Runs commands in this process, on one home, with the tiny model."""

    def __init__(self, home: Path, settings, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
        self.home, self.capsys = home, capsys
        self.settings = ["--set", f"embedding.model={settings.embedding.model}", "--set", "embedding.backend=openvino-fp32",
                         "--set", f"models.dir={settings.models.dir}", "--set", "llm.model=none", "--set", "chunk.size=64",
                         "--set", "chunk.overlap=8"]  # fmt: skip

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main([*self.settings, *arguments, "--home", str(self.home)])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> tuple[int, dict]:  # type: ignore[type-arg]
        code, out, _ = self(*arguments, "--json")
        return code, json.loads(out)


@pytest.fixture
def cli(tmp_path: Path, tiny_settings, capsys: pytest.CaptureFixture[str]) -> Cli:  # type: ignore[no-untyped-def]
    return Cli(tmp_path / "home", tiny_settings, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "docs"
    made.mkdir()
    (made / "green.md").write_text(
        "# Green tea\n\nGreen tea is steeped at 80 degrees for 2 minutes.\n", encoding="utf-8"
    )
    (made / "红茶.md").write_text("# 红茶\n\n祁门红茶创制于一八七五年。\n", encoding="utf-8")
    (made / "sound.mp3").write_bytes(b"ID3\x03" + bytes(range(256)))
    return made


def test_the_whole_path(cli: Cli, folder: Path) -> None:
    code, data = cli.json("ingest", str(folder))
    assert code == 3 and data["documents"] == {"added": 2, "updated": 0, "unchanged": 0, "deleted": 0, "failed": 1}
    assert data["failures"][0]["code"] == "E_UNSUPPORTED" and data["failures"][0]["source"].endswith("sound.mp3")
    (folder / "sound.mp3").unlink()
    code, data = cli.json("ingest", str(folder))
    assert code == 0 and data["documents"]["unchanged"] == 2 and data["embedded"] == 0

    code, data = cli.json("search", "green degrees", "-k", "1", "--mode", "bm25", "--explain")
    hit = data["hits"][0]
    assert code == 0 and hit["rank"] == 1 and hit["source"].endswith("green.md")
    assert {"rank", "chunk_id", "doc_id", "source", "score", "text", "start", "end", "page"} <= hit.keys()
    assert any(step["detail"].get("candidates") for step in data["trace"])
    code, told = cli.json("search", "green degrees", "--summaries", "none", "--why", hit["chunk_id"], "--as", "u:bob")
    assert code == 0 and told["rank"] == 1 and told["shared_words"] == ["green", "degrees"]
    code, told = cli.json("search", "green", "--filter", "type == 'pdf'", "--why", hit["chunk_id"])
    assert code == 0 and told["lost_at"] == "filter" and told["remedies"][0]["options"] == {"filter": None}

    code, data = cli.json("ask", "How many degrees for green tea?")
    assert code == 0 and "80" in data["answer"] and not data["abstained"]
    citation = data["citations"][0]
    assert {"marker", "chunk_id", "doc_id", "source", "quote", "start", "end", "page", "supported"} <= citation.keys()
    _, shown = cli.json("docs", "show", citation["doc_id"])
    assert shown["text"][citation["start"] : citation["end"]] == citation["quote"]
    assert f"[{citation['marker']}]" in data["answer"]

    code, data = cli.json("docs", "list")
    assert code == 0 and {"doc_id", "source", "state", "version", "chunks", "updated_at"} <= data["documents"][0].keys()
    code, data = cli.json("verify")
    assert code == 0 and data["ok"] and data["problems"] == []
    code, data = cli.json("docs", "delete", str(folder / "红茶.md"))
    assert code == 0 and data["deleted"] == 1
    assert len(cli.json("docs", "list")[1]["documents"]) == 2  # green.md, and sound.mp3 as failed


def test_text_for_people(cli: Cli, folder: Path) -> None:
    code, out, err = cli("ingest", str(folder))
    assert code == 3 and "Imported 2 documents" in out and "E_UNSUPPORTED" in out
    assert "green.md" in cli("docs", "list")[1]
    assert "80 degrees" in cli("search", "green tea")[1]
    code, out, err = cli("ask", "How many degrees for green tea?")
    assert code == 0 and "[1]" in out and "“" in out and "generate" not in out
    assert "everything agrees" in cli("verify")[1].lower()
    assert "search.top_k" in cli("config", "show")[1]


def test_an_answer_in_a_schema_and_documents_that_differ(cli: Cli, tmp_path: Path) -> None:
    for name, when, degrees in (("old", "2019-05-01", 75), ("new", "2024-05-01", 80)):
        text = f"---\ndate: {when}\n---\n# Green tea\n\nGreen tea is steeped at {degrees} degrees.\n"
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    cli("ingest", str(tmp_path / "old.md"), str(tmp_path / "new.md"))
    shape = tmp_path / "shape.json"
    shape.write_text('{"type": "object", "properties": {"degrees": {"type": "integer"}}, "required": ["degrees"]}')
    question = ("ask", "How many degrees for green tea?", "--schema", str(shape))
    with OpenAIServer([says('{"degrees": "80"}')] * 2) as server:
        cli.settings += ["--set", f"llm.base_url={server.url}", "--set", "llm.model=fake-model"]
        code, data = cli.json(*question)
        assert code == 0 and data["data"] == {"degrees": 80} and data["citations"][0]["source"].endswith("new.md")
        assert [side["date"] for side in data["conflicts"][0]["sides"]] == ["2024-05-01", "2019-05-01"]
        assert server.requests[0].json["response_format"]["json_schema"]["schema"] == json.loads(shape.read_text())
        code, out, _ = cli(*question)
        assert code == 0 and '"degrees": 80' in out and "degrees: 80 [" in out
        assert out.index("2024-05-01") < out.index("2019-05-01") and "75" in out
    shape.write_text("{")
    assert cli(*question)[0] == 2
    shape.unlink()
    assert cli(*question)[0] == 2


def test_what_a_document_holds(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "tea.md"
    page.write_text(
        "# Tea\n\nKinds of tea.\n\n## Green\n\n| leaf | °C |\n| --- | --- |\n| sencha | 70 |\n", encoding="utf-8"
    )
    code, data = cli.json("ingest", str(page))
    assert code == 0 and data["types"] == [
        {"type": "markdown", "n_documents": 1, "n_pages": 0, "n_tables": 1, "n_chunks": data["chunks"], "n_warnings": 0}
    ]
    _, shown = cli.json("docs", "show", str(page))
    assert [(one["level"], one["text"]) for one in shown["headings"]] == [(1, "Tea"), (2, "Green")]
    (table,) = shown["tables"]
    assert shown["text"][table["start"] : table["end"]].startswith("| leaf") and shown["size"] == page.stat().st_size
    _, out, _ = cli("docs", "show", str(page), "--report")
    assert "2 headings" in out and "1 table" in out and "\n    Green\n" in out and "Kinds of tea" not in out
    _, out, _ = cli("docs", "show", str(page), "--chunks")
    assert shown["chunk_list"][0]["chunk_id"] in out and "tokens" in out
    assert "Kinds of tea" in cli("docs", "show", str(page))[1]


def test_lists_are_filtered(cli: Cli, folder: Path) -> None:
    cli("ingest", str(folder))
    assert [one["code"] for one in cli.json("docs", "list", "--state", "failed")[1]["documents"]] == ["E_UNSUPPORTED"]
    assert {one["type"] for one in cli.json("docs", "list", "--type", "markdown")[1]["documents"]} == {"markdown"}
    (folder / "green.md").write_bytes(b"")  # the version that could be read stays live, and counts as failed
    cli("ingest", str(folder))
    failed = cli.json("docs", "list", "--state", "failed")[1]["documents"]
    assert [(one["state"], one["code"]) for one in failed if one["version"]] == [("live", "E_EMPTY")]
    assert cli("docs", "list", "--type", "pdf")[1] == "No document fits.\n"
    assert "sate" in cli("docs", "list", "--sate", "live")[2]


def test_near_duplicates(cli: Cli, folder: Path) -> None:
    (folder / "sound.mp3").unlink()
    text = (folder / "green.md").read_text(encoding="utf-8")
    (folder / "green-2.md").write_text(text.replace("minutes", "min"), encoding="utf-8")
    cli("ingest", str(folder))
    code, data = cli.json("docs", "duplicates", "--threshold", "0.7")
    (group,) = data["groups"]
    assert code == 0 and [Path(one["source"]).name for one in group["documents"]] == ["green-2.md", "green.md"]
    assert group["pairs"][0]["similarity"] == round(9 / 11, 4)  # 10 shingles each, of which 9 are shared
    assert "2 documents" in cli("docs", "duplicates", "--threshold", "0.7")[1]
    assert "No two documents" in cli("docs", "duplicates")[1]
    assert cli("docs", "duplicates", "--threshold", "2")[0] == 2


def test_global_options_before_or_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--json", "--home", str(tmp_path / "h"), "docs", "list"], ["docs", "list", "--home", str(tmp_path / "h"), "--json"],
                      ["docs", "--json", "--home", str(tmp_path / "h"), "list"]):  # fmt: skip
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["documents"] == []
    assert (tmp_path / "h").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ingest", "/no/such/path"], 2, "/no/such/path"),
        (["ingest", "{empty}"], 2, "empty"),
        (["ingest", "ftp://example.com/a.html"], 2, "http"),
        (["ingest"], 2, "required"),
        (["search", "   "], 2, "empty"),
        (["search", "tea", "--filter", "type =="], 2, "filter"),
        (["search", "tea", "-k", "0"], 2, "top_k"),
        (["search", "tea", "--as", "u:ann"], 2, "--why"),
        (["search", "tea", "-k", "many"], 2, "many"),
        (["search", "tea", "--mode", "hybird"], 2, "Did you mean hybrid"),
        (["serach", "tea"], 2, "Did you mean search"),
        (["search", "tea", "--set", "search.topk=3"], 2, "search.top_k"),
        (["search", "tea", "--set", "search.top_k=many"], 2, "search.top_k"),
        (["search", "tea", "--set", "nonsense"], 2, "KEY=VALUE"),
        (["search", "tea", "--config", "/no/such.toml"], 2, "/no/such.toml"),
        (["search", "tea", "--collection", ""], 2, "collection"),
        (["docs", "show", "absent"], 2, "absent"),
        (["docs", "delete", "absent"], 2, "absent"),
        (["models", "pull", "e5-smal-zh-en"], 2, "e5-small-zh-en"),
        (["eval", "run", "--data", "/no/such/data"], 2, "/no/such/data"),
        (["eval", "run", "--data", "{empty}", "--systems", "magic"], 2, "magic"),
        (["ui", "--host", "0.0.0.0"], 2, "127.0.0.1"),
        (
            ["ingest", "{docs}", "--set", "milvus.uri=http://127.0.0.1:9", "--set", "milvus.timeout_s=1"],
            1,
            "cannot be reached",
        ),
        (["ingest", "{docs}", "--set", "milvus.uri=./milvus.db"], 2, "milvus.uri"),
        (["ingest", "{docs}", "--chunk-size", "4096"], 2, "--chunk-size"),
        (["ingest", "{docs}", "--overlap", "60"], 2, "--overlap"),
        (["ingest", "{docs}", "--home", "/proc/nothing"], 2, "/proc/nothing"),
    ],
)
def test_bad_input_is_one_clear_sentence(
    cli: Cli, folder: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [argument.format(empty=tmp_path / "empty", docs=folder) for argument in arguments]
    home = [] if "--home" in filled else ["--home", str(cli.home)]
    settings = [] if "--set" in filled else cli.settings
    came = main([*filled, *home, *settings])
    captured = cli.capsys.readouterr()
    assert came == code, captured.err
    assert words in captured.err and "Traceback" not in captured.err and captured.out == ""
    assert captured.err.count("\n") == 1, "one sentence on one line"
    assert main([*filled, *home, *settings, "--json"]) == code
    assert json.loads(cli.capsys.readouterr().out)["error"]["message"] in captured.err


def test_a_dead_chat_endpoint_still_gives_quotations(cli: Cli, folder: Path) -> None:
    cli("ingest", str(folder))
    code, data = cli.json("ask", "How many degrees for green tea?", "--set", "llm.model=auto", "--set", "llm.base_url=http://127.0.0.1:9/v1",
                          "--set", "llm.deadline_s=3")  # fmt: skip
    assert code == 0 and "80" in data["answer"] and "E_LLM_UNREACHABLE" in " ".join(data["warnings"])


def test_doctor_names_what_is_wrong(cli: Cli) -> None:
    code, data = cli.json("doctor")
    names = {check["name"]: check for check in data["checks"]}
    assert {"python", "packages", "settings", "catalog", "milvus", "embedding", "chat"} <= names.keys()
    assert names["milvus"]["ok"] and names["embedding"]["ok"] and names["chat"]["fix"]
    code, out, err = cli("doctor", "--set", "embedding.model=no-such-model-here", "--json")
    broken = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 3 and not broken["embedding"]["ok"] and broken["embedding"]["fix"] and broken["milvus"]["ok"]


def test_settings_file_and_origin(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[search]\ntop_k = 3\n")
    _, data = cli.json("config", "show", "--config", str(file))
    assert data["search.top_k"] == {"value": 3, "origin": str(file)} and data["search.depth"]["origin"] == "default"


def test_the_installed_script_answers_quickly_and_survives_a_closed_pipe(repo: Path) -> None:
    command = f"{sys.executable} -m ui.cli --help | head -1"
    ended = subprocess.run(command, shell=True, cwd=repo, capture_output=True, text=True, env=dict(os.environ))
    assert ended.stdout.startswith("usage: ragstone") and "Traceback" not in ended.stderr


def test_eval_run_writes_a_report(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "beir"
    (data / "qrels").mkdir(parents=True)
    texts = {"d1": "Green tea at 80 degrees.", "d2": "Black tea at 95 degrees.", "d3": "祁门红茶的历史。"}
    (data / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items())
    )
    (data / "queries.jsonl").write_text(
        "\n".join(
            json.dumps({"_id": f"q{i}", "text": text}) for i, text in enumerate(["green", "black 95", "祁门红茶"])
        )
    )
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\nq1\td2\t1\nq2\td3\t1\n")
    out = tmp_path / "out"
    code, result = cli.json("eval", "run", "--data", str(data), "--systems", "bm25,dense,hybrid", "-o", str(out))
    assert (
        code == 0
        and result["systems"]["bm25"]["nDCG@10"] == 1.0
        and len(result["systems"]["bm25"]["ci"]["nDCG@10"]) == 2
    )
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!") and (out / "runs" / "bm25.trec").exists()
    code, scored = cli.json(
        "eval", "score", "--qrels", str(data / "qrels" / "test.tsv"), "--run", str(out / "runs" / "bm25.trec")
    )
    assert code == 0 and scored["metrics"]["nDCG@10"] == 1.0
    code, _ = cli.json(
        "eval", "run", "--data", str(data), "--systems", "dense", "--fail-under", "nDCG@10=1.0", "--limit", "3"
    )
    assert code in (0, 3)
    code, compared = cli.json("eval", "compare", str(out / "runs" / "bm25.trec"), str(out / "runs" / "hybrid.trec"))
    assert code == 0 and compared["comparisons"]
