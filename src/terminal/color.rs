//! How many colours the terminal has, and whether it can show more than ASCII: from the environment.

/// How many colours may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColorDepth {
    /// None: bold, reverse and underline only.
    None,
    /// The terminal's own 16.
    Ansi16,
    /// The 256 of xterm.
    Ansi256,
    /// 24 bits.
    Rgb,
}

/// What the environment says of the terminal's colours. `NO_COLOR`, if set and not empty, rules.
pub fn detect(variable: impl Fn(&str) -> Option<String>) -> ColorDepth {
    let value = |name: &str| variable(name).unwrap_or_default();
    if !value("NO_COLOR").is_empty() {
        return ColorDepth::None;
    }
    let term = value("TERM");
    if term.is_empty() || term == "dumb" || term.contains("mono") {
        return ColorDepth::None;
    }
    let color_term = value("COLORTERM");
    if color_term == "truecolor" || color_term == "24bit" || term.contains("direct") {
        ColorDepth::Rgb
    } else if term.contains("256color") {
        ColorDepth::Ansi256
    } else {
        ColorDepth::Ansi16
    }
}

/// Whether the locale's character set is UTF-8, by the same precedence as the C library's.
pub fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .filter_map(|name| variable(name))
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(pairs: &[(&str, &str)]) -> ColorDepth {
        detect(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_color_rules() {
        let all = [
            ("NO_COLOR", "1"),
            ("TERM", "xterm-256color"),
            ("COLORTERM", "truecolor"),
        ];
        assert_eq!(depth(&all), ColorDepth::None);
        assert_eq!(depth(&all[1..]), ColorDepth::Rgb);
        assert_eq!(depth(&all[1..2]), ColorDepth::Ansi256);
        assert_eq!(depth(&[("TERM", "linux")]), ColorDepth::Ansi16);
        assert_eq!(depth(&[("TERM", "dumb")]), ColorDepth::None);
        assert_eq!(depth(&[]), ColorDepth::None);
    }

    #[test]
    fn locale_precedence() {
        let check = |lc_all: &str, lang: &str| {
            is_utf8(|name| match name {
                "LC_ALL" => Some(lc_all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert!(check("", "de_DE.UTF-8"));
        assert!(!check("C", "de_DE.UTF-8"));
        assert!(check("C.utf8", ""));
        assert!(!check("", ""));
    }
}
