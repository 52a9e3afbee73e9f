//! Reads rows and writes them as INSERT statements.

use crate::connect::{Session, TextRow};
use crate::dump_files::statement::INVALID_ENUM_MARK;
use crate::dump_files::{DumpFile, DumpFolder, FileWriter};
use crate::model::Result;
use crate::schema::literal::write_text_value;

use super::Meter;
use super::chunk::Chunk;
use super::plan::{Form, TablePlan};
use super::throttle::Throttle;
use super::work::{How, Work};

/// A statement ends once it is this long: short enough for every server's `max_allowed_packet`, long
/// enough for speed.
const STATEMENT_BYTES: usize = 1_000_000;

/// Reads a chunk's rows into files of the table's next numbers; no rows, no file. With `to_disk`, each
/// is on disk once it is done.
pub(super) async fn read(
    reader: &mut Session,
    plan: &TablePlan,
    chunk: &Chunk,
    work: &Work,
    to_disk: bool,
) -> Result<Vec<DumpFile>> {
    let mut writer = RowWriter {
        plan,
        folder: &work.folder,
        meter: &work.meter,
        throttle: (!matches!(work.how, How::Locked)).then_some(&*work.throttle),
        to_disk,
        head: plan.insert_head(),
        plain: Vec::new(),
        plain_rows: 0,
        odd: Vec::new(),
        odd_rows: 0,
        odd_enums: 0,
        file: None,
        files: Vec::new(),
    };
    let mut stream = reader.stream(&plan.select(chunk)).await?;
    while let Some(row) = stream.next().await? {
        writer.add(row)?;
        if writer.is_full() {
            writer.flush().await?;
        }
    }
    writer.finish().await
}

/// Collects rows into statements and statements into files.
struct RowWriter<'a> {
    plan: &'a TablePlan,
    folder: &'a DumpFolder,
    meter: &'a Meter,
    /// None under a lock, which must not be kept for longer.
    throttle: Option<&'a Throttle>,
    to_disk: bool,
    head: String,
    /// A statement but for its end.
    plain: Vec<u8>,
    plain_rows: u64,
    /// Rows with ENUM values of index 0: no strict session takes them, so they stand apart.
    odd: Vec<u8>,
    odd_rows: u64,
    odd_enums: u64,
    file: Option<FileWriter>,
    files: Vec<DumpFile>,
}

impl RowWriter<'_> {
    /// Adds a row.
    fn add(&mut self, row: TextRow<'_>) -> Result<()> {
        let before = self.plain.len();
        let between = if before == 0 {
            self.head.as_bytes()
        } else {
            b",\n"
        };
        self.plain.extend_from_slice(between);
        let begin = self.plain.len();
        let mut invalid = 0;
        let mut separator = b'(';
        for (index, (column, form)) in self.plan.columns.iter().enumerate() {
            self.plain.push(separator);
            separator = b',';
            let bytes = row.get(index);
            match (form, bytes) {
                (Form::Enum, Some(b"")) | (Form::EnumIndex, Some(b"0")) => {
                    self.plain.push(b'0');
                    invalid += 1;
                }
                (Form::EnumIndex, Some(number)) => self.plain.extend_from_slice(number),
                _ => write_text_value(&mut self.plain, bytes, column)?,
            }
        }
        self.plain.push(b')');
        if invalid == 0 {
            self.plain_rows += 1;
            return Ok(());
        }
        if !self.odd.is_empty() {
            self.odd.extend_from_slice(b",\n");
        }
        self.odd.extend(self.plain.drain(begin..));
        self.plain.truncate(before);
        self.odd_rows += 1;
        self.odd_enums += invalid;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.plain.len() >= STATEMENT_BYTES || self.odd.len() >= STATEMENT_BYTES
    }

    /// Writes what is there as statements.
    async fn flush(&mut self) -> Result<()> {
        if self.plain_rows > 0 {
            let rows = std::mem::take(&mut self.plain_rows);
            let mut text = std::mem::take(&mut self.plain);
            text.extend_from_slice(b";\n");
            self.plain = self.write(text, rows).await?;
        }
        if self.odd_rows > 0 {
            let rows = std::mem::take(&mut self.odd_rows);
            let invalid = std::mem::take(&mut self.odd_enums);
            let mut text = format!("{INVALID_ENUM_MARK}{invalid} */ {}", self.head).into_bytes();
            text.append(&mut self.odd);
            text.extend_from_slice(b";\n");
            self.write(text, rows).await?;
        }
        Ok(())
    }

    /// Writes one statement, into the next file where the current one is full; gives its room back.
    async fn write(&mut self, text: Vec<u8>, rows: u64) -> Result<Vec<u8>> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let number = self.plan.next_file_number();
                none.insert(self.folder.rows_file(self.plan.table(), number)?)
            }
        };
        let bytes = text.len();
        let room = file.write(text, rows).await?;
        self.meter.add(self.plan.table(), rows, bytes as u64);
        if let Some(throttle) = self.throttle {
            throttle.pass(bytes).await;
        }
        if file.bytes() >= self.plan.file_bytes
            && let Some(file) = self.file.take()
        {
            self.files.push(file.finish(self.to_disk).await?);
        }
        Ok(room)
    }

    async fn finish(mut self) -> Result<Vec<DumpFile>> {
        self.flush().await?;
        if let Some(file) = self.file.take() {
            self.files.push(file.finish(self.to_disk).await?);
        }
        Ok(self.files)
    }
}
