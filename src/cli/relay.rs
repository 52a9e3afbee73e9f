//! `tideway relay`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::{Config, relay_folder};
use crate::control::{Command, PurgeWhich, RelayFileFigure, Reply};
use crate::model::{Error, ErrorKind, Result};
use crate::relay_log::{self, FileReport};

use super::{FINE, PROBLEM, RelayOrder, ctl};

/// Lists, verifies or purges relay logs.
pub(super) fn relay(config: &Path, order: RelayOrder) -> Result<u8> {
    let config = Config::load_without_secrets(config)?;
    match order {
        RelayOrder::List { source, json } => list(&config, source.as_deref(), json),
        RelayOrder::Verify { source, mend, json } => verify(&config, source.as_deref(), mend, json),
        RelayOrder::Purge {
            source,
            which,
            json,
        } => {
            // The names are the worker's, but a wrong one is told without it.
            folders(&config, Some(&source))?;
            let which = match (which.before, which.older_than, which.force) {
                (Some(file), ..) => PurgeWhich::Before { file },
                (_, Some(age), _) => PurgeWhich::OlderThan {
                    seconds: age.as_secs(),
                },
                (_, _, file) => PurgeWhich::Force {
                    file: file.unwrap_or_default(),
                },
            };
            ctl::send(
                &config.worker.data_dir,
                Command::PurgeRelay { source, which },
                json,
            )
        }
    }
}

/// The relay logs that are meant: the source's name and the folder.
fn folders(config: &Config, only: Option<&str>) -> Result<Vec<(String, PathBuf)>> {
    let names = config.sources.iter().map(|source| &source.server.name);
    let folders: Vec<_> = names
        .filter(|name| only.is_none_or(|only| only == name.as_str()))
        .map(|name| (name.clone(), relay_folder(&config.worker.data_dir, name)))
        .collect();
    match only {
        Some(only) if folders.is_empty() => Err(Error::new(
            ErrorKind::Config,
            format!("no source is called `{only}`"),
        )
        .with_fix("give a name of the configuration")),
        _ => Ok(folders),
    }
}

fn list(config: &Config, only: Option<&str>, json: bool) -> Result<u8> {
    for (source, folder) in folders(config, only)? {
        if !folder.exists() {
            if !json {
                super::print(&format!("{source}  no relay log yet"))?;
            }
            continue;
        }
        for file in relay_log::list(&folder)? {
            if json {
                super::print_json(&json!({
                    "source": source,
                    "folder": file.folder,
                    "name": file.name,
                    "size_bytes": file.size_bytes,
                }))?;
            } else {
                super::print(&format!(
                    "{source}  {}/{}  {} bytes",
                    file.folder, file.name, file.size_bytes
                ))?;
            }
        }
    }
    Ok(FINE)
}

fn verify(config: &Config, only: Option<&str>, mend: bool, json: bool) -> Result<u8> {
    let mut code = FINE;
    for (source, folder) in folders(config, only)? {
        if !folder.exists() {
            if !json {
                super::print(&format!("{source}  no relay log yet"))?;
            }
            continue;
        }
        let mut damaged = Vec::new();
        relay_log::verify(&folder, |report| {
            show(&source, &report, json)?;
            if report.damage.is_some() {
                damaged.push(report.file);
            }
            Ok(())
        })?;
        for file in damaged {
            code = code.max(if mend {
                mend_file(config, &source, file, json)?
            } else {
                PROBLEM
            });
        }
    }
    if code == PROBLEM && !mend && !json {
        super::print(
            "a damaged file is fetched again when a stream meets it, or with `tideway relay verify --mend` \
             while the worker runs",
        )?;
    }
    Ok(code)
}

/// Has the worker fetch a file again; one that does not come is told, and the next one is tried.
fn mend_file(config: &Config, source: &str, file: RelayFileFigure, json: bool) -> Result<u8> {
    let about = json!({ "source": source, "folder": file.folder, "name": file.name });
    let command = Command::RefetchRelay {
        source: source.to_owned(),
        folder: file.folder,
        file: file.name,
    };
    let reply = ctl::ask(&config.worker.data_dir, command)?;
    if json {
        super::print_json(&joined(about, &reply)?)?;
    } else if let Reply::Done { message } = &reply {
        super::print(message)?;
    }
    let Some(error) = ctl::failure(reply) else {
        return Ok(FINE);
    };
    if !json {
        // Nobody is left to be told of a closed stderr.
        let _ = writeln!(std::io::stderr(), "{}", error.report());
    }
    Ok(super::exit_code(&error))
}

/// An object with what another value has as well.
fn joined(
    mut object: serde_json::Value,
    more: &impl serde::Serialize,
) -> Result<serde_json::Value> {
    let more = serde_json::to_value(more).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the result could not be written as JSON",
        )
        .with_source(error)
    })?;
    if let (Some(object), serde_json::Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    Ok(object)
}

fn show(source: &str, report: &FileReport, json: bool) -> Result<()> {
    if json {
        return super::print_json(&joined(json!({ "source": source }), report)?);
    }
    let file = &report.file;
    let state = match (&report.damage, report.whole_to) {
        (None, None) => "whole".to_owned(),
        (None, Some(end)) => format!(
            "whole up to {end}; the rest is being written, or is cut off when the worker starts"
        ),
        (Some(damage), _) => format!("damaged at {}: {}", damage.offset, damage.what),
    };
    super::print(&format!("{source}  {}/{}  {state}", file.folder, file.name))
}
