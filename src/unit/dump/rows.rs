//! Reads rows and writes them as INSERT statements.

use crate::connect::Session;
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

/// Reads a chunk's rows into files of the table's next numbers; no rows, no file.
pub(super) async fn read(
    reader: &mut Session,
    plan: &TablePlan,
    chunk: &Chunk,
    work: &Work,
) -> Result<Vec<DumpFile>> {
    let mut writer = RowWriter {
        plan,
        folder: &work.folder,
        meter: &work.meter,
        throttle: (!matches!(work.how, How::Locked)).then_some(&*work.throttle),
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
    let mut row_text = Vec::new();
    while let Some(row) = stream.next().await? {
        let mut invalid = 0;
        row_text.clear();
        row_text.push(b'(');
        for (index, (column, form)) in plan.columns.iter().enumerate() {
            if index > 0 {
                row_text.push(b',');
            }
            let bytes = row.get(index);
            match (form, bytes) {
                (Form::Enum, Some(b"")) | (Form::EnumIndex, Some(b"0")) => {
                    row_text.push(b'0');
                    invalid += 1;
                }
                (Form::EnumIndex, Some(number)) => row_text.extend_from_slice(number),
                _ => write_text_value(&mut row_text, bytes, column)?,
            }
        }
        row_text.push(b')');
        writer.add(&row_text, invalid).await?;
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
    head: String,
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
    async fn add(&mut self, row: &[u8], invalid_enums: u64) -> Result<()> {
        if invalid_enums == 0 {
            append(&mut self.plain, row);
            self.plain_rows += 1;
            if self.plain.len() >= STATEMENT_BYTES {
                self.flush_plain().await?;
            }
        } else {
            append(&mut self.odd, row);
            self.odd_rows += 1;
            self.odd_enums += invalid_enums;
            if self.odd.len() >= STATEMENT_BYTES {
                self.flush_odd().await?;
            }
        }
        Ok(())
    }

    async fn flush_plain(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.plain_rows);
        if rows > 0 {
            let mut text = std::mem::take(&mut self.plain);
            self.write("", &text, rows).await?;
            text.clear();
            self.plain = text;
        }
        Ok(())
    }

    async fn flush_odd(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.odd_rows);
        if rows > 0 {
            let mark = format!(
                "{INVALID_ENUM_MARK}{} */ ",
                std::mem::take(&mut self.odd_enums)
            );
            let text = std::mem::take(&mut self.odd);
            self.write(&mark, &text, rows).await?;
        }
        Ok(())
    }

    /// Writes one statement, into the next file where the current one is full.
    async fn write(&mut self, mark: &str, rows_text: &[u8], rows: u64) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let number = self.plan.next_file_number();
                none.insert(self.folder.rows_file(self.plan.table(), number).await?)
            }
        };
        let head = format!("{mark}{}", self.head);
        file.write(head.as_bytes(), 0).await?;
        file.write(rows_text, rows).await?;
        file.write(b";\n", 0).await?;
        let bytes = head.len() + rows_text.len() + 2;
        self.meter.add(self.plan.table(), rows, bytes as u64);
        if let Some(throttle) = self.throttle {
            throttle.pass(bytes).await;
        }
        if file.bytes() >= self.plan.file_bytes
            && let Some(file) = self.file.take()
        {
            self.files.push(file.finish().await?);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<DumpFile>> {
        self.flush_plain().await?;
        self.flush_odd().await?;
        if let Some(file) = self.file.take() {
            self.files.push(file.finish().await?);
        }
        Ok(self.files)
    }
}

fn append(text: &mut Vec<u8>, row: &[u8]) {
    if !text.is_empty() {
        text.extend_from_slice(b",\n");
    }
    text.extend_from_slice(row);
}
