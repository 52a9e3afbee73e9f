//! Tables: columns that give way by priority when there is little room, never by being cut to
//! nothing.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::ui::format;

/// Where a cell's text goes when it is shorter or longer than the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Left; cut at the end.
    Left,
    /// Left; cut in front, where the end tells more (positions).
    LeftKeepEnd,
    /// Right; cut at the end.
    Right,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// It is dropped, if it may be, rather than made narrower than this.
    pub least: usize,
    /// It is not made wider than this.
    pub most: usize,
    /// Where its text goes.
    pub align: Align,
    /// Columns of a higher rank are dropped first; rank 0 never.
    pub rank: u8,
}

/// A column of text, left.
pub const fn text(title: &'static str, least: usize, most: usize, rank: u8) -> Column {
    Column {
        title,
        least,
        most,
        align: Align::Left,
        rank,
    }
}

/// A column of positions.
pub const fn place(title: &'static str, least: usize, most: usize, rank: u8) -> Column {
    Column {
        title,
        least,
        most,
        align: Align::LeftKeepEnd,
        rank,
    }
}

/// A column of figures, right.
pub const fn figure(title: &'static str, least: usize, rank: u8) -> Column {
    Column {
        title,
        least,
        most: 16,
        align: Align::Right,
        rank,
    }
}

/// A cell: text made harmless, and its style.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell.
    pub fn new(text: &str, style: Style) -> Self {
        Self {
            text: format::clean(text).into_owned(),
            style,
        }
    }
}

/// The heading and the lines of a table that is `width` wide.
pub fn lines(
    columns: &[Column],
    rows: &[Vec<Cell>],
    width: usize,
    heading: Style,
    mark: &str,
) -> (Line<'static>, Vec<Line<'static>>) {
    let (widths, gap) = fit(columns, rows, width);
    let shown: Vec<(usize, &Column, usize)> = columns
        .iter()
        .enumerate()
        .zip(&widths)
        .filter_map(|((at, column), width)| width.map(|width| (at, column, width)))
        .collect();
    let line = |cell: &dyn Fn(usize, &Column) -> (String, Style)| {
        let mut spans = Vec::with_capacity(shown.len() * 2);
        for (position, (at, column, width)) in shown.iter().enumerate() {
            if position > 0 {
                spans.push(Span::raw(" ".repeat(gap)));
            }
            let (text, style) = cell(*at, column);
            spans.push(Span::styled(
                place_text(&text, column.align, *width, mark),
                style,
            ));
        }
        Line::from(spans)
    };
    let header = line(&|_, column| (column.title.to_owned(), heading));
    let body = rows
        .iter()
        .map(|row| {
            line(&|at, _| {
                row.get(at)
                    .map(|cell| (cell.text.clone(), cell.style))
                    .unwrap_or_default()
            })
        })
        .collect();
    (header, body)
}

fn place_text(text: &str, align: Align, width: usize, mark: &str) -> String {
    match align {
        Align::Left => format::pad(format::cut(text, width, mark), width),
        Align::LeftKeepEnd => format::pad(format::cut_front(text, width, mark), width),
        Align::Right => format::pad_front(&format::cut(text, width, mark), width),
    }
}

/// Each column's width, `None` where it is dropped; and the gap between columns.
fn fit(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> (Vec<Option<usize>>, usize) {
    let natural: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(|cell| format::width(&cell.text))
                .chain([format::width(column.title)])
                .max()
                .unwrap_or(0)
                .min(column.most)
        })
        .collect();
    // What is short anyway needs no more than it has.
    let leasts: Vec<usize> = columns
        .iter()
        .zip(&natural)
        .map(|(column, natural)| column.least.min(*natural))
        .collect();
    let mut is_shown = vec![true; columns.len()];
    let least = |is_shown: &[bool]| {
        let shown = leasts.iter().zip(is_shown).filter(|(_, shown)| **shown);
        let (count, sum) = shown.fold((0usize, 0usize), |(count, sum), (least, _)| {
            (count + 1, sum + least)
        });
        sum + count.saturating_sub(1)
    };
    while least(&is_shown) > width {
        let droppable = columns
            .iter()
            .enumerate()
            .filter(|(at, column)| is_shown[*at] && column.rank > 0)
            .max_by_key(|(at, column)| (column.rank, *at));
        match droppable {
            Some((at, _)) => is_shown[at] = false,
            None => break,
        }
    }
    let mut widths: Vec<Option<usize>> = natural
        .iter()
        .zip(&is_shown)
        .map(|(width, shown)| shown.then_some(*width))
        .collect();
    let count = is_shown.iter().filter(|shown| **shown).count();
    let total = |widths: &[Option<usize>]| widths.iter().flatten().sum::<usize>();
    let gaps = count.saturating_sub(1);
    let gap = if total(&widths) + gaps * 2 <= width {
        2
    } else {
        1
    };
    // The column with the most room above its least gives a column, till all fit.
    while total(&widths) + gaps * gap > width {
        let widest = widths
            .iter()
            .enumerate()
            .filter_map(|(at, width)| Some((at, width.as_ref()?.checked_sub(leasts[at])?)))
            .filter(|(_, slack)| *slack > 0)
            .max_by_key(|(_, slack)| *slack);
        match widest {
            Some((at, _)) => widths[at] = widths[at].map(|width| width - 1),
            None => break,
        }
    }
    (widths, gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(width: usize) -> Vec<String> {
        let columns = [
            text("name", 4, 20, 0),
            place("position", 6, 30, 2),
            figure("lag", 4, 1),
        ];
        let rows = [vec![
            Cell::new("orders", Style::new()),
            Cell::new("mysql-bin.000123:4", Style::new()),
            Cell::new("41s", Style::new()),
        ]];
        let (header, lines) = lines(&columns, &rows, width, Style::new(), "~");
        [header]
            .into_iter()
            .chain(lines)
            .map(|line| {
                line.spans
                    .iter()
                    .map(|span| span.content.as_ref())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn columns_give_way_by_rank() {
        assert_eq!(
            render(60),
            [
                "name    position            lag",
                "orders  mysql-bin.000123:4  41s"
            ]
        );
        assert_eq!(
            render(24),
            ["name   position      lag", "orders ~bin.000123:4 41s"]
        );
        assert_eq!(render(12), ["name    lag", "orders  41s"]);
        assert_eq!(render(4), ["name", "ord~"]);
    }
}
