//! The messages of the service.

use bytes::{BufMut, BytesMut};
use runlog_sql::{PgColumn, PgFormat, PgRows, PgType};

use crate::postgres::failure::Report;

/// The state of the transaction, as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Open,
    Failed,
}

/// Appends a message: its type, its length, and its body.
pub(super) fn message(output: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    output.put_u8(kind);
    let begin = output.len();
    output.put_i32(0);
    body(output);
    let length = i32::try_from(output.len() - begin).unwrap_or(i32::MAX);
    output[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

/// A text with a zero byte at its end, and none in it.
fn text(output: &mut BytesMut, text: &str) {
    output.extend(text.bytes().filter(|byte| *byte != 0));
    output.put_u8(0);
}

pub(super) fn authentication(output: &mut BytesMut, request: i32) {
    message(output, b'R', |output| output.put_i32(request));
}

pub(super) fn parameter(output: &mut BytesMut, name: &str, value: &str) {
    message(output, b'S', |output| {
        text(output, name);
        text(output, value);
    });
}

pub(super) fn key_data(output: &mut BytesMut, process_id: i32, secret: i32) {
    message(output, b'K', |output| {
        output.put_i32(process_id);
        output.put_i32(secret);
    });
}

/// The protocol is 3.0, whichever version the client requested, and none of these options is supported.
pub(super) fn negotiated_version(output: &mut BytesMut, unknown: &[String]) {
    message(output, b'v', |output| {
        output.put_i32(0x0003_0000);
        output.put_i32(i32::try_from(unknown.len()).unwrap_or(0));
        unknown.iter().for_each(|option| text(output, option));
    });
}

pub(super) fn ready(output: &mut BytesMut, transaction: Transaction) {
    let state = match transaction {
        Transaction::None => b'I',
        Transaction::Open => b'T',
        Transaction::Failed => b'E',
    };
    message(output, b'Z', |output| output.put_u8(state));
}

/// A message without a body.
pub(super) fn plain(output: &mut BytesMut, kind: u8) {
    message(output, kind, |_| ());
}

pub(super) fn complete(output: &mut BytesMut, tag: &str) {
    message(output, b'C', |output| text(output, tag));
}

pub(super) fn error(output: &mut BytesMut, severity: &str, report: &Report) {
    put_report(output, b'E', severity, report);
}

pub(super) fn warning(output: &mut BytesMut, report: &Report) {
    put_report(output, b'N', "WARNING", report);
}

fn put_report(output: &mut BytesMut, kind: u8, severity: &str, report: &Report) {
    let position = report.position.map(|position| position.to_string());
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(report.code)),
        (b'M', Some(report.message.as_str())),
        (b'D', report.detail.as_deref()),
        (b'H', report.hint.as_deref()),
        (b'P', position.as_deref()),
    ];
    message(output, kind, |output| {
        for (field, value) in fields {
            if let Some(value) = value {
                output.put_u8(field);
                text(output, value);
            }
        }
        output.put_u8(0);
    });
}

pub(super) fn parameter_types(output: &mut BytesMut, types: &[PgType]) {
    message(output, b't', |output| {
        output.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        types.iter().for_each(|pg_type| output.put_u32(pg_type.oid()));
    });
}

/// The columns of rows, with the format of each.
pub(super) fn row_description(output: &mut BytesMut, columns: &[PgColumn], format: impl Fn(usize) -> PgFormat) {
    message(output, b'T', |output| {
        output.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
        for (index, column) in columns.iter().enumerate() {
            text(output, &column.name);
            // No column of a table.
            output.put_u32(0);
            output.put_u16(0);
            output.put_u32(column.pg_type.oid());
            output.put_i16(column.pg_type.size());
            output.put_i32(-1);
            output.put_u16(format_code(format(index)));
        }
    });
}

pub(super) fn format_code(format: PgFormat) -> u16 {
    match format {
        PgFormat::Text => 0,
        PgFormat::Binary => 1,
    }
}

pub(super) fn copy_out(output: &mut BytesMut, rows: &PgRows, is_binary: bool) {
    message(output, b'H', |output| {
        output.put_u8(is_binary.into());
        output.put_u16(u16::try_from(rows.columns().len()).unwrap_or(u16::MAX));
        rows.columns().iter().for_each(|_| output.put_u16(is_binary.into()));
    });
}

/// A row of one text.
pub(super) fn text_row(output: &mut BytesMut, values: &[&str]) {
    message(output, b'D', |output| {
        output.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
        for value in values {
            output.put_i32(i32::try_from(value.len()).unwrap_or(0));
            output.extend_from_slice(value.as_bytes());
        }
    });
}
