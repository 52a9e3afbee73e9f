//! How a file is packed.

use serde::{Deserialize, Serialize};

/// The ways of packing that dumps know; the end of a file's name tells which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// As it is.
    #[default]
    None,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

impl Packing {
    /// What the name of such a file ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// The packing that a file's name tells, and the name without its end.
    pub fn of_name(name: &str) -> (Self, &str) {
        for packing in [Self::Gzip, Self::Zstd] {
            if let Some(plain) = name.strip_suffix(packing.suffix()) {
                return (packing, plain);
            }
        }
        (Self::None, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        assert_eq!(Packing::of_name("a.b.sql"), (Packing::None, "a.b.sql"));
        for packing in [Packing::Gzip, Packing::Zstd] {
            let name = format!("a.b.sql{}", packing.suffix());
            assert_eq!(Packing::of_name(&name), (packing, "a.b.sql"));
        }
    }
}
