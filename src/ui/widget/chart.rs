//! A chart of samples over time with its scale written beside it, so that it also reads as text.

use crate::ui::format;
use crate::ui::glyph::Glyphs;

/// Tops of the scale, in seconds.
const TOPS: [f32; 18] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    7200.0, 21_600.0, 86_400.0,
];

/// What the known samples say in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub p50: f32,
    /// Only one in a hundred is above.
    pub p99: f32,
    /// The greatest.
    pub max: f32,
}

/// The spread of the samples that are known; `None` if none is.
pub fn spread(samples: &[Option<f32>]) -> Option<Spread> {
    let mut known: Vec<f32> = samples.iter().flatten().copied().collect();
    known.retain(|sample| sample.is_finite());
    known.sort_unstable_by(f32::total_cmp);
    let last = known.len().checked_sub(1)?;
    let at = |share: usize| known[(last * share).div_ceil(100).min(last)];
    Some(Spread {
        p50: at(50),
        p99: at(99),
        max: known[last],
    })
}

/// The first of the scale's tops that `max` fits under.
fn top(max: f32) -> f32 {
    TOPS.iter()
        .copied()
        .find(|top| max <= *top)
        .unwrap_or_else(|| (max / 86_400.0).ceil() * 86_400.0)
}

/// A column of the chart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bucket {
    /// Before the first sample.
    Before,
    /// Sampled, but not known.
    Unknown,
    /// The greatest of its samples.
    Known(f32),
}

/// The samples in `columns`: the newest on the right.
fn buckets(samples: &[Option<f32>], columns: usize) -> Vec<Bucket> {
    let bucket = |samples: &[Option<f32>]| {
        let known = samples.iter().flatten().copied();
        known
            .reduce(f32::max)
            .map_or(Bucket::Unknown, Bucket::Known)
    };
    if samples.len() <= columns {
        let mut out = vec![Bucket::Before; columns - samples.len()];
        out.extend(samples.chunks(1).map(bucket));
        return out;
    }
    (0..columns)
        .map(|at| {
            let from = at * samples.len() / columns;
            let to = (at + 1) * samples.len() / columns;
            bucket(samples.get(from..to).unwrap_or_default())
        })
        .collect()
}

/// `rows` lines of a scale of five columns, a rule, and the chart, `columns` wide in all.
pub fn lines(samples: &[Option<f32>], columns: usize, rows: usize, glyphs: &Glyphs) -> Vec<String> {
    let width = columns.saturating_sub(6);
    if width == 0 || rows == 0 {
        return Vec::new();
    }
    let top = top(spread(samples).map_or(0.0, |spread| spread.max));
    let buckets = buckets(samples, width);
    let steps = glyphs.bars.len();
    (0..rows)
        .map(|row| {
            let label = if row == 0 {
                format::lag(f64::from(top), if top < 1.0 { 0.01 } else { 1.0 })
            } else {
                String::new()
            };
            // Steps that lie below this row.
            let below = (rows - 1 - row) * steps;
            let bars: String = buckets
                .iter()
                .map(|bucket| match bucket {
                    Bucket::Unknown if row + 1 == rows => glyphs.unknown,
                    Bucket::Before | Bucket::Unknown => ' ',
                    Bucket::Known(value) => {
                        let share = (value / top).clamp(0.0, 1.0);
                        let filled = (share * (rows * steps) as f32).ceil() as usize;
                        match filled.saturating_sub(below) {
                            0 => ' ',
                            height => glyphs.bars[height.min(steps) - 1],
                        }
                    }
                })
                .collect();
            format!("{label:>5}{}{bars}", glyphs.rule)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::glyph::ASCII;

    #[test]
    fn spread_of_the_known() {
        assert_eq!(spread(&[None, None]), None);
        let samples: Vec<_> = (0..=100).map(|n| Some(n as f32)).collect();
        let spread = spread(&samples).unwrap();
        assert_eq!((spread.p50, spread.p99, spread.max), (50.0, 99.0, 100.0));
    }

    #[test]
    fn the_newest_is_on_the_right() {
        let samples = [Some(0.0), None, Some(1.0), Some(2.0)];
        assert_eq!(
            lines(&samples, 11, 2, &ASCII),
            ["   2s|    |", "     |  ?||"]
        );
        assert_eq!(lines(&[], 11, 1, &ASCII), ["0.10s|     "]);
        assert!(lines(&samples, 6, 3, &ASCII).is_empty());
    }

    #[test]
    fn buckets_keep_the_greatest() {
        let samples: Vec<_> = (0..100).map(|n| Some(n as f32)).collect();
        let last = buckets(&samples, 10).pop().unwrap();
        assert_eq!(last, Bucket::Known(99.0));
    }
}
