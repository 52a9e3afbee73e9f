//! What opens above a screen.

pub mod accept;
pub mod copy_as;
pub mod decide;
pub mod help;
pub mod journal;
pub mod leave;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget as _};

use super::view::View;
use super::widget::pane::{self, Content};

/// Draws `content` in a box of at most `columns` x `rows` in the middle of `area`.
fn draw_box(
    view: &View<'_>,
    content: &Content,
    (columns, rows): (u16, u16),
    area: Rect,
    buffer: &mut Buffer,
) {
    let columns = columns.min(area.width);
    let rows = rows.min(area.height);
    let place = Rect::new(
        area.x + (area.width - columns) / 2,
        area.y + (area.height - rows) / 2,
        columns,
        rows,
    );
    Clear.render(place, buffer);
    buffer.set_style(place, view.style(crate::ui::theme::Role::Text));
    pane::draw(view, content, place, true, buffer);
}
