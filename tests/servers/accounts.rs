//! How accounts log in and how lines are encrypted: each way pulls a binlog through the real program,
//! into a copy that is compared row by row.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::server::PASSWORD;
use crate::support::{Flavor, Server, ServerSpec, Task, Tideway, assert_equal};

fn pair(source: impl Into<ServerSpec>) -> [Server; 2] {
    let [source, target] = Server::start_all([source.into(), Flavor::MariaDb1011.into()]);
    for server in [&source, &target] {
        server.run(
            "CREATE DATABASE shop; CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, a TEXT)",
        );
    }
    target.target_account(&["shop"]);
    source.source_account(&["shop"]);
    [source, target]
}

/// A source's grants to an account that logs in by `how`, `IDENTIFIED …`.
fn account(source: &Server, name: &str, host: &str, how: &str) {
    source.run(&format!(
        "SET sql_log_bin = 0; CREATE USER '{name}'@'{host}' {how}; \
         GRANT RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{name}'@'{host}'; \
         GRANT SELECT ON shop.* TO '{name}'@'{host}'"
    ));
}

fn password() -> String {
    PASSWORD.replace('\'', "''")
}

/// A stream of the source from its first file on, with these lines about the source.
fn tideway(source: &Server, target: &Server, lines: &str) -> Tideway {
    // Each begins anew: what the one before has noted is of another relay log.
    target.run("DROP DATABASE IF EXISTS tideway; TRUNCATE shop.t");
    source.run("SET sql_log_bin = 0; TRUNCATE shop.t");
    source.run(match source.flavor() {
        Flavor::MySql97 => "RESET BINARY LOGS AND GTIDS",
        _ => "RESET MASTER",
    });
    source.run("INSERT INTO shop.t (a) VALUES ('x'), ('y'), ('z')");
    let task = "mode = \"incremental\"\nstart = \"bin.000001:4\"";
    Tideway::new()
        .source_with("a", source, lines)
        .target("copy", target)
        .task(&Task::new("shop", &["a"], "copy", &["shop.*"]).with(task))
}

/// Pulls and compares; then the log tells what was said.
fn pulls(source: &Server, target: &Server, lines: &str) -> String {
    let mut tideway = tideway(source, target, lines);
    tideway.catch_up();
    assert_equal(source, target, &[("shop", "shop")]);
    assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "3");
    assert!(!tideway.log().contains(PASSWORD));
    tideway.log()
}

/// What `tideway check` finds of the source: the row `id`, as state and text.
fn checked(source: &Server, target: &Server, lines: &str, id: &str) -> (String, String) {
    let output = tideway(source, target, lines).output(&["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut rows = report["checks"].as_array().unwrap().iter();
    let row = rows
        .find(|row| row["scope"] == "source:a" && row["id"] == id)
        .unwrap_or_else(|| panic!("no row `{id}` in {report}"));
    let text = format!("{} {}", row["found"], row["mend"]);
    (row["state"].as_str().unwrap().to_owned(), text)
}

/// Fails, saying each of `parts`, and leaves the target as it is.
fn is_refused(source: &Server, target: &Server, lines: &str, parts: &[&str]) {
    let mut tideway = tideway(source, target, lines);
    tideway.start();
    let status = tideway.await_status("the source is refused", |status| {
        !status["sources"][0]["error"].is_null()
    });
    let text = status["sources"][0]["error"].to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    tideway.terminate();
    assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "0");
}

#[test]
fn mysql_s_password_is_told_to_a_cold_cache_by_rsa_and_by_tls() {
    let [source, target] = pair(Flavor::MySql97);
    for tls in ["tls = \"disabled\"", "tls = \"required\""] {
        source.run("FLUSH PRIVILEGES");
        pulls(&source, &target, tls);
    }
    // And once more, now that the server knows it.
    pulls(&source, &target, "tls = \"disabled\"");
    source.run("FLUSH PRIVILEGES");
    let wrong = "tls = \"disabled\"\npassword = \"wrong\"";
    is_refused(&source, &target, wrong, &["1045", "password_file"]);
}

#[test]
fn every_plugin_of_mariadb_logs_in() {
    let [source, target] = pair(Flavor::MariaDb118);
    source.run("INSTALL SONAME 'auth_ed25519'; INSTALL SONAME 'auth_parsec'");
    let secret = password();
    for plugin in ["mysql_native_password", "ed25519", "parsec"] {
        let name = format!("by_{plugin}");
        account(
            &source,
            &name,
            "%",
            &format!("IDENTIFIED VIA {plugin} USING PASSWORD('{secret}')"),
        );
        for tls in ["disabled", "required"] {
            let lines = format!("user = \"{name}\"\ntls = \"{tls}\"");
            pulls(&source, &target, &lines);
        }
    }
}

/// A small authority, and what it has signed.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        fs::write(
            made.0.path().join("c"),
            "[req]\ndistinguished_name = n\n[n]\n[ca]\nbasicConstraints = critical, CA:TRUE\n\
             [here]\nsubjectAltName = IP:127.0.0.1, DNS:localhost\n\
             [elsewhere]\nsubjectAltName = DNS:db.example.com\n[client]\nbasicConstraints = CA:FALSE\n",
        )
        .unwrap();
        for authority in ["ca", "other"] {
            made.make(authority, "ca", None);
        }
        for name in ["here", "elsewhere", "client"] {
            made.make(name, name, Some("ca"));
        }
        made
    }

    fn make(&self, name: &str, section: &str, signer: Option<&str>) {
        let mut arguments = format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -config c -extensions {section} \
             -subj /CN=tideway-{name} -keyout {name}.key -out {name}.pem"
        );
        if let Some(signer) = signer {
            let _ = write!(arguments, " -CA {signer}.pem -CAkey {signer}.key");
        }
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    fn path(&self, file: &str) -> String {
        self.0.path().join(file).display().to_string()
    }

    /// A server that shows the certificate `name`.
    fn server(&self, flavor: Flavor, name: &str) -> ServerSpec {
        ServerSpec::new(flavor)
            .option(&format!("--ssl-ca={}", self.path("ca.pem")))
            .option(&format!("--ssl-cert={}", self.path(&format!("{name}.pem"))))
            .option(&format!("--ssl-key={}", self.path(&format!("{name}.key"))))
    }

    fn verified(&self, mode: &str, authority: &str) -> String {
        format!("tls = \"{mode}\"\ntls_ca = \"{}\"", self.path(authority))
    }
}

#[test]
fn each_tls_mode_checks_what_it_says() {
    let files = Certificates::new();
    for flavor in [Flavor::MariaDb118, Flavor::MySql97] {
        let [source, target] = pair(files.server(flavor, "elsewhere"));
        for tls in ["disabled", "preferred", "required"] {
            pulls(&source, &target, &format!("tls = \"{tls}\""));
        }
        // The right authority and a name that is not this host's.
        pulls(&source, &target, &files.verified("verify-ca", "ca.pem"));
        let named = files.verified("verify-identity", "ca.pem");
        is_refused(
            &source,
            &target,
            &named,
            &["not valid for", "subjectAltName"],
        );
        let wrong = files.verified("verify-ca", "other.pem");
        is_refused(&source, &target, &wrong, &["UnknownIssuer", "tls_ca"]);
    }
}

#[test]
fn the_checks_tell_of_the_line_by_its_signer() {
    let files = Certificates::new();
    let [source, target] = pair(files.server(Flavor::MySql97, "elsewhere"));
    let checked = |lines: &str, id: &str| checked(&source, &target, lines, id);
    let signed = files.verified("verify-ca", "ca.pem");
    let (state, _) = checked(&signed, "connection");
    assert_eq!(state, "pass");
    let (state, text) = checked(&signed, "tls");
    assert!(state == "pass" && text.contains("TLSv1.3"), "{text}");
    for (lines, words) in [
        (
            files.verified("verify-ca", "other.pem"),
            ["UnknownIssuer", "tls_ca"],
        ),
        (
            files.verified("verify-identity", "ca.pem"),
            ["not valid for", "subjectAltName"],
        ),
    ] {
        let (state, text) = checked(&lines, "connection");
        assert_eq!(state, "fail", "{text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is not in {text}");
        }
    }
    // On the same machine a line that nobody else hears is no cause for a warning.
    let (state, text) = checked("tls = \"disabled\"", "tls");
    assert!(
        state == "pass" && text.contains("on this machine"),
        "{text}"
    );
}

#[test]
fn a_client_s_certificate_is_shown_to_a_server_that_wants_one() {
    let files = Certificates::new();
    for flavor in [Flavor::MariaDb118, Flavor::MySql97] {
        let [source, target] = pair(files.server(flavor, "here"));
        source.run("SET sql_log_bin = 0; ALTER USER 'tideway'@'%' REQUIRE X509");
        let without = files.verified("verify-identity", "ca.pem");
        let with = format!(
            "{without}\ntls_cert = \"{}\"\ntls_key = \"{}\"",
            files.path("client.pem"),
            files.path("client.key")
        );
        pulls(&source, &target, &with);
        is_refused(&source, &target, &without, &["1045"]);
    }
}

#[test]
fn the_operating_system_vouches_over_the_socket() {
    let [source, target] = pair(Flavor::MariaDb118);
    source.run("SET sql_log_bin = 0; DROP USER 'tideway'@'%'");
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let user = user.trim();
    source.run(&format!(
        "SET sql_log_bin = 0; CREATE OR REPLACE USER '{user}'@'localhost' IDENTIFIED VIA unix_socket; \
         GRANT ALL ON *.* TO '{user}'@'localhost'"
    ));
    let mut tideway = by_socket(&source, &target, user);
    source.run("INSERT INTO shop.t (a) VALUES ('x'), ('y')");
    tideway.catch_up();
    assert_eq!(target.client().value("SELECT COUNT(*) FROM shop.t"), "2");
    assert_equal(&source, &target, &[("shop", "shop")]);
}

fn by_socket(source: &Server, target: &Server, user: &str) -> Tideway {
    let rows = source.client().texts("SHOW MASTER STATUS");
    let start = format!("{}:{}", rows[0][0], rows[0][1]);
    let socket = source.socket().display().to_string();
    Tideway::new()
        .with(&format!(
            "[[source]]\nname = \"a\"\nsocket = \"{socket}\"\nuser = \"{user}\"\npassword = \"\""
        ))
        .target("copy", target)
        .task(
            &Task::new("shop", &["a"], "copy", &["shop.*"])
                .with(&format!("mode = \"incremental\"\nstart = \"{start}\"")),
        )
}

#[test]
fn a_semi_synchronous_source_is_followed_without_holding_it_up() {
    for flavor in [Flavor::MariaDb1011, Flavor::MySql97] {
        let [source, target] = pair(flavor);
        source.run(match flavor {
            Flavor::MySql97 => {
                "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'; \
                 SET GLOBAL rpl_semi_sync_source_timeout = 300, GLOBAL rpl_semi_sync_source_enabled = 1"
            }
            _ => "SET GLOBAL rpl_semi_sync_master_timeout = 300, GLOBAL rpl_semi_sync_master_enabled = 1",
        });
        pulls(&source, &target, "");
        // We do not pass for one that has kept a transaction safe.
        let clients = source
            .client()
            .texts("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%_clients'");
        assert_eq!(clients[0][1], "0", "{clients:?}");
    }
}

#[test]
fn an_encrypted_binlog_arrives_decrypted_and_that_is_said() {
    for flavor in [Flavor::MariaDb1011, Flavor::MariaDb118, Flavor::MySql97] {
        encrypted(flavor);
    }
}

fn encrypted(flavor: Flavor) {
    let [source, target] = pair(ServerSpec::new(flavor).encrypted());
    let mut tideway = tideway(&source, &target, "");
    source.run("INSERT INTO shop.t (a) VALUES ('a text to look for')");
    tideway.start();
    let is_here = |status: &serde_json::Value| {
        status["streams"][0]["behind_bytes"] == 0
            && status["sources"][0]["relay"]["behind_bytes"] == 0
    };
    let status = tideway.await_status("all is here", is_here);
    let relay = &status["sources"][0]["relay"];
    assert_eq!(relay["file"], "bin.000001");
    let warnings = relay["warnings"].to_string();
    assert!(warnings.contains("encrypts its binlog"), "{warnings}");
    assert!(tideway.log().contains("encrypts its binlog"));
    // It goes on in the middle of the file, whatever the offsets in the encrypted one are.
    for text in ["within the file", "once more"] {
        tideway.kill9();
        source.run(&format!("INSERT INTO shop.t (a) VALUES ('{text}')"));
        tideway.start();
        tideway.await_status("all is here again", is_here);
    }
    source.run("FLUSH BINARY LOGS; INSERT INTO shop.t (a) VALUES ('behind it')");
    tideway.await_status("the next file is here", |status| {
        is_here(status) && status["sources"][0]["relay"]["file"] == "bin.000002"
    });
    tideway.terminate();
    tideway.catch_up();
    assert_equal(&source, &target, &[("shop", "shop")]);
    let sub = relay["folder"].as_str().unwrap();
    let ours = tideway
        .data_folder()
        .join("relay/a")
        .join(sub)
        .join("bin.000001");
    let theirs = source.data_folder().join("bin.000001");
    let has_text = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        memchr::memmem::find(&bytes, b"a text to look for").is_some()
    };
    assert!(has_text(&ours) && !has_text(&theirs));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers.sh");
    let read = Command::new(script)
        .args(["binlog", flavor.name(), "--verify-binlog-checksum"])
        .arg(&ours)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}");
    let verified = tideway.output(&["relay", "verify"]);
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}");
}
