"""The command line: reads arguments, calls a command, prints its result, and turns errors into exit codes.

Exit codes: 0 done · 1 runtime error · 2 usage or settings · 3 finished, but something failed or a gate was missed.
With --json one JSON document goes to stdout and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rag.errors import RagstoneError, UsageError, disk_error

STATES = ("waiting", "importing", "live", "disabled", "duplicate", "failed")
AGENT_KINDS = ("react", "plan", "team", "research", "corrective", "toolsearch")
GRAPH_METHODS = ("auto", "rules", "names", "chat", "triples")
GRAPH_SEARCHES = ("walk", "local", "paths", "keywords", "global", "drift")
GRAPH_FORMATS = ("graphml", "json", "cypher", "html")


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in our words: one sentence, the nearest valid choice, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(_with_hint(message) + f" See `{self.prog} --help`.")


class _Version(argparse.Action):
    """Looks the version up when it is asked for, which takes longer than reading all arguments."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"ragstone {_version()}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; never raises."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in arguments
    try:
        options = _parse(arguments)
        _quiet_libraries()
        outcome = options.run(options)
        if as_json:
            sys.stdout.write(json.dumps(outcome.data, ensure_ascii=False, indent=2, default=str) + "\n")
        else:
            outcome.show(outcome.data)
        sys.stdout.flush()
        return int(outcome.code)
    except RagstoneError as error:
        return _fail(error.code, str(error), error.exit_code, as_json)
    except KeyboardInterrupt:
        return _fail("E_STOPPED", "Stopped. Nothing is lost; run the same command to go on.", 1, as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except Exception as error:  # the edge: a person gets a sentence, the traceback only on request
        if os.environ.get("RAGSTONE_DEBUG"):
            raise
        if (explained := disk_error(error, "the working folder")) is not None:
            return _fail(explained.code, str(explained), explained.exit_code, as_json)
        return _fail(
            "E_BUG", f"{type(error).__name__}: {error}. This is a bug; RAGSTONE_DEBUG=1 shows where.", 1, as_json
        )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the global options first, wherever they stand: argparse would let those of a subcommand erase earlier ones."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    known, rest = _global_options().parse_known_args(arguments[:end])
    return build_parser().parse_args([*rest, *arguments[end:]], namespace=known)


def build_parser() -> argparse.ArgumentParser:
    """All commands. Global options are taken before or after the command."""
    shared = _global_options()
    parser = _Parser(prog="ragstone", parents=[shared], description="Ask your own documents, and get cited answers.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, help_text: str, run: str, into: Any = commands) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = into.add_parser(name, help=help_text, description=help_text, parents=[shared])
        made.set_defaults(run=_lazy(run))
        return made

    def group(name: str, help_text: str) -> Any:
        made = commands.add_parser(name, help=help_text, description=help_text, parents=[shared])
        return made.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    ingest = command("ingest", "import or update documents; unchanged ones cost nothing", "ingest")
    ingest.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, URLs, sitemaps")
    ingest.add_argument("--watch", action="store_true", help="go on: import again what changes, until stopped")
    ingest.add_argument("--prune", action="store_true", help="delete documents that lay under PATH and are gone")
    ingest.add_argument("--dry-run", action="store_true", help="read and count, estimate time and cost, write nothing")
    ingest.add_argument(
        "--chunk-size",
        type=int,
        metavar="N",
        help="tokens per chunk (default: what the embedding model reads, at most 512)",
    )
    ingest.add_argument("--yes", action="store_true", help="do not ask before the chat model enriches chunks")
    ingest.add_argument("--overlap", type=int, metavar="N", help="tokens that neighbouring chunks share")
    ingest.add_argument("--workers", type=int, metavar="N", help="processes that read files")
    ingest.add_argument("--engine", choices=("local", "ray"), help="where to read and embed (default: local)")

    search = command("search", "find the best passages", "search")
    search.add_argument("query", metavar="QUERY")
    _search_options(search)
    search.add_argument("--highlight", action="store_true", help="mark the sentences that speak to the query")
    search.add_argument(
        "--why", metavar="CHUNK_ID", help="say why this passage is found, or where it is lost and what helps"
    )
    search.add_argument(
        "--as",
        dest="as_name",
        action="append",
        metavar="NAME",
        help="with --why: for somebody of that name, such as u:ann",
    )
    ask = command("ask", "answer a question with citations", "ask")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--schema", metavar="FILE", help="a JSON schema: the answer is a value that is valid for it")
    _search_options(ask)
    chat = command("chat", "ask questions one after the other in the terminal", "chat")
    _search_options(chat)

    docs = group("docs", "list, show and delete documents")
    listed = command("list", "what is in the collection", "docs_list", docs)
    listed.add_argument("--state", choices=STATES, help="failed: what the last import could not read")
    listed.add_argument("--type", metavar="TYPE", help="such as pdf or markdown")
    show = command("show", "one document: what it holds, and its text", "docs_show", docs)
    show.add_argument("doc_id", metavar="DOC", help="document id or source")
    show.add_argument("--report", action="store_true", help="headings, tables and notes instead of the text")
    show.add_argument("--chunks", action="store_true", help="chunks instead of the text")
    alike = command("duplicates", "documents that say almost the same", "docs_duplicates", docs)
    alike.add_argument("--threshold", type=float, default=0.9, metavar="X", help="0.3 to 1 (default 0.9)")
    delete = command("delete", "remove documents", "docs_delete", docs)
    delete.add_argument("doc_ids", nargs="+", metavar="DOC", help="document ids or sources")

    verify = command("verify", "compare the catalog with the index", "verify")
    verify.add_argument("--repair", action="store_true", help="make the index agree with the catalog")
    command("reindex", "build the collection again for the embedding model in the settings", "reindex")
    snapshot = group("snapshot", "move a collection with its vectors: to a file and from one")
    export = command("export", "write the collection into a file", "snapshot_export", snapshot)
    export.add_argument("file", metavar="FILE")
    import_ = command("import", "read a collection from a file; nothing is embedded", "snapshot_import", snapshot)
    import_.add_argument("file", metavar="FILE")
    import_.add_argument("--replace", action="store_true", help="in place of what the collection holds")
    backup = command("backup", "write the whole home into a file; it may be used meanwhile", "backup")
    backup.add_argument("file", metavar="FILE")
    restore = command("restore", "put a backup into a new --home, and write its index; nothing is embedded", "restore")
    restore.add_argument("file", metavar="FILE")
    _graph_commands(group("graph", "the knowledge graph: build it, search it, look at it"), command)
    _eval_commands(group("eval", "measure retrieval"), command)

    _agent_commands(group("agent", "agents over the collection"), command)

    models = group("models", "local models")
    command("list", "which models are installed, and which could be", "models_list", models)
    pull = command("pull", "install a model by its alias", "models_pull", models)
    pull.add_argument("alias", metavar="ALIAS")
    pull.add_argument("--accept-terms", action="store_true", help="accept the model's own terms of use")

    _model_commands(models, command)

    ui = command("ui", "serve the chat page", "page_commands:ui")
    ui.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    ui.add_argument("--port", type=int, help="port (default 8501)")
    serve = command("serve", "serve the HTTP API, which OpenAI clients can chat through", "serve_commands:serve")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port (default 8300)")
    command("worker", "work on imports that the API accepted, in a process of its own", "serve_commands:worker")
    _keys_commands(group("keys", "keys of the HTTP API"), command)
    _users_commands(group("users", "who may sign in to the page"), command)
    command("doctor", "what works here, and what to do about the rest", "doctor")
    config = group("config", "settings")
    command("show", "every setting with its value and origin", "config_show", config)
    return parser


def _eval_commands(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    run = command("run", "systems × questions: runs, metrics, report", "eval_run", group)
    _data_options(run)
    run.add_argument("--systems", default="bm25,dense,hybrid", metavar="A,B,…", help="default: bm25,dense,hybrid")
    run.add_argument(
        "--triples", metavar="FILE", help="triples for the systems with a graph (default: found without a model)"
    )
    _answer_command(group, command)
    _generate_command(group, command)
    _review_command(group, command)
    _tune_command(group, command)
    _behaviour_command(group, command)
    _agents_command(group, command)
    history = command("history", "earlier runs in a folder of results, and what changed", "eval_history", group)
    history.add_argument("folder", metavar="DIR")
    history.add_argument("--metric", default="nDCG@10", help="default: nDCG@10")
    history.add_argument(
        "--fail-drop", type=float, metavar="X", help="exit code 3 when the last run fell by more than X"
    )
    score = command("score", "a TREC run from any system → metrics", "eval_score", group)
    score.add_argument("--qrels", required=True, metavar="FILE")
    score.add_argument("--run", required=True, metavar="FILE", dest="run_file")
    compare = command("compare", "two TREC runs, question by question", "eval_compare", group)
    compare.add_argument("run_a", metavar="RUN")
    compare.add_argument("run_b", metavar="RUN")
    compare.add_argument("--qrels", metavar="FILE", help="default: the qrels.trec beside the runs")
    for parser in (run, score, compare):
        parser.add_argument("--metrics", metavar="A,B,…", help="such as nDCG@10,recall@50,MAP (default: twenty)")
    run.add_argument("--depth", type=int, default=100, metavar="N", help="documents asked for (default 100)")
    for parser in (score, compare):
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="of intervals and tests (default 0)")


def _model_commands(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    serve = command(
        "serve", "serve models to OpenAI clients: chat, embeddings, reranking", "model_commands:serve", group
    )
    serve.add_argument(
        "model", nargs="?", metavar="MODEL", help="chat model: an alias, a .gguf file, a model folder, or a hub name"
    )
    serve.add_argument("--embedding", metavar="MODEL", help="serve an embedding model, too")
    serve.add_argument("--reranker", metavar="MODEL", help="serve a cross-encoder, too")
    serve.add_argument(
        "--host", default="127.0.0.1", help="default 127.0.0.1; elsewhere RAGSTONE_MODEL_KEY must be set"
    )
    serve.add_argument("--port", type=int, default=8310, help="default 8310")
    plan = command("plan", "what a model would take of memory, and how it would be run", "model_commands:plan", group)
    plan.add_argument("model", metavar="MODEL")
    for one in (serve, plan):
        one.add_argument(
            "--context", type=int, default=0, metavar="N", help="tokens of a conversation (default: what fits)"
        )
        one.add_argument("--parallel", type=int, default=1, metavar="N", help="conversations at once (default 1)")
    train = command(
        "train-reranker",
        "train a reranker on the collection's documents; kept when it ranks better",
        "model_commands:train_reranker",
        group,
    )
    train.add_argument("--minutes", type=float, default=30, metavar="N", help="of training alone (default 30)")
    train.add_argument("--questions", type=int, default=4000, metavar="N", help="made of the documents (default 4000)")
    train.add_argument("--base", metavar="MODEL", help="encoder to start from (default: the embedding model)")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="which questions are made (default 0)")
    train.add_argument("-o", "--out", metavar="DIR", help="where it is kept (default: among the models)")
    bench = command(
        "bench",
        "measure a model: first token, tokens a second, and the machine's limits",
        "model_commands:bench",
        group,
    )
    bench.add_argument("model", nargs="?", metavar="MODEL", help="left out: the endpoint of llm.base_url")
    bench.add_argument("--concurrency", default="1,2,4", metavar="A,B", help="how many ask at once (default 1,2,4)")
    bench.add_argument("--tokens", type=int, default=48, metavar="N", help="of each answer (default 48)")
    bench.add_argument("--prompt", type=int, default=256, metavar="N", help="words of each prompt (default 256)")


def _keys_commands(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    create = command("create", "make a key, which is shown once; from the first one on every request needs one",
                     "serve_commands:keys_create", group)  # fmt: skip
    create.add_argument("name", metavar="NAME", help="whose it is, or what for")
    create.add_argument(
        "--scope",
        action="append",
        choices=("read", "ingest", "admin"),
        help="may be given several times (default: read)",
    )
    create.add_argument(
        "--tenant", default="", metavar="T", help="whose collections it sees (default: those of no tenant)"
    )
    create.add_argument(
        "--as", dest="as_name", action="append", metavar="NAME", help="a name on access lists, such as u:ann or g:staff"
    )
    create.add_argument(
        "--owner", action="store_true", help="sees every document of the home that belongs to no tenant"
    )
    create.add_argument("--per-minute", type=int, default=0, metavar="N", help="requests a minute (default: no limit)")
    create.add_argument(
        "--tokens-per-day", type=int, default=0, metavar="N", help="of the chat model (default: no limit)"
    )
    create.add_argument("--days", type=float, metavar="N", help="until it expires (default: never)")
    command("list", "all keys, and what they used today", "serve_commands:keys_list", group)
    revoke = command("revoke", "end a key, or all keys of a name", "serve_commands:keys_revoke", group)
    revoke.add_argument("key", metavar="KEY", help="its id or name")


def _users_commands(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    add = command("add", "make an account; asks for the password, or reads it from a pipe", "user_commands:add", group)
    command("list", "all accounts and their rights", "user_commands:list_", group)
    change = command("set", "change an account; sessions end when its password changes", "user_commands:set_", group)
    remove = command("remove", "end an account and its sessions", "user_commands:remove", group)
    for one in (add, change, remove):
        one.add_argument("name", metavar="NAME")
    change.add_argument("--password", action="store_true", help="ask for a new password, or read it from a pipe")
    for one, kept in ((add, False), (change, True)):
        one.add_argument(
            "--role",
            choices=("viewer", "editor", "admin"),
            default=None if kept else "viewer",
            help="viewer reads, editor changes documents, admin does everything"
            + ("" if kept else " (default: viewer)"),
        )
        one.add_argument(
            "--tenant",
            default=None if kept else "",
            metavar="T",
            help="whose collections (default: those of no tenant)",
        )
        one.add_argument(
            "--as", dest="as_name", action="append", metavar="NAME", help="a name on access lists, such as g:staff"
        )
        one.add_argument(
            "--only",
            dest="rights",
            action="append",
            metavar="C",
            help='a collection that may be seen (default: all; "" with set)',
        )


def _graph_commands(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    build = command("build", "build the graph, or bring it up to date", "graph_commands:build", group)
    build.add_argument("--method", choices=GRAPH_METHODS, default="auto", help="default: as it was built, else rules")
    build.add_argument("--triples", metavar="FILE", help="take what this file says in place of extracting")
    build.add_argument(
        "--ontology", metavar="FILE", help="JSON with the types and relations that the chat model may use"
    )
    build.add_argument("--max-calls", type=int, metavar="N", help="most calls of the chat model")
    build.add_argument("--fresh", action="store_true", help="read every document anew")
    build.add_argument("--dry-run", action="store_true", help="count and price what the chat model would be asked")
    build.add_argument("--yes", action="store_true", help="do not ask before the chat model is asked")
    search = command("search", "find passages by the graph", "graph_commands:search", group)
    search.add_argument("query", metavar="QUERY")
    search.add_argument("--method", choices=GRAPH_SEARCHES, default="walk", help="default: walk")
    search.add_argument("-k", "--top-k", type=int, metavar="N", help="how many passages")
    search.add_argument("--filter", metavar="EXPR", help="such as: type == 'pdf' and year >= 2024")
    ask = command("ask", "a question about the whole collection", "graph_commands:ask", group)
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--filter", metavar="EXPR", help="only documents that match are read")
    ask.add_argument("--chat", action=argparse.BooleanOptionalAction, default=True, help="let the chat model answer")
    show = command("show", "an entity, what is said of it and where; without one, what the graph holds", "graph_commands:show", group)  # fmt: skip
    show.add_argument("entity", metavar="ENTITY", nargs="?")
    merges = command("merges", "which names count as one; undo a merge, or make one", "graph_commands:merges", group)
    merges.add_argument("--apart", nargs=2, metavar="NAME", help="undo or forbid the merge of two names")
    merges.add_argument("--together", nargs=2, metavar="NAME", help="make two names one entity")
    communities = command("communities", "what the collection is about", "graph_commands:communities", group)
    communities.add_argument("--level", type=int, metavar="N", help="0: the widest")
    communities.add_argument("--chat", action="store_true", help="summaries by the chat model (one call each)")
    communities.add_argument("-n", type=int, default=20, metavar="N", help="how many (default 20)")
    communities.add_argument("--filter", metavar="EXPR", help="only documents that match are read")
    export = command("export", "write the graph: .graphml, .json, .cypher, or .html to look at", "graph_commands:export", group)  # fmt: skip
    export.add_argument("file", metavar="FILE")
    export.add_argument("--format", choices=GRAPH_FORMATS, help="default: by the file's name")


def _answer_command(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    answers = command("answers", "answers: nearness to a reference, evidence, abstention", "eval_answers", group)
    _data_options(answers)
    answers.add_argument("--systems", default="hybrid", metavar="A,B,…", help="default: hybrid")
    answers.add_argument(
        "--answers",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="rate recorded answers (JSON lines) instead",
    )
    answers.add_argument("--judge", action="store_true", help="let a chat model grade the answers, too")
    answers.add_argument("--judge-model", metavar="NAME", help="default: the chat model of the settings")
    answers.add_argument("--judge-url", metavar="URL", help="OpenAI-compatible endpoint of the judge")
    answers.add_argument(
        "--perplexity", metavar="MODEL", help="causal model (folder or hub name): how likely it finds the references"
    )
    answers.add_argument("--human", metavar="FILE", help="CSV of id and grade: how far the judge agrees with people")


def _generate_command(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("generate", "test questions from the collection's documents, for review", "eval_generate", group)
    made.add_argument("-n", type=int, default=20, metavar="N", help="how many questions (default 20)")
    made.add_argument(
        "--kinds",
        default="single-hop,multi-hop,unanswerable",
        metavar="A,B",
        help="default: single-hop,multi-hop,unanswerable",
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="which passages are asked about (default 0)")
    made.add_argument("-o", "--out", required=True, metavar="FILE", help="the table to write, such as questions.csv")


def _review_command(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("review", "look through generated questions on a page", "page_commands:review", group)
    made.add_argument("file", metavar="FILE", help="the table that `eval generate` wrote")
    made.add_argument("--port", type=int, help="port (default 8501)")


def _tune_command(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    tune = command("tune", "search for better settings; questions kept apart decide", "eval_tune", group)
    _data_options(tune, gates=False)
    tune.add_argument(
        "--try",
        action="append",
        default=[],
        dest="space",
        metavar="KEY=A|B",
        help="values of a setting, such as chunk.size=128|256",
    )
    tune.add_argument("--budget", type=int, default=24, metavar="N", help="most candidates (default 24)")
    tune.add_argument("--metric", default="nDCG@10", help="what is to become better (default nDCG@10)")
    tune.add_argument(
        "--holdout", type=float, default=0.4, metavar="X", help="share of questions kept apart (default 0.4)"
    )


def _behaviour_command(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command(
        "behaviour",
        "RGB and DomainRAG: noise, rejection, integration, wrong facts, conversation",
        "eval_behaviour",
        group,
    )
    made.add_argument("--data", required=True, metavar="DIR", help="folder with rgb-*.jsonl and domainrag-*.jsonl")
    made.add_argument("--tests", metavar="A,B", help="default: all whose files are there")
    made.add_argument("--limit", type=int, metavar="N", help="the first N cases of each file")
    made.add_argument(
        "--noise", type=float, default=0.4, metavar="X", help="share of passages beside the point (default 0.4)"
    )
    made.add_argument("--passages", type=int, default=5, metavar="N", help="passages shown (default 5)")
    _record_options(made)


def _agents_command(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    made = command("agents", "tool calls: BFCL in one and several turns, API-Bank, tau2", "eval_agents", group)
    made.add_argument("--data", required=True, metavar="DIR", help="folder with the benchmarks")
    made.add_argument(
        "--bench", required=True, choices=("bfcl", "bfcl-multi-turn", "api-bank", "tau2-banking", "tau2-retail")
    )
    made.add_argument("--calls", metavar="FILE", help="rate what an agent did (JSON lines) instead of asking the model")
    made.add_argument("--limit", type=int, metavar="N", help="the first N tasks")
    made.add_argument(
        "--customer", choices=("script", "model"), default="script", help="who plays the customers of tau2"
    )
    _record_options(made)


def _record_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", metavar="FILE", help="keep what the model says; asked before, it is not asked again"
    )
    parser.add_argument("--replay", metavar="FILE", help="answer from a recording, without a model")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("-o", "--out", metavar="DIR", help="folder for what is written")
    parser.add_argument("--fail-under", action="append", default=[], metavar="TEST=X", help="exit code 3 when below")


def _data_options(parser: argparse.ArgumentParser, *, gates: bool = True) -> None:
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="folder in BEIR layout, SQuAD-style JSON, or CSV of questions"
    )
    parser.add_argument("--queries", metavar="FILE")
    parser.add_argument("--qrels", metavar="FILE")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N questions")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of intervals and tests (default 0)")
    parser.add_argument("-o", "--out", metavar="DIR", help="folder for what is written")
    if gates:
        parser.add_argument(
            "--fail-under", action="append", default=[], metavar="METRIC=X", help="exit code 3 when a system is below"
        )


def _agent_commands(group: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    run = command("run", "give an agent a task", "agent_commands:run", group)
    run.add_argument("task", metavar="TASK")
    run.add_argument("--kind", choices=AGENT_KINDS, help="how it works (default: react)")
    run.add_argument("--max-steps", type=int, metavar="N", help="model replies, the answer included (default 12)")
    run.add_argument("--tools", metavar="A,B,…", help="beside search and calculator: graph, web, files, python, sql")
    run.add_argument("--thread", default="", metavar="NAME", help="a conversation to go on with")
    _approve_option(run)
    resume = command("resume", "go on with a run that waits or was killed", "agent_commands:resume", group)
    resume.add_argument("run_id", metavar="RUN", help="run id, as `agent list` shows it")
    resume.add_argument("--tools", metavar="A,B,…", help="as for `agent run`")
    answer = resume.add_mutually_exclusive_group()
    answer.add_argument("--yes", dest="answer", action="store_true", default=None, help="make the call that waits")
    answer.add_argument("--no", dest="answer", action="store_false", default=None, help="do not make it")
    _approve_option(resume)
    listed = command("list", "the latest runs", "agent_commands:list_runs", group)
    listed.add_argument("-n", "--limit", type=int, default=20, metavar="N", help="how many (default 20)")
    for name, text in (("show", "a run's steps, without a model"), ("test", "write a test that repeats a run's calls")):
        one = command(name, text, f"agent_commands:{name}", group)
        one.add_argument("run_id", metavar="RUN", help="run id, or its beginning")
    one.add_argument("-o", "--out", metavar="FILE", help="default: test_agent_RUN.py")
    export = command("export", "a run as OpenTelemetry spans", "agent_commands:export", group)
    export.add_argument("run_id", metavar="RUN", help="run id, or its beginning")
    export.add_argument("-o", "--out", metavar="FILE", help="write OTLP's JSON there; default: stdout")
    export.add_argument("--send", metavar="URL", help="send it to a collector, such as http://127.0.0.1:4318")
    export.add_argument(
        "--content", action="store_true", help="with prompts, arguments and results, which are left out otherwise"
    )
    sandbox = command("sandbox", "run the programs of other machines' agents (needs RAGSTONE_SANDBOX_KEY)", "serve_commands:sandbox", group)  # fmt: skip
    sandbox.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    sandbox.add_argument("--port", type=int, default=8320, help="default 8320")
    command("mcp", "serve this collection to other programs' agents (MCP over stdin and stdout)", "agent_commands:mcp", group)  # fmt: skip


def _approve_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--approve", choices=("ask", "never", "all"), help="calls with an effect after text from outside (default: ask)"
    )


def _global_options() -> _Parser:
    shared = _Parser(prog="ragstone", add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    options = shared.add_argument_group("global options")
    options.add_argument(
        "--home", metavar="DIR", help="where everything is kept (default $RAGSTONE_HOME, else ./.ragstone)"
    )
    options.add_argument("--config", metavar="FILE", help="settings file (default ./ragstone.toml)")
    options.add_argument("--collection", metavar="NAME", help="default: default")
    options.add_argument("--set", metavar="KEY=VALUE", action="append", help="one setting, such as search.top_k=5")
    options.add_argument("--json", action="store_true", help="one JSON document on stdout, nothing else")
    return shared


def _search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", "--top-k", type=int, metavar="N", help="how many passages")
    parser.add_argument(
        "--mode",
        metavar="MODE",
        help="hybrid (the default), dense, bm25, auto, graph, fields, keywords, hierarchical, tree, list; several joined by +",
    )
    parser.add_argument(
        "--mmr", type=float, metavar="LAMBDA", help="diversify: 1 is relevance alone, 0 diversity alone"
    )
    parser.add_argument(
        "--summaries",
        choices=("all", "none", "only"),
        help="chunks that are summaries: beside the others, none, or only they",
    )
    parser.add_argument("--filter", metavar="EXPR", help="such as: type == 'pdf' and year >= 2024")
    parser.add_argument(
        "--expand",
        choices=("implied", "none", "parent", "neighbours", "window", "auto"),
        help="show more than the chunks found",
    )
    parser.add_argument("--explain", action="store_true", help="show what every step did")
    model = parser.add_argument_group("with the chat model's help (each costs one call)")
    switch = argparse.BooleanOptionalAction
    model.add_argument("--rewrite", action=switch, default=None, help="reword the question as a search query")
    model.add_argument("--multi-query", type=int, metavar="N", help="N reworded queries beside the question")
    model.add_argument(
        "--hyde", nargs="?", type=_imagined, const=1, metavar="N", help="search with N imagined answers, too"
    )
    model.add_argument("--decompose", action=switch, default=None, help="search for sub-questions, too")
    model.add_argument("--step-back", action=switch, default=None, help="search for the more general question, too")
    model.add_argument("--translate", action=switch, default=None, help="search in the other language, too")
    model.add_argument(
        "--auto-filter", action=switch, default=None, help="read conditions on documents from the question"
    )
    parser.add_argument("--rerank", action=switch, default=None, help="let rerank.model read the best candidates")


def _imagined(text: str) -> int:
    """The number of --hyde, which may be left out: then the next word is taken for it."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is no number. Put the question before --hyde, or write --hyde=1"
        )
    return int(text)


def _lazy(name: str) -> Callable[[argparse.Namespace], Any]:
    """The command of that name in ui/commands.py, or "module:name", imported when it runs: --help must not wait."""
    module, _, function = name.rpartition(":")

    def run(options: argparse.Namespace) -> Any:
        return getattr(importlib.import_module(f"ui.{module or 'commands'}"), function)(options)

    return run


def _with_hint(message: str) -> str:
    """argparse's message with the nearest valid choice added."""
    sentence = message[:1].upper() + message[1:]
    if "invalid choice: " in message:
        given, _, rest = message.partition("invalid choice: ")[2].partition(" (choose from ")
        known = [name.strip().strip("'") for name in rest.rstrip(")").split(",")]
        near = difflib.get_close_matches(given.strip("'"), known, n=1)
        return sentence + (f". Did you mean {near[0]}?" if near else ".")
    return sentence + "."


def _fail(code: str, message: str, exit_code: int, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False) + "\n")
    sys.stderr.write(f"ragstone: {message}\n")
    return exit_code


def _quiet_libraries() -> None:
    """Nothing but our own words on the terminal, and nothing sent anywhere."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    os.environ.setdefault("LANGCHAIN_TRACING_V2", "false")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ragstone")
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
