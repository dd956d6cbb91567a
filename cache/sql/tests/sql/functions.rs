//! Table functions against what plain SQL says, whatever the store and the number of partitions.

use std::path::Path;
use std::sync::Arc;

use retort_cache::TeacherCache;
use retort_schemas::features;
use retort_sql::{Format, Options, QueryEncoder, open_with, run_blocking};
use serde_json::{Value, json};

use crate::fixture::{add_searched, add_worded, ask, ask_in_any_partitions, dataset_of, refusal};

/// Floats that look random, with some rows equal to others of other shards, so that there are ties to break.
fn vector(what: &str, shard: u8, row: usize) -> Vec<f32> {
    let seed = what.len() as u64 * 1009 + u64::from(shard % 5) * 31 + row as u64;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let random = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..21).map(random).collect()
}

/// Where one of floats and one of codes are enough.
const CODED: [&str; 2] = ["f16", "cos:0.99"];
const STORES: [&str; 4] = ["f32", "f16", "bf16", "cos:0.99"];

/// Eight shards, of which the last two are of a split `val`, seen by the teacher `t`.
fn searched(store: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    add_searched(&dataset_of(folder.path(), 6, 2), "t", store.parse().unwrap(), 21, &vector);
    folder
}

/// The columns that the scans of a query give.
fn scanned(folder: &Path, sql: &str) -> Vec<String> {
    let plan = ask(folder, &format!("EXPLAIN {sql}"))[1]["plan"].as_str().unwrap().to_owned();
    let scans = plan.lines().filter(|line| line.contains("ShardScan: "));
    let columns = scans.filter_map(|line| line.split_once("columns=[")?.1.strip_suffix(']'));
    columns.flat_map(|columns| columns.split(", ").map(str::to_owned)).collect()
}

#[test]
fn nearest_is_what_ordering_by_cosine_gives() {
    for store in STORES {
        let folder = searched(store);
        let id = format!("010402{:0>26}", "ff");
        for (filter, condition) in
            [("", "true"), (", 'row <> 1 AND embedding[1] > -0.5'", "row <> 1 AND embedding[1] > -0.5")]
        {
            let plain = format!(
                "SELECT split, shard, row, image_id AS id, cosine_similarity(embedding, (SELECT embedding FROM t.images \
                 WHERE image_id = '{id}')) AS score FROM t.images WHERE {condition} ORDER BY score DESC, shard, row LIMIT 7"
            );
            let found =
                ask_in_any_partitions(folder.path(), &format!("SELECT * FROM nearest('t.images', '{id}', 7{filter})"));
            assert_eq!(found.as_array().unwrap().len(), 7);
            assert_eq!(found, ask(folder.path(), &plain), "{store} {condition}");
        }
    }
}

/// A column of vectors that is wanted itself is made, and functions take what was made; else they take what is stored.
#[test]
fn functions_give_the_same_of_stored_vectors_and_of_floats() {
    let literal = format!("{:?}", vector("images", 3, 1));
    let zeros = format!("{:?}", [0.0; 21]);
    for store in STORES {
        let folder = searched(store);
        for (call, shown) in [
            ("norm(embedding)".to_owned(), "norm(embedding)"),
            (format!("dot(embedding, {literal})"), "dot(embedding, ...)"),
            (format!("l2_distance({literal}, embedding)"), "l2_distance(embedding, ...)"),
            (format!("cosine_similarity(embedding, {literal})"), "cosine_similarity(embedding, ...)"),
            // Null of every row.
            (format!("cosine_similarity(embedding, {zeros})"), "cosine_similarity(embedding, ...)"),
        ] {
            let columns = |more: &str| {
                format!(
                    "SELECT shard, row, 1 + {call} AS value{more} FROM t.images WHERE {call} IS NULL OR {call} > -0.3 ORDER BY shard, row"
                )
            };
            let sql = columns("");
            let plan = ask(folder.path(), &format!("EXPLAIN {sql}")).to_string();
            assert!(plan.contains(&format!("columns=[shard, row, {shown}]")), "{plan}");
            let of_stored = ask_in_any_partitions(folder.path(), &sql);
            let plan = ask(folder.path(), &format!("EXPLAIN {}", columns(", embedding"))).to_string();
            assert!(plan.contains("columns=[embedding, shard, row]"), "{plan}");
            let of_floats = ask(folder.path(), &columns(", embedding"));
            let of_floats = of_floats.as_array().unwrap().iter().map(|row| {
                let mut row = row.as_object().unwrap().clone();
                row.remove("embedding");
                Value::Object(row)
            });
            assert!(of_stored.as_array().unwrap().len() > 3, "{store}, {call}");
            assert_eq!(of_stored, of_floats.collect::<Value>(), "{store}, {call}");
        }
        // Two columns of a table, one of them twice.
        let sql = format!(
            "SELECT max(norm(isolated)) AS a, max(dot(isolated, {literal})) AS b, max(norm(prompt)) AS c FROM t.words"
        );
        let plan = ask(folder.path(), &format!("EXPLAIN {sql}")).to_string();
        assert!(plan.contains("columns=[norm(isolated), dot(isolated, ...), norm(prompt)]"), "{plan}");
        let plain = sql.replace("FROM t.words", "FROM (SELECT * FROM t.words ORDER BY isolated[1], prompt[1])");
        assert_eq!(ask_in_any_partitions(folder.path(), &sql), ask(folder.path(), &plain), "{store}");
    }
}

#[test]
fn nearest_join_is_what_a_window_over_all_pairs_gives() {
    for store in CODED {
        let folder = searched(store);
        let other = "(a.shard, a.row) <> (b.shard, b.row)";
        // So many hits are wanted of a row at last that each shard is a block of its own.
        for (mine, others, itself, wanted, rows, blocks) in [
            ("images", "texts", "true", 3, 24 * 3, 1),
            ("images", "images", other, 3, 24 * 3, 1),
            ("images", "images", other, 1 << 20, 24 * 23, 8),
        ] {
            let id = |table: &str| if table == "images" { "image_id" } else { "text_id" };
            let plain = format!(
                "SELECT split, shard, row, id, other_split, other_shard, other_row, other_id, score FROM (SELECT a.split, \
                 a.shard, a.row, a.{} AS id, b.split AS other_split, b.shard AS other_shard, b.row AS other_row, b.{} AS \
                 other_id, cosine_similarity(a.embedding, b.embedding) AS score, row_number() OVER (PARTITION BY a.shard, \
                 a.row ORDER BY cosine_similarity(a.embedding, b.embedding) DESC, b.shard, b.row) AS rank \
                 FROM t.{mine} a CROSS JOIN t.{others} b WHERE {itself}) WHERE rank <= {wanted} ORDER BY shard, row, rank",
                id(mine),
                id(others)
            );
            let sql = format!("SELECT * FROM nearest_join('t.{mine}', 't.{others}', {wanted})");
            let plan = ask(folder.path(), &format!("EXPLAIN {sql}")).to_string();
            assert!(plan.contains(&format!("blocks={blocks}")), "{plan}");
            let found = ask_in_any_partitions(folder.path(), &sql);
            assert_eq!(found.as_array().unwrap().len(), rows);
            assert_eq!(found, ask(folder.path(), &plain), "{store} {mine} {others}");
        }
    }
}

#[test]
fn outliers_are_least_like_the_mean_direction() {
    for store in CODED {
        let folder = searched(store);
        let found = ask_in_any_partitions(folder.path(), "SELECT * FROM outliers('t.images', 8)");
        let plain = "SELECT shard, row, cosine_similarity(embedding, (SELECT vec_mean(normalize(embedding)) FROM t.images)) \
                     AS score FROM t.images ORDER BY round(score, 5), shard, row LIMIT 8";
        let (found, plain) = (found.as_array().unwrap().clone(), ask(folder.path(), plain));
        assert_eq!(found.len(), 8);
        for (found, plain) in found.iter().zip(plain.as_array().unwrap()) {
            assert_eq!((&found["shard"], &found["row"]), (&plain["shard"], &plain["row"]), "{store}");
            let apart = found["score"].as_f64().unwrap() - plain["score"].as_f64().unwrap();
            assert!(apart.abs() < 1e-6, "{store}: {found} {plain}");
        }
    }
}

#[test]
fn near_duplicates_are_what_comparing_all_pairs_gives() {
    let folder = tempfile::tempdir().unwrap();
    dataset_of(folder.path(), 6, 2);
    for most in [0, 1, 2, 9, 20, 64] {
        let plain = format!(
            "SELECT a.split, a.shard, a.row, a.image_id AS id, b.split AS other_split, b.shard AS other_shard, b.row AS \
             other_row, b.image_id AS other_id, hamming(a.phash, b.phash) AS hamming FROM images a, images b WHERE \
             (a.shard, a.row) < (b.shard, b.row) AND hamming(a.phash, b.phash) <= {most} AND a.phash <> 0 AND b.phash <> 0 \
             ORDER BY a.shard, a.row, b.shard, b.row"
        );
        let found = ask_in_any_partitions(folder.path(), &format!("SELECT * FROM near_duplicates('images', {most})"));
        assert_eq!(found, ask(folder.path(), &plain), "{most}");
        assert_eq!(found.as_array().unwrap().is_empty(), most == 0);
    }
}

#[test]
fn mean_and_spread_are_the_same_ask_in_any_partitions() {
    let folder = searched("f32");
    let sql = "SELECT split, round(vec_spread(embedding), 9) AS spread, vec_mean(embedding)[1] AS first FROM t.images \
               GROUP BY split ORDER BY split";
    let found = ask_in_any_partitions(folder.path(), sql);
    // The trace of the covariance is the sum of the variances of the elements.
    let variances: Vec<String> = (1..=21).map(|at| format!("var_pop(embedding[{at}])")).collect();
    let plain = format!(
        "SELECT split, round({}, 9) AS spread FROM t.images GROUP BY split ORDER BY split",
        variances.join(" + ")
    );
    let plain = ask(folder.path(), &plain);
    for (found, plain) in found.as_array().unwrap().iter().zip(plain.as_array().unwrap()) {
        assert_eq!(found["spread"], plain["spread"], "{found} {plain}");
    }
    assert_eq!(found.as_array().unwrap().len(), 2);
}

/// Functions that a scan cannot answer alone get vectors as they are stored, through joins and filters; the same query with a
/// column that something else wants too gets floats.
#[test]
fn functions_of_columns_and_of_rows_take_what_is_stored() {
    for store in CODED {
        let folder = searched(store);
        let joined = "FROM t.images a JOIN t.texts b ON b.shard = a.shard AND b.row = a.row WHERE a.row <> 1";
        for (values, from) in [
            (
                "round(vec_mean(embedding)[2], 6) AS m, round(vec_spread(embedding), 9) AS s, max(norm(embedding)) AS n",
                "FROM t.images",
            ),
            (
                "split, round(vec_mean(embedding)[1], 6) AS m, round(vec_spread(embedding), 9) AS s",
                "FROM t.images WHERE row > 0 GROUP BY split",
            ),
            ("count(*) AS n, round(vec_spread(embedding) FILTER (WHERE row = 2), 9) AS m, 1 AS one", "FROM t.images"),
            ("a.shard, a.row, dot(a.embedding, b.embedding) AS d", joined),
            (
                "round(sum(l2_distance(a.embedding, b.embedding)), 9) AS d, round(vec_spread(a.embedding), 9) AS m, count(*) AS n",
                joined,
            ),
            ("shard, row, normalize(embedding)[1] AS x", "FROM t.images WHERE row <> 1"),
            (
                "shard, row, round(cosine_similarity((SELECT vec_mean(embedding) FROM t.texts), embedding), 6) AS c",
                "FROM t.images",
            ),
            ("shard, row, dot(isolated, prompt) AS d", "FROM t.words"),
        ] {
            let sql = format!("SELECT {values} {from} ORDER BY 1, 2, 3");
            let stored = scanned(folder.path(), &sql);
            assert!(stored.iter().any(|column| column.starts_with("as_stored(")), "{sql}: {stored:?}");
            let is_vector = |column: &String| ["embedding", "isolated", "prompt"].contains(&column.as_str());
            assert!(!stored.iter().any(is_vector), "{sql}: {stored:?}");
            // Tables that are sorted by their vectors give floats.
            let mut plain = sql.clone();
            for (table, by) in [("t.images", "embedding"), ("t.texts", "embedding"), ("t.words", "isolated[1], prompt")]
            {
                plain = plain.replace(table, &format!("(SELECT * FROM {table} ORDER BY {by}[1] LIMIT 1000)"));
            }
            let floats = scanned(folder.path(), &plain);
            assert!(!floats.iter().any(|column| column.starts_with("as_stored(")), "{plain}: {floats:?}");
            let of_stored = ask_in_any_partitions(folder.path(), &sql);
            assert!(!of_stored.as_array().unwrap().is_empty(), "{sql}");
            assert_eq!(of_stored, ask(folder.path(), &plain), "{store}: {sql}");
        }
    }
}

/// Of tables with aliases too, wherever in a query: in keys of joins, in IN and EXISTS, and where a query is about itself.
#[test]
fn functions_are_understood_in_keys_and_conditions() {
    let folder = searched("f16");
    let ask = |sql: &str| ask(folder.path(), sql)[0]["n"].as_u64().unwrap();
    let keyed = "(SELECT embedding, norm(embedding) AS n, normalize(embedding) AS u FROM t.images ORDER BY embedding[1] LIMIT 1000)";
    for (from, condition, plain) in [
        ("images a JOIN t.images b ON", "normalize(a.embedding) = normalize(b.embedding)", "a.u = b.u"),
        (
            "images a JOIN t.images b ON",
            "round(norm(a.embedding), 5) = round(norm(b.embedding), 5)",
            "round(a.n, 5) = round(b.n, 5)",
        ),
        ("images a LEFT JOIN t.images b ON", "norm(a.embedding) + 1 = norm(b.embedding) + 1", "a.n + 1 = b.n + 1"),
        (
            "images a FULL JOIN t.images b ON",
            "dot(a.embedding, a.embedding) = dot(b.embedding, b.embedding)",
            "a.n * a.n = b.n * b.n",
        ),
        (
            "images a, t.images b WHERE",
            "dot(a.embedding, a.embedding) = dot(b.embedding, b.embedding)",
            "a.n * a.n = b.n * b.n",
        ),
        ("images a, t.images b WHERE", "norm(a.embedding) = norm(b.embedding)", "a.n = b.n"),
        (
            "images a WHERE",
            "floor(norm(a.embedding)) IN (SELECT floor(norm(b.embedding)) FROM t.texts b)",
            "floor(a.n) IN (SELECT floor(norm(b.embedding)) FROM t.texts b)",
        ),
        (
            "images a WHERE",
            "floor(norm(a.embedding)) NOT IN (SELECT floor(norm(b.embedding)) FROM t.texts b)",
            "floor(a.n) NOT IN (SELECT floor(norm(b.embedding)) FROM t.texts b)",
        ),
        (
            "images a WHERE",
            "EXISTS (SELECT 1 FROM t.texts b WHERE floor(norm(a.embedding)) = floor(norm(b.embedding)))",
            "EXISTS (SELECT 1 FROM t.texts b WHERE floor(a.n) = floor(norm(b.embedding)))",
        ),
    ] {
        let sql = format!("SELECT count(*) AS n FROM t.{from} {condition}");
        let plain = format!("SELECT count(*) AS n FROM t.{from} {plain}").replace("t.images", keyed);
        assert_eq!(ask(&sql), ask(&plain), "{sql}");
    }
    let recursive = "WITH RECURSIVE r AS (SELECT 0 AS i, embedding AS e FROM t.images WHERE shard = 'train-00000' AND row = 0 \
                     UNION ALL SELECT i + 1, normalize(e) FROM r WHERE norm(e) > 0 AND i < 4) SELECT count(norm(e)) AS n FROM r";
    assert_eq!(ask(recursive), 5);
}

#[test]
fn a_search_that_is_ordered_is_not_sorted_again() {
    let folder = searched("f16");
    let plan = |sql: &str| ask(folder.path(), &format!("EXPLAIN {sql}"))[1]["plan"].to_string();
    let filtered = format!("nearest('t.images', {:?}, 4, 'split = ''val''')", [1.0; 21]);
    let nearest = plan(&format!("SELECT id FROM {filtered} ORDER BY score DESC"));
    assert!(nearest.contains("SearchScan: nearest 4 of t.images, shards=2 of 8, filter=split"), "{nearest}");
    assert!(!nearest.contains("Sort"), "{nearest}");
    assert!(plan("SELECT * FROM outliers('t.images', 4) ORDER BY score DESC").contains("Sort"));
    assert!(!plan("SELECT * FROM outliers('t.images', 4) ORDER BY score").contains("Sort"));
}

/// Knows one text.
#[derive(Debug)]
struct OneText;

impl QueryEncoder for OneText {
    fn encode(
        &self,
        teacher: &TeacherCache,
        table: &str,
        query: &str,
    ) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        assert_eq!((teacher.manifest().name.as_str(), table), ("t", "images"));
        match query {
            "image 1 of shard 4" => Ok(vector("images", 4, 1)),
            "too short" => Ok(vec![1.0]),
            other => Err(format!("cannot read {other}").into()),
        }
    }
}

#[test]
fn an_encoder_answers_for_texts() {
    let folder = searched("f16");
    let mut options = Options::default();
    options.encoder = Some(Arc::new(OneText));
    let context = open_with(folder.path(), &options).unwrap();
    let ask = |query: &str| {
        let mut out = Vec::new();
        let sql = format!("SELECT shard, row FROM nearest('t.images', '{query}', 1)");
        run_blocking(&context, &sql, Format::Csv, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(ask("image 1 of shard 4").unwrap(), "shard,row\ntrain-00004,1\n");
    assert_eq!(ask("a hat").unwrap_err().to_string(), "cannot read a hat");
    let short = ask("too short").unwrap_err().to_string();
    assert!(short.contains("t.images, 21: it is given one of width 1"), "{short}");
}

/// The texts are `train/0/text0` and `train/0/text1`; the teacher has embedded `train` and `text0`, so the digit between them is no
/// candidate, nor is `text1`.
#[test]
fn words_of_a_sample_come_with_what_selection_goes_by() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset_of(folder.path(), 1, 1);
    let sql = "SELECT text, word, \"start\", \"end\", visual, semantic, probability, selected FROM selected_words('train/0/sample0', 1)";
    let refused = refusal(folder.path(), sql);
    assert!(refused.contains("no teacher of this data set has embedded words"), "{refused}");

    let vector = |what: &str, _: u8, row: usize| match (what, row) {
        ("images", _) => vec![2.0, 0.0],
        ("texts", _) | (features::words::ISOLATED, 0) => vec![0.0, 3.0],
        (features::words::ISOLATED, _) => vec![1.0, 0.0],
        (features::words::PROMPT, 0) => vec![0.0, 1.0],
        _ => vec![0.6, 0.8],
    };
    let word = |_: u8, row: usize| ["train", "text0"][row].to_owned();
    add_worded(&dataset, "joint", "f32".parse().unwrap(), 2, &vector, &word);
    let found = ask_in_any_partitions(folder.path(), sql);
    let rows = found.as_array().unwrap();
    assert_eq!(rows.len(), 2, "{found}");
    // By hand: softmax([0, 0.6] / 0.05) and softmax([1, 0] / 0.05), half of each.
    let [low, lower] = [(-12.0_f64).exp(), (-20.0_f64).exp()];
    let p = 0.5 * (low / (1.0 + low) + 1.0 / (1.0 + lower));
    for (row, (word, span, [visual, semantic, p], selected)) in
        rows.iter().zip([("train", [0, 5], [0.0, 1.0, p], true), ("text0", [8, 13], [0.6, 0.0, 1.0 - p], false)])
    {
        assert_eq!([&row["text"], &row["word"]], ["train/0/text0", word], "{row}");
        assert_eq!([&row["start"], &row["end"]], span, "{row}");
        assert_eq!(row["selected"], selected, "{row}");
        for (name, expected) in [("visual", visual), ("semantic", semantic), ("probability", p)] {
            assert!((row[name].as_f64().unwrap() - expected).abs() < 1e-6, "{name}: {row}, expected {expected}");
        }
    }
    // All words are told, whatever is selected; another sample asks another text, of which one word is known.
    let count = |sample: &str| {
        ask(folder.path(), &format!("SELECT count(*) AS n, sum(selected::int) AS of FROM selected_words('{sample}')"))
    };
    assert_eq!(count("train/0/sample0"), json!([{"n": 2, "of": 2}]));
    assert_eq!(count("train/0/sample1"), json!([{"n": 1, "of": 1}]));
    assert_eq!(ask(folder.path(), "SELECT word FROM selected_words('train/0/sample9')"), json!([]));
}
