//! The door over a Unix socket, for `tideway status` and `tideway ctl`: one JSON object a line each
//! way. The socket is in the data folder, which only its owner can enter.

pub mod client;
pub mod server;
mod wire;

pub use client::Client;
pub use server::Server;

use std::fs::File;
use std::path::{Path, PathBuf};

use std::os::fd::AsRawFd as _;

use crate::model::{Error, Result};

/// The socket's name in the data folder.
const SOCKET: &str = "control.sock";

/// A socket's path may have 107 bytes (`unix(7)`).
const PATH_LIMIT: usize = 107;

/// The socket's path for the system: through an open folder where the plain path is too long. The
/// folder must stay open while the path is used.
fn socket_path(data_dir: &Path) -> Result<(PathBuf, Option<File>)> {
    let plain = data_dir.join(SOCKET);
    if plain.as_os_str().len() <= PATH_LIMIT {
        return Ok((plain, None));
    }
    let folder =
        File::open(data_dir).map_err(|error| Error::file("open the folder", data_dir, error))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((path, Some(folder)))
}
