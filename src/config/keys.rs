//! The keys that a configuration may have, by section: what is not here is a fault.

/// Sections, by path, with their keys. A section is a key of the one that holds it.
const SECTIONS: [(&str, &[&str]); 18] = [
    ("", &["worker", "console", "source", "target", "task"]),
    (
        "worker",
        &[
            "data_dir",
            "on_hangup",
            "meta_schema",
            "memory",
            "retry_limit",
            "metrics",
            "log",
        ],
    ),
    ("worker.log", &["level", "format"]),
    (
        "console",
        &["theme", "mouse", "read_only", "color", "glyphs", "keys"],
    ),
    (
        "source",
        &[
            "name",
            "host",
            "socket",
            "port",
            "user",
            "password",
            "password_file",
            "password_env",
            "tls",
            "tls_ca",
            "tls_cert",
            "tls_key",
            "server_id",
            "relay",
            "heartbeat",
        ],
    ),
    (
        "source.relay",
        &["enabled", "start", "purge_after", "keep_free", "heartbeat"],
    ),
    ("source.heartbeat", &["table", "every"]),
    (
        "target",
        &[
            "name",
            "host",
            "socket",
            "port",
            "user",
            "password",
            "password_file",
            "password_env",
            "tls",
            "tls_ca",
            "tls_cert",
            "tls_key",
        ],
    ),
    (
        "task",
        &[
            "name",
            "sources",
            "target",
            "mode",
            "tables",
            "start",
            "autostart",
            "dump",
            "load",
            "sync",
            "route",
            "filter",
            "on_event",
            "accept",
        ],
    ),
    (
        "task.dump",
        &[
            "threads",
            "chunk_size",
            "consistency",
            "rate_limit",
            "back_off",
            "compress",
            "programs",
        ],
    ),
    ("task.dump.back_off", &["threads_running", "replica_lag"]),
    ("task.load", &["threads", "on_duplicate", "from"]),
    (
        "task.sync",
        &[
            "workers",
            "order",
            "on_drift",
            "verify",
            "batch_rows",
            "batch_bytes",
        ],
    ),
    ("task.route", &["from", "to"]),
    ("task.filter", &["tables", "events", "sql", "action"]),
    ("task.on_event", &["match", "do", "limit"]),
    (
        "task.on_event.match",
        &["table", "kind", "error", "statement"],
    ),
    ("task.accept", &["name", "server", "found", "reason"]),
];

/// The keys of the section at `path`; `None` where any key goes.
pub(super) fn known(path: &str) -> Option<&'static [&'static str]> {
    SECTIONS
        .iter()
        .find(|(section, _)| *section == path)
        .map(|(_, keys)| *keys)
}

/// The sections that have `key`, for the one who put it elsewhere.
pub(super) fn homes(key: &str) -> impl Iterator<Item = &'static str> {
    SECTIONS
        .iter()
        .filter(move |(_, keys)| keys.contains(&key))
        .map(|(section, _)| *section)
}

/// The header that opens the section at `path`.
pub(super) fn header(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    let repeats = matches!(
        last,
        "source" | "target" | "task" | "route" | "filter" | "on_event" | "accept"
    );
    if repeats {
        format!("[[{path}]]")
    } else {
        format!("[{path}]")
    }
}

/// The known name nearest to `written`, if one is near enough to be a slip of the pen.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let bound = (written.chars().count() / 3).max(2);
    let lower = written.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| {
            let distance = strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase());
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= bound && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        assert_eq!(
            nearest("data_dirr", ["data_dir", "memory"]),
            Some("data_dir")
        );
        assert_eq!(nearest("Data-Dir", ["data_dir"]), Some("data_dir"));
        assert_eq!(nearest("zzz", ["tls", "name"]), None);
    }

    #[test]
    fn every_section_is_a_key_of_its_parent() {
        for (path, _) in SECTIONS.iter().filter(|(path, _)| !path.is_empty()) {
            let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
            assert!(
                known(parent).is_some_and(|keys| keys.contains(&key)),
                "{path}"
            );
        }
    }
}
