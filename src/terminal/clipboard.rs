//! Copying to the clipboard of whoever sits at the terminal, however far away: OSC 52.
//!
//! tmux and screen swallow the sequence unless it is wrapped for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Terminals drop longer sequences: xterm's own limit, in bytes of base64.
pub const LIMIT_BYTES: usize = 74_994;

/// screen passes on at most this many bytes of one device control string.
const SCREEN_PART_BYTES: usize = 76;

/// What sits between us and the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Nothing.
    Plain,
    /// tmux.
    Tmux,
    /// GNU screen.
    Screen,
}

/// What the environment says sits in between.
pub fn wrapping(variable: impl Fn(&str) -> Option<String>) -> Wrapping {
    let value = |name: &str| variable(name).unwrap_or_default();
    if !value("TMUX").is_empty() {
        Wrapping::Tmux
    } else if !value("STY").is_empty() || value("TERM").starts_with("screen") {
        Wrapping::Screen
    } else {
        Wrapping::Plain
    }
}

/// The bytes that put `text` on the clipboard; `None` where it is too long for one.
pub fn sequence(text: &str, wrapping: Wrapping) -> Option<Vec<u8>> {
    let encoded = STANDARD.encode(text);
    if encoded.len() > LIMIT_BYTES {
        return None;
    }
    let inner = format!("\x1b]52;c;{encoded}\x1b\\");
    Some(match wrapping {
        Wrapping::Plain => inner.into_bytes(),
        // tmux wants each escape within the wrapping doubled.
        Wrapping::Tmux => {
            format!("\x1bPtmux;{}\x1b\\", inner.replace('\x1b', "\x1b\x1b")).into_bytes()
        }
        // screen ends the string at the first terminator it sees, so ours is BEL, and passes on
        // the parts one after the other.
        Wrapping::Screen => {
            let inner = format!("\x1b]52;c;{encoded}\x07");
            let mut out = Vec::with_capacity(inner.len() * 2);
            for part in inner.as_bytes().chunks(SCREEN_PART_BYTES) {
                out.extend_from_slice(b"\x1bP");
                out.extend_from_slice(part);
                out.extend_from_slice(b"\x1b\\");
            }
            out
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_exact() {
        let text = "GRANT SELECT ON `shop`.* TO `t`@`%`;\n";
        let encoded = STANDARD.encode(text);
        assert_eq!(
            sequence(text, Wrapping::Plain).unwrap(),
            format!("\x1b]52;c;{encoded}\x1b\\").into_bytes()
        );
        let tmux = String::from_utf8(sequence(text, Wrapping::Tmux).unwrap()).unwrap();
        assert_eq!(
            tmux,
            format!("\x1bPtmux;\x1b\x1b]52;c;{encoded}\x1b\x1b\\\x1b\\")
        );
        let screen = String::from_utf8(sequence(text, Wrapping::Screen).unwrap()).unwrap();
        let joined: String = screen
            .split("\x1b\\")
            .map(|part| part.strip_prefix("\x1bP").unwrap_or(part))
            .collect();
        assert_eq!(joined, format!("\x1b]52;c;{encoded}\x07"));
    }

    #[test]
    fn too_long_is_refused() {
        assert!(sequence(&"x".repeat(60_000), Wrapping::Plain).is_none());
        assert!(sequence(&"x".repeat(50_000), Wrapping::Plain).is_some());
    }
}
