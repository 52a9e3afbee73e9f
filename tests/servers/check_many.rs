//! Many tables are checked by few statements, and soon.
//!
//! `TIDEWAY_CHECK_TABLES` is how many there are (10,000 for the figure that is asked for).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tideway::config::Config;
use tideway::job::check;
use tideway::model::CheckReport;
use tokio_util::sync::CancellationToken;

use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server};

fn checked(source: &Server, target: &Server, progress: &check::Progress) -> CheckReport {
    let server = |kind: &str, name: &str, port: u16| {
        format!(
            "[[{kind}]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"tideway\"\n\
             password = '''{PASSWORD}'''\n"
        )
    };
    let text = format!(
        "[worker]\ndata_dir = \"tideway-check-data\"\n{}{}\
         [[task]]\nname = \"many\"\nsources = [\"a\"]\ntarget = \"t\"\ntables = [\"many.*\"]\n",
        server("source", "a", source.port()),
        server("target", "t", target.port()),
    );
    let path = std::env::temp_dir().join("tideway.toml");
    let config = Config::parse(&text, &path).unwrap_or_else(|errors| panic!("{errors}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    runtime.block_on(check::watched(&config, &stop, progress))
}

fn create(server: &Server, count: usize) {
    server.run("CREATE DATABASE many");
    let mut client = server.client();
    for from in (0..count).step_by(200) {
        let mut sql = String::new();
        for number in from..count.min(from + 200) {
            let _ = write!(
                sql,
                "CREATE TABLE many.t{number} (id INT PRIMARY KEY, a VARCHAR(40), b DATETIME, KEY (a));"
            );
        }
        client.run(&sql);
    }
}

fn questions(server: &Server) -> u64 {
    let rows = server.client().texts("SHOW GLOBAL STATUS LIKE 'Questions'");
    rows[0][1].parse().unwrap()
}

fn many(from: Flavor, to: Flavor) {
    let count: usize =
        std::env::var("TIDEWAY_CHECK_TABLES").map_or(600, |text| text.parse().expect("a number"));
    let [source, target] = Server::start_all([from, to]);
    create(&source, count);
    source.source_account(&["many"]);
    target.target_account(&["many"]);
    for is_there in [false, true] {
        if is_there {
            create(&target, count);
        }
        let before = (questions(&source), questions(&target));
        let progress = check::Progress::default();
        let began = Instant::now();
        let report = checked(&source, &target, &progress);
        let took = began.elapsed();
        let asked = (questions(&source) - before.0, questions(&target) - before.1);
        println!(
            "{from:?} to {to:?}, {count} tables, on the target too: {is_there}: {took:?}, \
             {asked:?} statements at source and target"
        );
        assert!(report.checks.iter().any(
            |check| check.id == "tables" && check.found.starts_with(&format!("{count} of `a`"))
        ));
        let done = progress.figure();
        assert_eq!(done.done, done.total, "{done:?}");
        assert!(done.total > count as u64 || from == to, "{done:?}");
        // The statements that create tables are asked for one by one, 200 in a packet, where the target
        // may not take them as they are; all else by the hundred.
        let least = if is_there || from == to {
            0
        } else {
            count as u64
        };
        let bound = 150 + count as u64 / 5;
        assert!(
            asked.0 < least + bound && asked.1 < bound,
            "{asked:?} statements"
        );
        assert!(took < Duration::from_mins(1), "{took:?}");
    }
}

#[test]
fn many_tables_are_checked_by_few_statements() {
    many(Flavor::MySql97, Flavor::MariaDb118);
}
