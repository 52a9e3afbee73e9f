//! `tideway relay` and `tideway events` as an operator uses them: by right and by wrong arguments, with
//! and without a worker, for people and for scripts.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::relay::{pair, relay_files};
use crate::support::{Flavor, ServerSpec, Task, Tideway};

fn text(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn orders_of_an_operator_are_answered() {
    for flavor in [Flavor::MariaDb118, Flavor::MySql97] {
        let spec = ServerSpec::new(flavor).option("--binlog-row-metadata=FULL");
        let [source, target] = pair(spec);
        source.run("CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY)");
        source.source_account(&["shop", "other"]);
        target.target_account(&["shop", "other"]);
        let tideway = Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&Task::new("shop", &["a"], "copy", &["shop.t"]));
        let mut tideway = tideway.task(&Task::new("other", &["a"], "copy", &["other.*"]));

        // Before anything is there.
        let list = text(&tideway.output(&["relay", "list"]));
        assert_eq!((list.0, list.1.trim()), (Some(0), "a  no relay log yet"));
        let list = text(&tideway.output(&["relay", "list", "--json"]));
        assert_eq!((list.0, list.1.as_str()), (Some(0), ""));
        assert_eq!(text(&tideway.output(&["relay", "verify"])).0, Some(0));
        let empty = text(&tideway.output(&["events"]));
        assert_eq!(empty.0, Some(1));
        assert!(empty.2.contains("no relay log of `a` yet"), "{}", empty.2);
        // No worker to ask.
        let purge =
            text(&tideway.output(&["relay", "purge", "--source", "a", "--older-than", "1h"]));
        assert_ne!(purge.0, Some(0), "{purge:?}");
        assert!(purge.2.contains("fix:"), "{}", purge.2);

        tideway.catch_up();
        source.run("CREATE TABLE shop.unselected (id INT PRIMARY KEY)");
        source.run(
            "INSERT INTO shop.t VALUES (1, 'one'), (2, NULL); UPDATE shop.t SET a = 'two' WHERE id = 2; \
             INSERT INTO shop.unselected VALUES (1); DELETE FROM shop.t WHERE id = 1",
        );
        if flavor == Flavor::MySql97 {
            source.run(
                "SET binlog_transaction_compression = ON; INSERT INTO shop.t VALUES (3, 'packed')",
            );
        }
        source.run("FLUSH BINARY LOGS");
        tideway.catch_up();

        // What is wrong is told with what would be right, by the documented codes.
        for (arguments, code, part) in [
            (
                &["relay", "list", "--source", "b"][..],
                2,
                "no source is called `b`",
            ),
            (&["relay", "purge", "--source", "a"], 2, "--before"),
            (
                &["relay", "purge", "--source", "b", "--older-than", "1h"],
                2,
                "`b`",
            ),
            (
                &["relay", "purge", "--source", "a", "--older-than", "soon"],
                2,
                "soon",
            ),
            (&["events", "--from", "nowhere"], 2, "bin.000123:4"),
            (&["events", "--from", "bin.999999:4"], 2, "it has `"),
            (
                &["events", "--from", "bin.000001:5"],
                2,
                "the nearest events start at",
            ),
            (
                &["events", "--from", "bin.000001:99999999"],
                2,
                "before the place asked for",
            ),
            (&["events", "--task", "none"], 2, "`shop`"),
            (&["events", "--source", "b"], 2, "one of: `a`"),
        ] {
            let (found, _, errors) = text(&tideway.output(arguments));
            assert_eq!(found, Some(code), "{arguments:?}: {errors}");
            assert!(errors.contains(part), "{arguments:?}: {errors}");
        }

        let size = fs::metadata(&relay_files(&tideway)[0]).unwrap().len();
        let beyond = text(&tideway.output(&["events", "--from", "bin.000001:99999999"]));
        let end = format!("`bin.000001` ends at {size},");
        assert!(beyond.2.contains(&end), "{}", beyond.2);

        let list = lines(&tideway.output(&["relay", "list", "--json"]));
        assert_eq!(list.len(), relay_files(&tideway).len());
        assert_eq!(list[0]["source"], "a");
        let verified = lines(&tideway.output(&["relay", "verify", "--json"]));
        assert!(verified.iter().all(|line| line["damage"].is_null()));

        // Events: all of them hang together, and those of rows say whose.
        let all = lines(&tideway.output(&["events", "-n", "0", "--json", "--rows"]));
        let mut ends = all
            .windows(2)
            .filter(|two| two[0]["file"] == two[1]["file"]);
        assert!(ends.all(|two| {
            two[0]["end_offset"] == two[1]["offset"]
                || !two[1]["inner"].is_null()
                || !two[0]["inner"].is_null()
        }));
        let of = |kind: &str, table: &str| -> Vec<&Value> {
            let is_it = |line: &&Value| {
                line["kind"].as_str().unwrap().starts_with(kind) && line["table"] == table
            };
            all.iter().filter(is_it).collect()
        };
        let update = of("UPDATE_ROWS", "t")[0];
        assert_eq!(
            (&update["schema"], &update["rows"]),
            (&"shop".into(), &1.into())
        );
        assert_eq!(update["columns"], serde_json::json!(["id", "a"]));
        assert_eq!(
            update["images"],
            serde_json::json!([{"before": ["2", null], "after": ["2", "two"]}]),
        );
        assert!(
            update["gtid"].is_string() && update["time"].is_string(),
            "{update}"
        );
        assert_eq!(of("WRITE_ROWS", "unselected").len(), 1);
        if flavor == Flavor::MySql97 {
            let packed = of("WRITE_ROWS", "t");
            assert!(
                packed.iter().any(|line| line["inner"].is_u64()),
                "{packed:?}"
            );
        }
        // From such an event on, with the transaction it is of.
        let from = format!("{}:{}", update["file"].as_str().unwrap(), update["offset"]);
        let one = lines(&tideway.output(&["events", "--from", &from, "-n", "1", "--json"]));
        assert_eq!(one[0]["gtid"], update["gtid"]);
        assert!(one[0].get("images").is_none());
        let shown = text(&tideway.output(&["events", "--from", &from, "-n", "1", "--rows"])).1;
        assert!(
            shown.contains("- id=2, a=NULL") && shown.contains("+ id=2, a=two"),
            "{shown}"
        );
        // As many rows as are asked for, and what the binlog does not tell of them.
        let many: Vec<String> = (100..130).map(|id| format!("({id}, 'many')")).collect();
        source.run(&format!("INSERT INTO shop.t VALUES {}", many.join(", ")));
        tideway.catch_up();
        for (rows, images) in [("--rows", 20), ("--rows=all", 30), ("--rows=3", 3)] {
            let lines = lines(&tideway.output(&["events", "-n", "0", "--json", rows]));
            let line = lines.iter().find(|line| line["rows"] == 30).unwrap();
            assert_eq!(line["images"].as_array().unwrap().len(), images, "{line}");
            assert!(line["undecoded"].is_null());
            assert_eq!(line["assumed"], serde_json::json!([]));
        }
        // Of a task: no other tables.
        let mine = lines(&tideway.output(&["events", "--task", "shop", "-n", "0", "--json"]));
        assert!(
            mine.iter()
                .all(|line| line["table"].is_null() || line["table"] == "t")
        );

        // Damage is found by both, and names the place.
        let victim = relay_files(&tideway)[0].clone();
        let good = fs::read(&victim).unwrap();
        let mut bytes = good.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&victim, &bytes).unwrap();
        let (code, out, _) = text(&tideway.output(&["relay", "verify"]));
        assert_eq!(code, Some(1), "{out}");
        assert!(out.contains("damaged at"), "{out}");
        let (code, out, errors) = text(&tideway.output(&["events", "-n", "0"]));
        assert_eq!(code, Some(1), "{errors}");
        assert!(
            !out.is_empty() && errors.contains("verify --mend"),
            "{errors}"
        );
        fs::write(&victim, &good).unwrap();
    }
}
