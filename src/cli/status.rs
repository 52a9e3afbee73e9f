//! `tideway status`.

use std::fmt::Write as _;
use std::path::Path;

use crate::control::Snapshot;
use crate::model::Result;
use crate::remote::Client;

use super::FINE;

/// Prints the running worker's snapshot, or each new one.
pub(super) fn status(data_dir: &Path, json: bool, watch: bool) -> Result<u8> {
    let show = |snapshot: &Snapshot| {
        if json {
            super::print_json(snapshot)
        } else {
            super::print(text(snapshot).trim_end())
        }
    };
    super::small_runtime()?.block_on(async {
        let mut client = Client::connect(data_dir).await?;
        if watch {
            client.watch().await?;
            while let Some(snapshot) = client.next_snapshot().await? {
                show(&snapshot)?;
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
    }
    for stream in &snapshot.streams {
        let _ = write!(
            out,
            "stream {} from {} to {}: {} {}",
            stream.task, stream.source, stream.target, stream.unit, stream.stage
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
            let purpose = stop.error.refused.as_ref().and_then(|r| r.purpose.as_ref());
            for (label, text) in [
                ("cause", stop.error.cause.as_ref()),
                ("what for", purpose),
                ("fix", stop.error.fix.as_ref()),
            ] {
                if let Some(text) = text {
                    let _ = writeln!(out, "  {label}: {text}");
                }
            }
        }
    }
    out
}
