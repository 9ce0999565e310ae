"""Bar 18: hostile SQL reads nothing it may not, writes nothing, opens no file and ends in time; honest queries are right."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from pathlib import Path

import pytest

from agents.tooling import ToolContext
from agents.tools.sql import sql_tool
from rag.errors import UsageError
from tests.bars.harness import says

pytestmark = pytest.mark.bar
CANARY = "CANARY-7f3a"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sql")
    with sqlite3.connect(made / "shop.db") as db:
        db.executescript(
            f"""create table teas(name text, kind text, price real, stock integer, since text);
            insert into teas values ('longjing','green',12.5,40,'2020-03-01'),('keemun','black',9.0,15,'2019-07-12'),
              ('dahongpao','oolong',30.0,3,'2021-01-05'),('sencha','green',8.0,60,'2022-11-30'),('puer','dark',15.0,null,'2018-05-20');
            create table orders(id integer primary key, tea text, grams integer);
            insert into orders(tea, grams) values ('longjing',100),('sencha',250),('longjing',50),('keemun',100);
            create table secrets(token text); insert into secrets values ('{CANARY}');
            create view cheap as select name, price from teas where price < 10;
            create view leak as select token from secrets;"""
        )
    db.close()
    (made / "prices.csv").write_text('tea,price,note\nlongjing,"1,250",fine\nkeemun,90.5,"a, b"\n', encoding="utf-8")
    (made / "outside.txt").write_text(CANARY)
    return made


def ask(tool, sql: str):  # type: ignore[no-untyped-def]
    return tool.run({"sql": sql}, ToolContext())


HOSTILE = [
    "select * from secrets", "select token from leak", "select * from main.secrets", 'select * from "secrets"', "select * from [secrets]",
    "select (select token from secrets)", "select name from teas where name in (select token from secrets)",
    "with x as (select * from secrets) select * from x", "select * from teas union all select token,1,1,1,1 from secrets",
    "select * from teas join secrets", "select exists(select 1 from secrets where token like 'C%')", "select count(*) from secrets",
    "select * from sqlite_master", "select sql from sqlite_schema", "select * from sqlite_temp_master", "select * from pragma_table_info('secrets')",
    "select * from pragma_database_list", "pragma database_list", "pragma table_info(secrets)", "pragma writable_schema = on",
    "pragma journal_mode = delete", "pragma query_only = off", "pragma user_version = 9", "insert into teas values ('x','x',1,1,'x')",
    "update teas set price = 0", "delete from teas", "drop table teas", "create table x(a)", "create temp table x as select 1",
    "create view x as select * from secrets", "create trigger t after insert on teas begin delete from teas; end",
    "alter table teas rename to x", "create index i on teas(name)", "reindex", "analyze", "vacuum", "vacuum into 'F/copy.db'",
    "attach 'F/other.db' as o", "attach ':memory:' as o", "detach main", "begin; delete from teas; commit", "begin immediate", "savepoint a",
    "select 1; drop table teas", "select 1; select token from secrets", "select 1 -- \n; drop table teas", "explain select * from secrets",
    "explain query plan select token from secrets", "select load_extension('F/x.so')", "select readfile('F/outside.txt')",
    "select writefile('F/made.txt', 'x')", "select edit('x')", "select fts3_tokenizer('simple')", "select randomblob(1000000000)",
    "select zeroblob(1000000000)", "select hex(zeroblob(900000))", "select printf('%.*c', 1000000000, 'x')", "select replace(printf('%.*c', 900000, 'x'), 'x', 'xxxxxxxxxx')",
    "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c",
    "with recursive c(x) as (select 'x' union all select x || x from c) select length(x) from c",
    "select count(*) from teas a, teas b, teas c, teas d, teas e, teas f, teas g, teas h, teas i, teas j, teas k, teas l, teas m",
    "select sum(a.price * b.price) from teas a, teas b, teas c, teas d, teas e, teas f, teas g, teas h, teas i, teas j, teas k",
    "select group_concat(a.name) from teas a, teas b, teas c, teas d, teas e, teas f, teas g, teas h, teas i, teas j",
    "select name from teas where name like '%a%a%a%a%a%a%a%a%a%a%a%a%a%a%b' or " + " or ".join(["1=0"] * 400),
    "select " + "(" * 2000 + "1" + ")" * 2000, "select '" + "x" * 5000 + "'", "select name from teas where name glob '*a*a*a*a*a*a*a*a*a*b'",
    "select\0token from secrets", "", "   ", ";", "not sql", "select", "select * from teas; ; select token from secrets",
    "/* x */ pragma table_list", "values ((select token from secrets))", "select * from json_each((select token from secrets))",
    "select sqlite_version()", "select sqlite_source_id()", "select last_insert_rowid() from secrets", "select changes()", "select * from generate_series(1, 1e12)",
]  # fmt: skip

HONEST = [
    ("select count(*) from teas", "5"), ("select name from teas where kind = 'black'", "keemun"),
    ("select max(price) from teas", "30"), ("select round(avg(price), 2) from teas", "14.9"),
    ("select kind, count(*) from teas group by kind order by 2 desc limit 1", "green | 2"),
    ("select sum(grams) from orders where tea = 'longjing'", "150"),
    ("select t.name, sum(o.grams * t.price / 100) as euro from teas t join orders o on o.tea = t.name group by 1 order by 2 desc limit 1", "sencha | 20"),
    ("select name from cheap order by price", "sencha\nkeemun"), ("select upper(name) from teas where stock is null", "PUER"),
    ("select coalesce(stock, 0) from teas where name = 'puer'", "0"), ("select strftime('%Y', since) from teas where name = 'sencha'", "2022"),
    ("with big as (select * from teas where price > 10) select count(*) from big", "3"),
    ("select name from teas where price between 9 and 13 order by name", "keemun\nlongjing"),
    ("select name, rank() over (order by price desc) from teas limit 1", "dahongpao | 1"),
    ("with recursive c(x) as (select 1 union all select x + 1 from c where x < 10) select sum(x) from c", "55"),
]  # fmt: skip


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_hostile_statements(folder: Path) -> None:
    tool = sql_tool([folder / "shop.db"], tables=["teas", "orders", "cheap"])
    before, wrong, slowest = digest(folder), [], 0.0
    for sql in HOSTILE:
        started = time.monotonic()
        result = ask(tool, sql.replace("F/", f"{folder}/"))
        took = time.monotonic() - started
        slowest = max(slowest, took)
        if CANARY in result.text or took > 1.5 or len(result.text) > 20_000:
            wrong.append((sql[:80], result.text[:200], round(took, 2)))
    says("18", hostile=len(HOSTILE), wrong=len(wrong), slowest_s=round(slowest, 2))
    assert wrong == [] and digest(folder) == before


def test_nearly_all_of_them_are_refused(folder: Path) -> None:
    """What is answered tells nothing: constants, counts of allowed tables, and the like."""
    tool = sql_tool([folder / "shop.db"], tables=["teas", "orders", "cheap"])
    answered = [sql for sql in HOSTILE if ask(tool, sql.replace("F/", f"{folder}/")).ok]
    assert len(answered) <= 6, answered


def test_honest_queries(folder: Path) -> None:
    tool = sql_tool([folder / "shop.db"], tables=["teas", "orders", "cheap"])
    said = [ask(tool, sql).text.partition("\n")[2] for sql, _ in HONEST]
    says("18", honest=f"{sum(a == b for a, (_, b) in zip(said, HONEST, strict=True))} of {len(HONEST)}")
    assert said == [wanted for _, wanted in HONEST]


def test_a_view_cannot_lend_what_it_reads(folder: Path) -> None:
    """A view over a hidden table is refused even where the view itself is named."""
    tool = sql_tool([folder / "shop.db"], tables=["teas", "leak"])
    assert CANARY not in ask(tool, "select * from leak").text


def test_csv_files(folder: Path) -> None:
    tool = sql_tool([folder / "prices.csv"])
    assert "prices(tea text, price numeric, note text)" in tool.description
    assert ask(tool, "select sum(price) from prices").text.endswith("\n1340.5")
    assert ask(tool, "select note from prices where tea = 'keemun'").text.endswith("\na, b")
    refused = ask(tool, "delete from prices")
    assert not refused.ok and ask(tool, "select count(*) from prices").text.endswith("\n2")


def test_messages_help(folder: Path) -> None:
    tool = sql_tool([folder / "shop.db"], tables=["teas"])
    assert "no such column: prize" in ask(tool, "select prize from teas").text
    assert "teas(name text" in ask(tool, "select prize from teas").text
    assert "secrets" not in tool.description
    with pytest.raises(UsageError, match="no file"):
        sql_tool([folder / "nothing.db"])
    with pytest.raises(UsageError, match="no SQLite"):
        sql_tool([folder / "outside.txt"])


DUCK_HOSTILE = [
    "select * from secrets", "select * from main.secrets", "select * from read_text('F/outside.txt')", "select * from 'F/prices.csv'",
    "select * from read_csv('F/prices.csv')", "select * from glob('F/*')", "copy teas to 'F/made.csv'", "attach 'F/shop.db' as s",
    "install httpfs", "load httpfs", "set enable_external_access = true", "pragma database_list", "select * from duckdb_settings()",
    "select * from duckdb_tables()", "select * from information_schema.tables", "select * from duckdb_secrets()", "select getenv('HOME')",
    "insert into teas values ('x', 1)", "create table x(a int)", "drop table teas", "select 1; drop table teas", "call pragma_version()",
    "export database 'F/dump'", "select count(*) from range(100000000000)", "select current_setting('access_mode')",
    "select * from query('select * from secrets')", "select * from query_table('secrets')", "select repeat('x', 2000000000)",
    "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c", "summarize secrets", "describe secrets",
    "from secrets", "show tables", "explain analyze select * from secrets", "select (select token from secrets)",
]  # fmt: skip


def test_duckdb(folder: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("create table teas(name text, price double)")
        db.execute("insert into teas values ('longjing', 12.5), ('keemun', 9)")
        db.execute("create table secrets(token text)")
        db.execute(f"insert into secrets values ('{CANARY}')")
    before = digest(tmp_path)
    tool = sql_tool([path], tables=["teas"])
    wrong, slowest = [], 0.0
    for sql in DUCK_HOSTILE:
        started = time.monotonic()
        result = ask(tool, sql.replace("F/", f"{folder}/"))
        slowest = max(slowest, time.monotonic() - started)
        if CANARY in result.text or time.monotonic() - started > 2.5 or (result.ok and "secrets" in sql):
            wrong.append((sql, result.text[:200]))
    says("18", duckdb_hostile=len(DUCK_HOSTILE), wrong=len(wrong), slowest_s=round(slowest, 2))
    assert wrong == [] and digest(tmp_path) == before
    assert ask(tool, "select sum(price) from teas").text.endswith("\n21.5")
