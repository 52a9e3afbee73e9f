//! Tells the binary which commit it was built from, for `--version`.

use std::path::Path;
use std::process::Command;

/// What a `git` command prints, if there is a `git` and a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    // A path that does not exist would make cargo run this at every build.
    if let Some(log) =
        git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|p| Path::new(p).exists())
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["describe", "--always", "--abbrev=12", "--exclude=*"]);
    println!(
        "cargo::rustc-env=TIDEWAY_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}
