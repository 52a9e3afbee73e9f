//! A pane: a border with a title, and a window on lines of text that follows the cursor.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Widget as _};

use crate::ui::format;
use crate::ui::theme::Role;
use crate::ui::view::View;

/// What a pane shows.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// On the left of the border's top.
    pub title: String,
    /// On its right.
    pub note: String,
    /// A line that does not move.
    pub header: Option<Line<'static>>,
    /// The lines.
    pub lines: Vec<Line<'static>>,
    /// Where the window is.
    pub window: Window,
}

/// Which of its lines a pane shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// From this line on, as far as there are lines to fill the pane.
    #[default]
    Start,
    /// From this line on.
    From(usize),
    /// So that this line, which is marked, is in it.
    Around(usize),
    /// The last ones.
    End,
}

impl Content {
    /// Lines under a title.
    pub fn new(title: impl Into<String>, lines: Vec<Line<'static>>) -> Self {
        Self {
            title: title.into(),
            lines,
            ..Self::default()
        }
    }

    /// With a text at the right of the border.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// With a heading.
    #[must_use]
    pub fn header(mut self, header: Line<'static>) -> Self {
        self.header = Some(header);
        self
    }

    /// With a window.
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }
}

/// The columns within a pane of `columns`, where a list's mark takes one.
pub fn list_width(columns: u16) -> usize {
    usize::from(columns.saturating_sub(3))
}

/// The columns within a pane of `columns`.
pub fn text_width(columns: u16) -> usize {
    usize::from(columns.saturating_sub(2))
}

/// The first line shown of `total` in a window of `height`.
pub fn first_line(window: Window, total: usize, height: usize) -> usize {
    let last = total.saturating_sub(height);
    match window {
        Window::Start => 0,
        Window::From(line) => line.min(last),
        Window::Around(line) => line.saturating_sub(height / 2).min(last),
        Window::End => last,
    }
}

/// Draws `content` into `area`.
pub fn draw(view: &View<'_>, content: &Content, area: Rect, is_focused: bool, buffer: &mut Buffer) {
    if area.width < 3 || area.height < 2 {
        return;
    }
    let border = view.style(if is_focused {
        Role::BorderFocus
    } else {
        Role::Border
    });
    let block = Block::bordered()
        .border_set(view.looks.glyphs.border)
        .border_style(border);
    let inner = block.inner(area);
    block.render(area, buffer);

    let room = usize::from(area.width) - 2;
    let stale = view
        .state
        .stale_seconds()
        .map(|seconds| {
            format!(
                " stale {} ",
                format::duration(std::time::Duration::from_secs(seconds))
            )
        })
        .unwrap_or_default();
    let stale_width = format::width(&stale).min(room);
    let mark = if is_focused { ">" } else { " " };
    let title = format::cut(
        &format!("{mark}{} ", content.title),
        room - stale_width,
        view.cut(),
    );
    let title_width = format::width(&title);
    let title_role = if is_focused {
        Role::BorderFocus
    } else {
        Role::Title
    };
    buffer.set_stringn(area.x + 1, area.y, &title, room, view.style(title_role));
    let left = room - title_width - stale_width;
    if !stale.is_empty() {
        let at = area.right() - 1 - stale_width as u16;
        buffer.set_stringn(at, area.y, &stale, stale_width, view.style(Role::Stale));
    }
    if !content.note.is_empty() && left > 4 {
        let note = format::cut(&format!(" {} ", content.note), left - 1, view.cut());
        let at = area.right() - 1 - (stale_width + format::width(&note)) as u16;
        buffer.set_stringn(at, area.y, &note, left, view.style(Role::Dim));
    }
    lines(view, content, inner, buffer);
}

fn lines(view: &View<'_>, content: &Content, inner: Rect, buffer: &mut Buffer) {
    if inner.is_empty() {
        return;
    }
    let mut y = inner.y;
    let marked = match content.window {
        Window::Around(line) => Some(line),
        _ => None,
    };
    // A list's lines leave a column for the mark, so its heading does too.
    let indent = u16::from(marked.is_some()).min(inner.width);
    let width = inner.width - indent;
    if let Some(header) = &content.header {
        put(view, header, (inner.x + indent, y), width, buffer);
        y += 1;
    }
    let height = usize::from(inner.bottom().saturating_sub(y));
    let first = first_line(content.window, content.lines.len(), height);
    for (at, line) in content.lines.iter().enumerate().skip(first).take(height) {
        if marked == Some(at) {
            let row = Rect::new(inner.x, y, inner.width, 1);
            buffer.set_line(inner.x, y, &Line::from(Span::raw(">")), 1);
            put(view, line, (inner.x + indent, y), width, buffer);
            buffer.set_style(row, view.style(Role::Select));
        } else {
            put(view, line, (inner.x + indent, y), width, buffer);
        }
        y += 1;
    }
    let below = content.lines.len().saturating_sub(first + height);
    if below > 0 {
        more(view, below, inner, buffer);
    }
}

/// Writes `line` into `width` columns, with the mark at their end if it is longer.
fn put(view: &View<'_>, line: &Line<'_>, (x, y): (u16, u16), width: u16, buffer: &mut Buffer) {
    buffer.set_line(x, y, line, width);
    // Blanks that pad a line to its column may go without a word.
    let text: String = line
        .spans
        .iter()
        .map(|span| span.content.as_ref())
        .collect();
    let mark = view.cut();
    let taken = format::width(mark);
    if format::width(text.trim_end()) > usize::from(width) && taken < usize::from(width) {
        // What stands before the mark must not be half of a wide character.
        let spans = cut_spans(line, usize::from(width) - taken);
        let end = spans.last().map(|span| span.style).unwrap_or_default();
        let mut cut = Line::from(spans).style(line.style);
        cut.spans.push(Span::styled(mark, end));
        let used = cut.width();
        cut.spans.push(Span::raw(
            " ".repeat(usize::from(width).saturating_sub(used)),
        ));
        buffer.set_line(x, y, &cut, width);
    }
}

/// The spans of `line` within `columns`.
fn cut_spans(line: &Line<'_>, columns: usize) -> Vec<Span<'static>> {
    let mut left = columns;
    let mut spans = Vec::new();
    for span in &line.spans {
        let part = format::cut(&span.content, left, "");
        let is_whole = part.len() == span.content.len();
        left -= format::width(&part).min(left);
        spans.push(Span::styled(part, span.style));
        if !is_whole {
            break;
        }
    }
    spans
}

/// Says on the border how many lines are below the window.
fn more(view: &View<'_>, below: usize, inner: Rect, buffer: &mut Buffer) {
    let text = format!(" {below} more ");
    let width = format::width(&text);
    if width < usize::from(inner.width) {
        let at = inner.right() - width as u16;
        buffer.set_stringn(at, inner.bottom(), &text, width, view.style(Role::Dim));
    }
}
