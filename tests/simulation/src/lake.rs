//! Lakehouse engines: they load the table of the workspace, and read the files of its snapshot. A snapshot contains no
//! row twice and no deleted row, and a row in one snapshot is in all later ones until it is deleted.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use runlog_model::{Record, RunId, Timestamp};
use runlog_store::lakehouse::LakeTableKind;
use serde_json::Value;

use crate::clients::{Answer, Clients, HOUR_MS};
use crate::ledger::{Span, parse};
use crate::locked;
use crate::objects::Disk;

/// The address at which engines find the objects of a simulated archive.
const FOLDER: &str = "memory://simulation/";
/// Minimum time for which the files of a snapshot exist, except for deleted logs. Unit: milliseconds.
const KEPT_MS: i64 = HOUR_MS;

/// The rows of a run that the table has contained.
pub(crate) struct Shown {
    /// Batches and indexes of records.
    records: BTreeSet<(usize, usize)>,
    /// Unit: ticks.
    from: u64,
    until: u64,
}

/// A row of the table.
struct Row {
    run: RunId,
    arrival: i64,
    record: Record,
}

/// A manifest, as a manifest list names it.
struct ManifestEntry {
    path: String,
    is_of_deletes: bool,
    sequence: i64,
}

/// Reads a file of Avro records.
struct Avro<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Avro<'_> {
    fn number(&mut self) -> Result<i64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *self.bytes.get(self.at).context("an Avro file ends early")?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.number()?)?;
        let bytes = self.bytes.get(self.at..self.at + length).context("an Avro file ends early")?;
        self.at += length;
        Ok(bytes.to_vec())
    }

    fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8(self.bytes()?)?)
    }

    /// An array or a map.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            let count = self.number()?;
            if count == 0 {
                return Ok(());
            }
            (0..count).try_for_each(|_| item(self))?;
        }
    }

    /// A union of null and something else.
    fn perhaps(&mut self, value: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.number()? == 0 { Ok(()) } else { value(self) }
    }

    /// The records of a file.
    fn records<T>(bytes: &[u8], mut record: impl FnMut(&mut Avro<'_>) -> Result<T>) -> Result<Vec<T>> {
        let Some(rest) = bytes.strip_prefix(b"Obj\x01") else { bail!("this is no Avro file") };
        let mut file = Avro { bytes: rest, at: 0 };
        file.items(|file| file.bytes().and_then(|_| file.bytes()).map(drop))?;
        let mark = file.bytes.get(file.at..file.at + 16).context("an Avro file ends early")?;
        file.at += 16;
        let mut all = Vec::new();
        while file.at < file.bytes.len() {
            let count = file.number()?;
            let end = usize::try_from(file.number()?)? + file.at;
            for _ in 0..count {
                all.push(record(&mut file)?);
            }
            if file.at != end || file.bytes.get(end..end + 16) != Some(mark) {
                bail!("a block of an Avro file does not end where it says");
            }
            file.at += 16;
        }
        Ok(all)
    }
}

fn manifests(list: &[u8]) -> Result<Vec<ManifestEntry>> {
    Avro::records(list, |of| {
        let path = of.text()?;
        let (_, _, content) = (of.number()?, of.number()?, of.number()?);
        let sequence = of.number()?;
        for _ in 0..8 {
            of.number()?;
        }
        of.perhaps(|of| of.items(|_| bail!("there are no partitions")))?;
        of.perhaps(|of| of.bytes().map(drop))?;
        Ok(ManifestEntry { path, is_of_deletes: content == 1, sequence })
    })
}

/// The paths of the files of a manifest, and how many rows it says they have.
fn files(manifest: &[u8]) -> Result<Vec<(String, i64)>> {
    let numbers = |of: &mut Avro<'_>| of.items(|of| of.number().and_then(|_| of.number()).map(drop));
    let bounds = |of: &mut Avro<'_>| of.items(|of| of.number().and_then(|_| of.bytes()).map(drop));
    Avro::records(manifest, |of| {
        if of.number()? != 1 {
            bail!("an entry of a manifest that is not added");
        }
        for _ in 0..3 {
            of.perhaps(|of| of.number().map(drop))?;
        }
        of.number()?;
        let (path, _, rows, _) = (of.text()?, of.text()?, of.number()?, of.number()?);
        for _ in 0..4 {
            of.perhaps(numbers)?;
        }
        for _ in 0..2 {
            of.perhaps(bounds)?;
        }
        of.perhaps(|of| of.bytes().map(drop))?;
        for _ in 0..2 {
            of.perhaps(|of| of.items(|of| of.number().map(drop)))?;
        }
        of.perhaps(|of| of.number().map(drop))?;
        Ok((path, rows))
    })
}

/// Reads the rows of a table from its metadata, as engines do. Returns `Ok(None)` if an object no longer exists.
fn read_table(disk: &Disk, metadata: &str) -> Result<Option<Vec<Row>>> {
    let get = |address: &str| -> Result<Option<bytes::Bytes>> {
        Ok(disk.bytes(address.strip_prefix(FOLDER).with_context(|| format!("{address} is in no folder"))?))
    };
    let metadata: Value = serde_json::from_str(metadata)?;
    let list = metadata["snapshots"][0]["manifest-list"].as_str().context("the metadata has no snapshot")?;
    let Some(list) = get(list)? else { return Ok(None) };
    let (mut data, mut deletes) = (Vec::new(), Vec::new());
    for entry in manifests(&list)? {
        let Some(manifest) = get(&entry.path)? else { return Ok(None) };
        let of = if entry.is_of_deletes { &mut deletes } else { &mut data };
        of.extend(files(&manifest)?.into_iter().map(|(path, rows)| (path, rows, entry.sequence)));
    }
    let mut deleted: BTreeMap<(String, i64), i64> = BTreeMap::new();
    for (path, _, sequence) in deletes {
        let Some(bytes) = get(&path)? else { return Ok(None) };
        for row in SerializedFileReader::new(bytes)?.get_row_iter(None)? {
            let columns: BTreeMap<String, Field> =
                row?.get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect();
            let (Some(Field::Str(file)), Some(Field::Long(position))) = (columns.get("file_path"), columns.get("pos"))
            else {
                bail!("a file of position deletes has other columns: {columns:?}");
            };
            let latest = deleted.entry((file.clone(), *position)).or_default();
            *latest = sequence.max(*latest);
        }
    }
    let mut rows = Vec::new();
    for (path, count, sequence) in data {
        let Some(bytes) = get(&path)? else { return Ok(None) };
        let all: Vec<_> =
            SerializedFileReader::new(bytes)?.get_row_iter(None)?.collect::<std::result::Result<_, _>>()?;
        if i64::try_from(all.len())? != count {
            bail!("{path} has {} rows, and the manifest says {count}", all.len());
        }
        for (position, row) in (0..).zip(all) {
            // Deletes apply to data that is not newer.
            if deleted.get(&(path.clone(), position)).is_some_and(|at| *at >= sequence) {
                continue;
            }
            let columns: BTreeMap<String, Field> =
                row.get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect();
            rows.push(row_of(&columns)?);
        }
    }
    Ok(Some(rows))
}

fn row_of(columns: &BTreeMap<String, Field>) -> Result<Row> {
    let text = |name: &str| match columns.get(name) {
        Some(Field::Str(text)) => Some(text.clone()),
        _ => None,
    };
    let time = match columns.get("time") {
        Some(Field::TimestampMicros(time)) => time / 1_000,
        other => bail!("the time of a row is {other:?}"),
    };
    let arrival = match columns.get("arrival") {
        Some(Field::Long(arrival)) => *arrival,
        other => bail!("the arrival of a row is {other:?}"),
    };
    let run = text("run_id").context("a row has no run")?.parse().context("a row has an odd run")?;
    let record = Record { message: text("message"), ..Record::at(Timestamp::clamped(time)) };
    Ok(Row { run, arrival, record })
}

impl Clients {
    /// Loads the table, and reads it, perhaps after a while.
    pub(crate) async fn load_table(&self) {
        let wait_ms = if self.chance(300) { self.between(1, KEPT_MS - 60_000) } else { 0 };
        self.read_lake(wait_ms, false).await;
    }

    /// Loads the table and reads it after a time. Returns true if it was read. With `is_end`, everything must be in it.
    pub(crate) async fn read_lake(&self, wait_ms: i64, is_end: bool) -> bool {
        let Some(workspace) = self.workspace() else { return false };
        let loading = self.call(self.some_node(), "load the table", true, move |store| async move {
            store.lake().table(workspace, LakeTableKind::Records).await
        });
        let (table, span) = match loading.await {
            (Answer::Of(Ok(table)), span) => (table, span),
            (Answer::Of(Err(error)), _) => {
                self.expect_usual("a table", &error);
                return false;
            }
            (Answer::Lost, _) => return false,
        };
        let loaded_ms = self.now_ms();
        if wait_ms > 0 {
            self.sleep_ms(wait_ms).await;
        }
        // If clocks are wrong, the time for which objects are kept is undetermined.
        let is_late = self.now_ms() - loaded_ms >= KEPT_MS - 1 || self.0.shared.profile.skew_ms > 0;
        let lives = self.0.lives();
        let may_be_deleted = |from: u64, run: usize| {
            locked(&self.0.ledger).may_have_been_deleted(run, from, self.tick(), self.now_ms(), &lives)
        };
        let runs = locked(&self.0.ledger).runs.len();
        let rows = match read_table(&self.0.shared.disk, &table.metadata) {
            Ok(Some(rows)) => rows,
            Ok(None) if is_late || (0..runs).any(|run| may_be_deleted(span.from, run)) => return true,
            Ok(None) => {
                self.violation(format!("{} names objects that are gone", table.metadata_location));
                return true;
            }
            Err(error) => {
                self.violation(format!("{} cannot be read: {error:#}", table.metadata_location));
                return true;
            }
        };
        for run in 0..runs {
            self.check_rows(run, &rows, span, is_end);
        }
        let known: Vec<RunId> = locked(&self.0.ledger).runs.iter().map(|run| run.id).collect();
        if let Some(row) = rows.iter().find(|row| !known.contains(&row.run)) {
            self.violation(format!("the table has a row of run {}, which nobody has started", row.run));
        }
        true
    }

    fn check_rows(&self, run: usize, rows: &[Row], span: Span, is_end: bool) {
        let id = self.run_id(run);
        let mut of_run: Vec<&Row> = rows.iter().filter(|row| row.run == id).collect();
        of_run.sort_by_key(|row| (row.record.time, row.arrival));
        if of_run.windows(2).any(|two| two[0].arrival == two[1].arrival && two[0].record.time == two[1].record.time) {
            self.violation(format!("the table shows a row of run {run} twice"));
        }
        let records: Vec<Record> = of_run.iter().map(|row| row.record.clone()).collect();
        match is_end {
            true => self.check("the table", run, &records, span, true),
            false => self.check_part("the table", run, &records, span),
        }
        let shown: BTreeSet<(usize, usize)> =
            records.iter().filter_map(|record| parse(record.message.as_deref()?)).collect();
        let (until, now_ms, lives) = (self.tick(), self.now_ms(), self.0.lives());
        let before = locked(&self.0.shown).insert(run, Shown { records: shown.clone(), from: span.from, until });
        let Some(before) = before.filter(|before| before.until <= span.from) else { return };
        let may_be_deleted = locked(&self.0.ledger).may_have_been_deleted(run, before.from, until, now_ms, &lives);
        if let Some((batch, index)) = before.records.difference(&shown).next()
            && !may_be_deleted
        {
            self.violation(format!("the table has shown b{batch}r{index}e of run {run}, and does not any more"));
        }
    }
}
