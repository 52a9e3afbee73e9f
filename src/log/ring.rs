//! The newest lines, kept for the console's log pane.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::control::LogLine;
use crate::model::Timestamp;

/// The newest lines. Writing takes a short lock and never waits for a reader's work: readers copy.
#[derive(Debug)]
pub struct LogRing {
    lines: Mutex<VecDeque<LogLine>>,
    capacity: usize,
    /// The number of the newest line.
    last: AtomicU64,
    /// The number of the newest line that was read.
    seen: AtomicU64,
    /// Lines that left before they were read.
    dropped: AtomicU64,
}

impl LogRing {
    /// A ring of `capacity` lines.
    pub fn new(capacity: usize) -> Self {
        Self {
            lines: Mutex::new(VecDeque::with_capacity(capacity)),
            capacity: capacity.max(1),
            last: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// The newest `most` lines, oldest first.
    pub fn newest(&self, most: usize) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.back() {
            self.seen.store(line.number, Ordering::Relaxed);
        }
        let skip = lines.len().saturating_sub(most);
        lines.iter().skip(skip).cloned().collect()
    }

    /// The number of the newest line; tells whether there is something new without copying anything.
    pub fn last_number(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// How many lines were pushed out before they were read.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn push(&self, mut line: LogLine) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        line.number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        if lines.len() >= self.capacity
            && let Some(old) = lines.pop_front()
            && old.number > self.seen.load(Ordering::Relaxed)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        lines.push_back(line);
    }
}

/// Puts every event into a [`LogRing`].
pub(super) struct RingLayer {
    ring: Arc<LogRing>,
}

impl RingLayer {
    pub(super) fn new(ring: Arc<LogRing>) -> Self {
        Self { ring }
    }
}

/// What a line is about, from an event's fields or those of the spans around it.
#[derive(Clone, Debug, Default)]
struct Fields {
    source: Option<String>,
    task: Option<String>,
    unit: Option<String>,
    message: String,
    /// The other fields, `name=value`.
    rest: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        match field.name() {
            "source" => self.source = Some(value.to_string()),
            "task" => self.task = Some(value.to_string()),
            "unit" => self.unit = Some(value.to_string()),
            "message" => self.message = value.to_string(),
            name => {
                let _ = write!(self.rest, " {name}={value}");
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

impl<S> Layer<S> for RingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // From the innermost span outwards: what is nearer wins.
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(outer) = extensions.get::<Fields>() {
                fields.source = fields.source.or_else(|| outer.source.clone());
                fields.task = fields.task.or_else(|| outer.task.clone());
                fields.unit = fields.unit.or_else(|| outer.unit.clone());
            }
        }
        let metadata = event.metadata();
        let module = metadata.target();
        let mut text = fields.message;
        text.push_str(&fields.rest);
        self.ring.push(LogLine {
            number: 0,
            at: Timestamp::from(SystemTime::now()),
            level: metadata.level().to_string(),
            source: fields.source,
            task: fields.task,
            unit: fields.unit.unwrap_or_else(|| {
                module
                    .strip_prefix("tideway::")
                    .unwrap_or(module)
                    .to_owned()
            }),
            // A line is a line on screen too, whatever a server's message holds.
            text: text.trim().replace(char::is_control, " "),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn logged(work: impl FnOnce()) -> Arc<LogRing> {
        let ring = Arc::new(LogRing::new(3));
        let subscriber = tracing_subscriber::registry().with(RingLayer::new(Arc::clone(&ring)));
        tracing::subscriber::with_default(subscriber, work);
        ring
    }

    #[test]
    fn fields_come_from_the_event_and_its_spans() {
        let ring = logged(|| {
            let outer = tracing::info_span!("stream", task = "orders", source = "a");
            let _outer = outer.enter();
            let inner = tracing::info_span!("unit", unit = "sync", source = "b");
            let _inner = inner.enter();
            tracing::warn!(rows = 5, "two\nlines");
        });
        let line = &ring.newest(10)[0];
        assert_eq!(line.level, "WARN");
        assert_eq!(line.task.as_deref(), Some("orders"));
        assert_eq!(line.source.as_deref(), Some("b"));
        assert_eq!(line.unit, "sync");
        assert_eq!(line.text, "two lines rows=5");
        assert_eq!(line.number, 1);
    }

    #[test]
    fn without_a_unit_the_module_is_named() {
        let ring = logged(|| tracing::info!("x"));
        assert_eq!(ring.newest(1)[0].unit, "log::ring::tests");
    }

    #[test]
    fn only_unread_lines_count_as_dropped() {
        let ring = logged(|| {});
        let push = |count: usize| {
            for _ in 0..count {
                ring.push(LogLine {
                    number: 0,
                    at: Timestamp::default(),
                    level: String::new(),
                    source: None,
                    task: None,
                    unit: String::new(),
                    text: String::new(),
                });
            }
        };
        push(3);
        assert_eq!(ring.newest(2).len(), 2);
        push(3);
        assert_eq!(ring.dropped(), 0);
        push(2);
        assert_eq!(ring.dropped(), 2);
        assert_eq!(ring.last_number(), 8);
        let numbers: Vec<u64> = ring.newest(9).iter().map(|line| line.number).collect();
        assert_eq!(numbers, [6, 7, 8]);
    }
}
