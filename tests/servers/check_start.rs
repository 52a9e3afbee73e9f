//! What the checks find before a stream's start: failures keep it from beginning, warnings do not where
//! nobody is there to be asked; either is accepted by name, and that is kept.

use serde_json::Value;

use crate::support::{Flavor, Server, Task, Tideway, assert_equal};

fn shops(flavor: Flavor) -> [Server; 2] {
    let servers = Server::start_all([flavor, flavor]);
    servers[0].run(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(20)); \
         INSERT INTO shop.t VALUES (1, 'one'); CREATE TABLE shop.log (text VARCHAR(20))",
    );
    servers[0].source_account(&["shop"]);
    servers[1].target_account(&["shop"]);
    servers
}

fn finding<'v>(stop: &'v Value, name: &str) -> &'v Value {
    let findings = stop["findings"].as_array();
    findings
        .and_then(|all| all.iter().find(|finding| finding["name"] == name))
        .unwrap_or_else(|| panic!("no finding `{name}` in {stop}"))
}

#[test]
fn a_failure_keeps_a_stream_from_beginning_until_it_is_mended() {
    let [source, target] = shops(Flavor::MySql97);
    target.run("REVOKE UPDATE, INDEX ON shop.* FROM tideway@'%'");
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&Task::new("t", &["a"], "copy", &["shop.*"]));
    tideway.start();
    let status = tideway.await_streams("dump", "failed");
    let stop = &status["streams"][0]["stop"];
    assert_eq!(stop["error"]["kind"], "checks", "{stop}");
    let privileges = finding(stop, "privileges");
    assert_eq!(privileges["scope"], "target:copy");
    assert_eq!(
        privileges["found"],
        "missing: UPDATE on `shop`.* (sync), INDEX on `shop`.* (sync)"
    );
    // A warning is no hindrance where nobody can be asked.
    let findings = stop["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|finding| finding["state"] == "fail"),
        "{stop}"
    );
    // Nothing was begun, and the relay runs meanwhile.
    assert_eq!(
        target
            .client()
            .value("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'"),
        "0"
    );
    assert_eq!(status["sources"][0]["stage"], "running", "{status}");
    // One that is not there is not accepted.
    let unknown = tideway.output(&["ctl", "accept", "tables", "--task", "t"]);
    assert_eq!(unknown.status.code(), Some(1));
    // The statement mends it, and a retry goes on.
    for statement in privileges["mend"].as_str().unwrap().split_inclusive(';') {
        target.run(statement);
    }
    tideway.ctl(&["retry", "--task", "t"]);
    let status = tideway.await_streams("sync", "running");
    // The report is made anew: it was of what stood in the way.
    tideway.await_status("a new report", |status| status["check"]["ok"] == true);
    let notes = status["streams"][0]["notes"].to_string();
    assert!(
        notes.contains("warnings of the checks") && notes.contains("`keys`"),
        "{notes}"
    );
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}

#[test]
fn a_failure_is_accepted_by_name_and_that_is_kept() {
    let [source, target] = shops(Flavor::MariaDb1011);
    target.run("REVOKE INDEX ON shop.* FROM tideway@'%'");
    let task = Task::new("t", &["a"], "copy", &["shop.*"]);
    let mut tideway = Tideway::new()
        .source("a", &source)
        .target("copy", &target)
        .task(&task);
    // Nobody there, and not accepted: it ends with what stands in its way.
    let output = tideway.output(&["run", "--until", "caught-up"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("the checks keep it from beginning: `privileges` (target:copy)")
            && said.contains("cause: missing: INDEX on `shop`.* (sync)")
            && said.contains("GRANT INDEX ON `shop`.*")
            && said.contains("tideway ctl accept privileges --task t --source a"),
        "{said}"
    );
    tideway.start();
    tideway.await_stream("t", "a", "failed");
    // Failures are accepted by name alone.
    let all = tideway.output(&["ctl", "accept", "--task", "t"]);
    assert_eq!(all.status.code(), Some(1));
    let accept = [
        "ctl",
        "accept",
        "privileges",
        "--task",
        "t",
        "--source",
        "a",
    ];
    let told = tideway.output(&[&accept[..], &["--reason", "no index is added"]].concat());
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    tideway.await_streams("sync", "running");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    let journal = tideway.output(&["journal", "--json"]);
    let journal = String::from_utf8_lossy(&journal.stdout).into_owned();
    assert!(
        journal.contains("accept privileges") && journal.contains("it begins"),
        "{journal}"
    );
    let kept = std::fs::read_to_string(tideway.data_folder().join("journal.jsonl")).unwrap();
    assert!(
        kept.contains("no index is added") && kept.contains("missing: INDEX on `shop`.* (sync)"),
        "{kept}"
    );
    // Its checkpoint and tables are lost: it begins once more, and what was accepted still is.
    target.run("DROP DATABASE tideway; DROP DATABASE shop");
    std::fs::remove_dir_all(tideway.data_folder().join("dump")).unwrap();
    tideway.start();
    tideway.await_streams("sync", "running");
    assert!(tideway.terminate().success(), "{}", tideway.story());
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);

    // The file accepts it as well, as narrowly as it says.
    target.run("DROP DATABASE tideway; DROP DATABASE shop");
    let by_file = |found: &str| {
        let accept = format!(
            "[[task.accept]]\nname = \"privileges\"\nfound = \"{found}\"\nreason = \"none is added\"\n"
        );
        Tideway::new()
            .source("a", &source)
            .target("copy", &target)
            .task(&task.clone().with(&accept))
    };
    let other = by_file("DROP on").output(&["run", "--until", "caught-up"]);
    assert_eq!(other.status.code(), Some(1));
    by_file("INDEX on").catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
}
