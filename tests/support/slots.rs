//! At most eight servers at a time, over all threads and all test processes of this user.
//!
//! A slot is a locked file: the system gives it back when its holder dies.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

/// How many servers fit.
const SLOTS: usize = 8;

/// A right to run one server; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _file: File,
}

/// Waits for `count` slots and takes them together.
///
/// One waits at a time, behind a gate: two that each hold a part of what they need cannot block each
/// other, as long as a test takes all its servers in one call.
pub(crate) fn take(count: usize) -> Vec<Slot> {
    assert!(count <= SLOTS, "{count} servers at once; {SLOTS} fit");
    let gate = open("gate");
    gate.lock().expect("cannot lock the gate");
    let files: Vec<File> = (0..SLOTS).map(|n| open(&n.to_string())).collect();
    let mut taken = Vec::with_capacity(count);
    let mut free: Vec<File> = files;
    loop {
        let mut busy = Vec::new();
        for file in free {
            if taken.len() == count {
                break;
            }
            match file.try_lock() {
                Ok(()) => taken.push(Slot { _file: file }),
                Err(TryLockError::WouldBlock) => busy.push(file),
                Err(TryLockError::Error(error)) => panic!("cannot lock a slot: {error}"),
            }
        }
        if taken.len() == count {
            return taken;
        }
        free = busy;
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn open(name: &str) -> File {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("cannot make the folder of the slots");
    let path = folder.join(name);
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("cannot open `{}`: {error}", path.display()))
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!(
        "tideway-slots-{}",
        rustix::process::getuid().as_raw()
    ))
}
