//! Themes: TOML files of named styles. Those of `themes/` are compiled in; a file of the same form may
//! be named instead.
//!
//! A key or colour that is not known is an error with file and line, never a silent default.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ratatui::style::{Color, Modifier, Style};
use toml::de::{DeTable, DeValue};

use crate::model::{Error, ErrorKind, Result};
use crate::terminal::ColorDepth;

/// Themes that are compiled in.
const SHIPPED: [(&str, &str); 6] = [
    ("default", include_str!("../../themes/default.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("dark", include_str!("../../themes/dark.toml")),
    (
        "high-contrast",
        include_str!("../../themes/high-contrast.toml"),
    ),
    ("blue-orange", include_str!("../../themes/blue-orange.toml")),
    ("mono", include_str!("../../themes/mono.toml")),
];

/// Themes that inherit from each other in a ring are cut off here.
const MAX_DEPTH: usize = 8;

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $name:literal,)*) => {
        /// What a style is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role { $($(#[$doc])* $role,)* }

        impl Role {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$role,)*];

            /// The key in a theme's file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$role => $name,)* }
            }
        }
    };
}

roles! {
    /// Plain text.
    Text = "text",
    /// Text of less weight: labels, rules.
    Dim = "text.dim",
    /// Headings.
    Title = "text.title",
    /// A pane's border.
    Border = "border",
    /// The focused pane's border.
    BorderFocus = "border.focus",
    /// The selected line.
    Select = "select",
    /// A tab.
    Tab = "tab",
    /// The tab of the screen in front.
    TabActive = "tab.active",
    /// A key in the key line.
    Key = "key",
    /// Waiting.
    StateWait = "state.wait",
    /// Running.
    StateRun = "state.run",
    /// Pausing or paused.
    StatePaused = "state.paused",
    /// Failed.
    StateFailed = "state.failed",
    /// Finished.
    StateDone = "state.done",
    /// Stopped.
    StateStopped = "state.stopped",
    /// All right.
    Ok = "ok",
    /// Worth knowing.
    Warn = "warn",
    /// Wrong.
    Error = "error",
    /// Data that is too old.
    Stale = "stale",
    /// The done part of a gauge.
    Gauge = "gauge",
    /// The rest of a gauge.
    GaugeRest = "gauge.rest",
    /// A sparkline.
    Sparkline = "sparkline",
    /// A value before.
    DiffBefore = "diff.before",
    /// A value after.
    DiffAfter = "diff.after",
    /// The mark of a value that changed.
    DiffChanged = "diff.changed",
}

/// A theme, its colours brought down to what the terminal has.
#[derive(Clone, Debug)]
pub struct Theme {
    styles: Vec<Style>,
}

impl Theme {
    /// The theme of that name or file: a path, a file in `~/.config/tideway/themes`, or a shipped one.
    pub fn load(name: &str, depth: ColorDepth) -> Result<Self> {
        let mut styles = BTreeMap::new();
        collect(name, None, 0, &BTreeMap::new(), &mut styles)?;
        Ok(Self::from_styles(&styles, depth))
    }

    fn from_styles(styles: &BTreeMap<Role, Style>, depth: ColorDepth) -> Self {
        let of = |role: &Role| {
            let style = styles.get(role).copied().unwrap_or_default();
            Style {
                fg: style.fg.map(|color| reduce(color, depth)),
                bg: style.bg.map(|color| reduce(color, depth)),
                ..style
            }
        };
        Self {
            styles: Role::ALL.iter().map(of).collect(),
        }
    }

    /// The style for `role`.
    pub fn style(&self, role: Role) -> Style {
        // `ALL` is in the order of declaration.
        self.styles.get(role as usize).copied().unwrap_or_default()
    }
}

/// Colours by their names in `[palette]`.
type Palette = BTreeMap<String, Color>;

/// Reads `name` and what it inherits from into `styles`; nearer ones win, and so do the colours of
/// `nearer`, which those that inherit from `name` have named.
fn collect(
    name: &str,
    beside: Option<&Path>,
    depth: usize,
    nearer: &Palette,
    styles: &mut BTreeMap<Role, Style>,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::Config,
            format!("theme `{name}` inherits from itself"),
        )
        .with_fix("take one `inherits` out of the ring"));
    }
    let (file, text) = read(name, beside)?;
    let path = Path::new(&file);
    let parsed = parse(&file, &text, nearer)?;
    if let Some(parent) = parsed.inherits {
        collect(&parent, path.parent(), depth + 1, &parsed.palette, styles)?;
    }
    styles.extend(parsed.styles);
    Ok(())
}

/// The theme's file name, for messages, and its text.
fn read(name: &str, beside: Option<&Path>) -> Result<(String, String)> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if name.contains('/') || Path::new(name).extension().is_some_and(|e| e == "toml") {
        candidates.push(PathBuf::from(name));
    } else {
        if let Some(folder) = beside.filter(|folder| !folder.as_os_str().is_empty()) {
            candidates.push(folder.join(format!("{name}.toml")));
        }
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        if let Some(config) = config {
            candidates.push(config.join("tideway/themes").join(format!("{name}.toml")));
        }
    }
    for path in &candidates {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok((path.display().to_string(), text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("read", path, error)),
        }
    }
    if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Ok((format!("themes/{name}.toml (built in)"), (*text).to_owned()));
    }
    let names = SHIPPED.map(|(name, _)| format!("`{name}`")).join(", ");
    Err(
        Error::new(ErrorKind::Config, format!("there is no theme `{name}`")).with_fix(format!(
            "set `console.theme` to {names}, or to the path of a theme's file"
        )),
    )
}

/// What one file says.
#[derive(Debug, Default)]
struct Parsed {
    inherits: Option<String>,
    palette: Palette,
    styles: BTreeMap<Role, Style>,
}

/// Where in which file, for messages.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, span: &Range<usize>, message: impl AsRef<str>) -> Error {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Error::new(
            ErrorKind::Config,
            format!("{}:{line}: {}", self.file, message.as_ref()),
        )
    }
}

fn parse(file: &str, text: &str, nearer: &Palette) -> Result<Parsed> {
    let source = Source { file, text };
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        source.error(&span, error.message())
    })?;
    let mut palette = Palette::new();
    if let Some(value) = table.get_ref().get("palette") {
        let DeValue::Table(colors) = value.get_ref() else {
            return Err(source.error(&value.span(), "`palette` must be a table of colours"));
        };
        for (name, value) in colors {
            let color = color(&source, &Palette::new(), value)?;
            palette.insert(name.get_ref().to_string(), color);
        }
    }
    palette.extend(nearer.clone());
    let mut parsed = Parsed::default();
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "palette" => {}
            "inherits" => match value.get_ref() {
                DeValue::String(name) => parsed.inherits = Some(name.to_string()),
                _ => return Err(source.error(&value.span(), "`inherits` must be a name")),
            },
            name => {
                let Some(role) = Role::ALL.iter().find(|role| role.name() == name) else {
                    return Err(unknown_key(&source, &key.span(), name));
                };
                parsed
                    .styles
                    .insert(*role, style(&source, &palette, value)?);
            }
        }
    }
    parsed.palette = palette;
    Ok(parsed)
}

fn unknown_key(source: &Source<'_>, span: &Range<usize>, name: &str) -> Error {
    let nearest = Role::ALL
        .iter()
        .map(|role| role.name())
        .chain(["palette", "inherits"])
        .min_by_key(|known| strsim::damerau_levenshtein(name, known))
        .unwrap_or_default();
    source
        .error(span, format!("`{name}` is not a style"))
        .with_fix(format!("the nearest is `{nearest}`"))
}

type Value<'a> = toml::Spanned<DeValue<'a>>;

fn style(source: &Source<'_>, palette: &Palette, value: &Value<'_>) -> Result<Style> {
    let DeValue::Table(parts) = value.get_ref() else {
        return Ok(Style::new().fg(color(source, palette, value)?));
    };
    let mut style = Style::new();
    for (key, value) in parts {
        match key.get_ref().as_ref() {
            "fg" => style = style.fg(color(source, palette, value)?),
            "bg" => style = style.bg(color(source, palette, value)?),
            "modifiers" => {
                let list = value.get_ref().as_array().ok_or_else(|| {
                    source.error(&value.span(), "`modifiers` must be a list of words")
                })?;
                for word in list {
                    style = style.add_modifier(modifier(source, word)?);
                }
            }
            other => {
                return Err(source.error(
                    &key.span(),
                    format!("`{other}` is not part of a style; there are `fg`, `bg`, `modifiers`"),
                ));
            }
        }
    }
    Ok(style)
}

fn modifier(source: &Source<'_>, word: &Value<'_>) -> Result<Modifier> {
    Ok(match word.get_ref().as_str() {
        Some("bold") => Modifier::BOLD,
        Some("dim") => Modifier::DIM,
        Some("italic") => Modifier::ITALIC,
        Some("underlined") => Modifier::UNDERLINED,
        Some("reversed") => Modifier::REVERSED,
        _ => {
            return Err(source.error(
                &word.span(),
                "not a modifier; there are `bold`, `dim`, `italic`, `underlined`, `reversed`",
            ));
        }
    })
}

/// The 16, by name, in the order of their numbers.
const NAMED: [(&str, Color); 17] = [
    ("black", Color::Black),
    ("red", Color::Red),
    ("green", Color::Green),
    ("yellow", Color::Yellow),
    ("blue", Color::Blue),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("white", Color::Gray),
    ("bright-black", Color::DarkGray),
    ("bright-red", Color::LightRed),
    ("bright-green", Color::LightGreen),
    ("bright-yellow", Color::LightYellow),
    ("bright-blue", Color::LightBlue),
    ("bright-magenta", Color::LightMagenta),
    ("bright-cyan", Color::LightCyan),
    ("bright-white", Color::White),
    ("default", Color::Reset),
];

fn color(source: &Source<'_>, palette: &Palette, value: &Value<'_>) -> Result<Color> {
    let wrong = |text: &str| {
        source.error(
            &value.span(),
            format!(
                "`{text}` is not a colour: a name of the palette, one of the 16 such as `red` or \
                 `bright-red`, 0 to 255, `#rrggbb`, or `default`"
            ),
        )
    };
    match value.get_ref() {
        DeValue::String(text) => {
            if let Some(color) = palette.get(text.as_ref()) {
                return Ok(*color);
            }
            if let Some((_, color)) = NAMED.iter().find(|(name, _)| *name == text.as_ref()) {
                return Ok(*color);
            }
            text.strip_prefix('#')
                .filter(|hex| hex.len() == 6)
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .map(|rgb| Color::Rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8))
                .ok_or_else(|| wrong(text))
        }
        DeValue::Integer(number) => number
            .as_str()
            .parse::<u8>()
            .map(Color::Indexed)
            .map_err(|_| wrong(number.as_str())),
        _ => Err(wrong("this")),
    }
}

/// `color` with no more colours than the terminal has.
fn reduce(color: Color, depth: ColorDepth) -> Color {
    match (color, depth) {
        (_, ColorDepth::None) => Color::Reset,
        (Color::Rgb(r, g, b), ColorDepth::Ansi256) => Color::Indexed(cube(r, g, b)),
        (Color::Rgb(r, g, b), ColorDepth::Ansi16) => nearest_of_16(r, g, b),
        (Color::Indexed(index), ColorDepth::Ansi16) => match index {
            0..16 => NAMED[usize::from(index)].1,
            16..232 => {
                let level = |n: u8| if n == 0 { 0 } else { 55 + n * 40 };
                let n = index - 16;
                nearest_of_16(level(n / 36), level(n / 6 % 6), level(n % 6))
            }
            232.. => {
                let gray = 8 + (index - 232) * 10;
                nearest_of_16(gray, gray, gray)
            }
        },
        (color, _) => color,
    }
}

/// The nearest of xterm's cube of 6 x 6 x 6.
fn cube(r: u8, g: u8, b: u8) -> u8 {
    let level = |v: u8| match v {
        0..48 => 0,
        48..115 => 1,
        _ => (v - 35) / 40,
    };
    16 + 36 * level(r) + 6 * level(g) + level(b)
}

/// The nearest of the 16 as xterm shows them.
fn nearest_of_16(r: u8, g: u8, b: u8) -> Color {
    const SHOWN: [(u8, u8, u8); 16] = [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ];
    let distance = |(x, y, z): (u8, u8, u8)| {
        let part = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2);
        part(r, x) + part(g, y) + part(b, z)
    };
    SHOWN
        .iter()
        .zip(NAMED)
        .min_by_key(|(shown, _)| distance(**shown))
        .map_or(Color::Reset, |(_, (_, color))| color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_themes_are_whole() {
        for (name, _) in SHIPPED {
            let mut styles = BTreeMap::new();
            collect(name, None, 0, &Palette::new(), &mut styles).unwrap();
            for role in Role::ALL {
                assert!(styles.contains_key(role), "{name}: {}", role.name());
            }
        }
    }

    /// How much lighter one is than the other, by the web's accessibility guidelines.
    fn contrast(a: Color, b: Color) -> f64 {
        let light = |color| {
            let Color::Rgb(red, green, blue) = color else {
                panic!("{color:?} is not of 24 bits");
            };
            let part = |v: u8| {
                let v = f64::from(v) / 255.0;
                if v <= 0.040_45 {
                    v / 12.92
                } else {
                    ((v + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue)
        };
        let (a, b) = (light(a), light(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn everything_can_be_read() {
        for name in ["light", "dark", "blue-orange"] {
            let theme = Theme::load(name, ColorDepth::Rgb).unwrap();
            let text = theme.style(Role::Text);
            let paper = text.bg.unwrap();
            for role in Role::ALL {
                let style = theme.style(*role);
                let fg = style.fg.or(text.fg).unwrap();
                let bg = style.bg.unwrap_or(paper);
                let ratio = contrast(fg, bg);
                assert!(ratio >= 4.5, "{name}: {} has {ratio:.2}", role.name());
                // The selected line keeps the colours of what is on it.
                if style.bg.is_none() {
                    let selected = theme.style(Role::Select).bg.unwrap();
                    let ratio = contrast(fg, selected);
                    assert!(
                        ratio >= 4.5,
                        "{name}: {} selected has {ratio:.2}",
                        role.name()
                    );
                }
            }
        }
    }

    #[test]
    fn faults_name_file_and_line() {
        let check = |text: &str, expected: &str| {
            let error = parse("t.toml", text, &Palette::new()).unwrap_err();
            assert!(error.message().contains(expected), "{}", error.message());
        };
        check(
            "text = \"red\"\ntxet = \"red\"\n",
            "t.toml:2: `txet` is not a style",
        );
        check("text = \"rde\"", "t.toml:1: `rde` is not a colour");
        check("\ntext = { fg = 300 }", "t.toml:2: `300` is not a colour");
        check("text = { bold = true }", "`bold` is not part of a style");
        check("text = ", "t.toml:1");
        check("inherits = 3", "`inherits` must be a name");
        assert!(Theme::load("no-such", ColorDepth::Rgb).is_err());
    }

    #[test]
    fn palette_and_depth() {
        let parsed = parse(
            "t",
            "text = \"sea\"\nselect = { bg = 196 }\n[palette]\nsea = \"#00cdcd\"\n",
            &Palette::new(),
        )
        .unwrap();
        let at = |depth| {
            Theme::from_styles(&parsed.styles, depth)
                .style(Role::Text)
                .fg
        };
        assert_eq!(at(ColorDepth::Rgb), Some(Color::Rgb(0, 205, 205)));
        assert_eq!(at(ColorDepth::Ansi256), Some(Color::Indexed(44)));
        assert_eq!(at(ColorDepth::Ansi16), Some(Color::Cyan));
        assert_eq!(at(ColorDepth::None), Some(Color::Reset));
        let select = Theme::from_styles(&parsed.styles, ColorDepth::Ansi16).style(Role::Select);
        assert_eq!(select.bg, Some(Color::LightRed));
    }
}
