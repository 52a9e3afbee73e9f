//! Pairs of measurements, and the tables they are shown in.

use super::measure::{Cost, load_average};

/// Ours and theirs, taken in the order A, B, B, A.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// Ours.
    pub(crate) ours: Vec<Cost>,
    /// Theirs.
    pub(crate) theirs: Vec<Cost>,
    loads: Vec<f64>,
}

impl Pairs {
    /// Takes `rounds` rounds of A, B, B, A.
    pub(crate) fn take(
        rounds: usize,
        mut ours: impl FnMut() -> Cost,
        mut theirs: impl FnMut() -> Cost,
    ) -> Self {
        let mut pairs = Self::default();
        for _ in 0..rounds.max(1) {
            pairs.loads.push(load_average());
            pairs.ours.push(ours());
            pairs.theirs.push(theirs());
            pairs.theirs.push(theirs());
            pairs.ours.push(ours());
        }
        pairs
    }

    /// How many times theirs ours takes, by CPU time: one ratio a pair, smallest first.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        let pairs = self.ours.iter().zip(&self.theirs);
        sorted(
            pairs
                .map(|(a, b)| a.cpu / b.cpu.max(f64::EPSILON))
                .collect(),
        )
    }

    /// `0.21 (0.19 to 0.24)`: the median of the ratios, with the smallest and the largest.
    pub(crate) fn ratio(&self) -> String {
        spread(self.ratios())
    }

    /// The smallest and the largest load average of the rounds.
    pub(crate) fn load(&self) -> String {
        let loads = sorted(self.loads.clone());
        format!(
            "load average {:.1} to {:.1}",
            loads.first().copied().unwrap_or(0.0),
            loads.last().copied().unwrap_or(0.0)
        )
    }
}

/// `0.21 (0.19 to 0.24)`: the median of the figures, with the smallest and the largest.
pub(crate) fn spread(figures: impl IntoIterator<Item = f64>) -> String {
    let figures = sorted(figures.into_iter().collect());
    let (first, last) = (figures.first(), figures.last());
    format!(
        "{:.2} ({:.2} to {:.2})",
        median(&figures),
        first.copied().unwrap_or(f64::NAN),
        last.copied().unwrap_or(f64::NAN)
    )
}

/// The middle one of `figures`, which are sorted here.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let figures = sorted(figures.to_vec());
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}

/// The median of one figure of several costs.
pub(crate) fn median_of(costs: &[Cost], figure: impl Fn(&Cost) -> f64) -> f64 {
    median(&costs.iter().map(figure).collect::<Vec<_>>())
}

/// The most memory that any of them had, in MiB.
pub(crate) fn peak_mib(costs: &[Cost]) -> f64 {
    let most = costs.iter().map(|cost| cost.peak).max().unwrap_or(0);
    most as f64 / f64::from(1 << 20)
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

/// A table of text: the first column to the left, the others to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            println!("{}", cells.join("  ").trim_end());
            if index == 0 {
                println!(
                    "{}",
                    "-".repeat(widths.iter().map(|w| w + 2).sum::<usize>() - 2)
                );
            }
        }
        println!();
    }
}
