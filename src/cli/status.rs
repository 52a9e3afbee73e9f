//! `tideway status`.

use std::fmt::Write as _;
use std::path::Path;

use crate::control::{Snapshot, StopError};
use crate::model::{Result, Timestamp};
use crate::remote::Client;

use super::FINE;

/// Prints the running worker's snapshot, or each new one.
pub(super) fn status(data_dir: &Path, json: bool, watch: bool) -> Result<u8> {
    // `false`: nobody reads it any more.
    let show = |snapshot: &Snapshot| {
        let shown = if json {
            super::json(snapshot)?
        } else {
            text(snapshot)
        };
        super::write_line(&mut std::io::stdout(), shown.trim_end())
    };
    super::small_runtime()?.block_on(async {
        let mut client = Client::connect(data_dir).await?;
        if watch {
            client.watch().await?;
            while let Some(snapshot) = client.next_snapshot().await? {
                if !show(&snapshot)? {
                    break;
                }
            }
        } else {
            show(&client.snapshot().await?)?;
        }
        Ok(FINE)
    })
}

/// A snapshot in lines for people.
pub(super) fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for source in &snapshot.sources {
        let _ = write!(out, "source {}: {}", source.name, source.stage);
        if let Some(version) = &source.server_version {
            let _ = write!(out, ", {version}");
        }
        if let Some(relay) = &source.relay {
            let behind = relay
                .behind_bytes
                .map_or_else(|| "?".to_owned(), |n| n.to_string());
            let _ = write!(
                out,
                ", relay {}:{}, behind {behind} B",
                relay.file, relay.offset
            );
        }
        if let Some(error) = &source.error {
            let _ = write!(out, ", {}", error.message);
        }
        out.push('\n');
        if let Some(error) = &source.error {
            explain(&mut out, error);
            next_try(
                &mut out,
                snapshot.taken_at,
                source.next_try_at,
                source.tries,
            );
        }
    }
    for stream in &snapshot.streams {
        let unit = stream
            .known_unit()
            .map_or_else(|| "-".to_owned(), |unit| unit.to_string());
        let _ = write!(
            out,
            "stream {} from {} to {}: {unit} {}",
            stream.task, stream.source, stream.target, stream.stage
        );
        if let Some(position) = &stream.position {
            let _ = write!(out, " at {}", position.place.position);
        }
        let _ = match stream.lag_seconds {
            Some(lag) => write!(out, ", lag {lag:.1} s"),
            None => write!(out, ", lag unknown"),
        };
        let _ = write!(
            out,
            ", {} rows and {} transactions applied",
            stream.rows_applied, stream.transactions_applied
        );
        out.push('\n');
        if let Some(stop) = &stream.stop {
            let _ = write!(out, "  stop {}: {}", stop.stop_id, stop.error.message);
            if let Some(position) = &stop.position {
                let _ = write!(out, " at {}:{}", position.file, position.offset);
            }
            out.push('\n');
            explain(&mut out, &stop.error);
            next_try(
                &mut out,
                snapshot.taken_at,
                stream.next_try_at,
                stream.tries,
            );
        }
    }
    out
}

/// What an error came from, and what mends it.
fn explain(out: &mut String, error: &StopError) {
    let purpose = error.refused.as_ref().and_then(|r| r.purpose.as_ref());
    for (label, text) in [
        ("cause", error.cause.as_ref()),
        ("what for", purpose),
        ("fix", error.fix.as_ref()),
    ] {
        if let Some(text) = text {
            let _ = writeln!(out, "  {label}: {text}");
        }
    }
}

/// When it is tried again, where it is without being asked.
fn next_try(out: &mut String, now: Timestamp, at: Option<Timestamp>, tries: u32) {
    if let Some(at) = at {
        let left = at.since(now).as_secs();
        let _ = writeln!(out, "  next try: in {left} s, after {tries} failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorKind;

    #[test]
    fn an_error_says_why_and_when_it_is_tried_again() {
        let error = StopError {
            kind: ErrorKind::Connect,
            number: 0,
            sqlstate: String::new(),
            message: "cannot connect".into(),
            cause: Some("connection refused".into()),
            fix: Some("see that the server runs".into()),
            refused: None,
        };
        let (now, at) = (Timestamp::from_seconds(100), Timestamp::from_seconds(107));
        let mut out = String::new();
        explain(&mut out, &error);
        next_try(&mut out, now, Some(at), 3);
        next_try(&mut out, now, None, 3);
        assert_eq!(
            out,
            "  cause: connection refused\n  fix: see that the server runs\n  next try: in 7 s, \
             after 3 failed\n"
        );
    }
}
