//! The terminal the console is drawn on: taken over, read, written without ever waiting for it, and
//! given back whatever happens.
//!
//! Called by `ui`'s loop, and by `app` before it. Knows nothing of what is drawn.

pub mod clipboard;
pub mod color;
pub mod input;
pub mod output;
pub mod password;
pub mod restore;
pub mod setup;
pub mod signals;
pub mod watch;

pub use color::ColorDepth;
pub use input::Reader;
pub use output::Output;
pub use password::ask_password;
pub use restore::{install_panic_hook, restore};
pub use setup::Guard;
pub use signals::{Signal, Signals};
